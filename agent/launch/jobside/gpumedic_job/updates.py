"""Whether the update of a step has begun, and whether the sums that it is made of are whole."""

from collections.abc import Callable, Sequence

import torch
from torch.optim import Optimizer

from .link import GenerationOver


def drained() -> bool:
    """Wait until the GPU has done what was asked of it; say whether there is one in use."""
    if not torch.cuda.is_initialized():
        return False
    torch.cuda.current_stream().synchronize()
    return True


class Updates:
    """Watches the optimizers of a training.

    before:  is called before each update
    is_over: says whether the generation has ended; it says so before the group is aborted
    drained: see above
    """

    def __init__(
        self,
        optimizers: Sequence[Optimizer],
        *,
        before: Callable[[], object],
        is_over: Callable[[], bool],
        drained: Callable[[], bool] = drained,
    ) -> None:
        self.begun = False  # and not ended with the step: the parameters are of no step
        self._before, self._is_over, self._drained = before, is_over, drained
        for each in optimizers:
            each.register_step_pre_hook(self._begins)

    def are_whole(self) -> bool:
        """Say whether all sums over the ranks are what they should be.

        Gloo's are, or have raised, when a call returns. NCCL's are queued while the script goes on,
        and one that is aborted ends with some sum, which differs from rank to rank, and no error.
        """
        return not (self._drained() and self._is_over())

    def _begins(self, *_: object) -> None:
        self._before()
        if not self.are_whole():
            raise GenerationOver("the generation ended before the gradients were known to be whole")
        self.begun = True
