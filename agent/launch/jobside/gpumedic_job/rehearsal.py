"""The order in which gradients become ready, learned once and rehearsed on every new group.

DistributedDataParallel lays out its buckets by that order after the first backward pass. Sums of
more than two ranks depend on the layout in their last bit, so a step redone on a fresh group would
differ from an undisturbed one. One backward pass of zeros in the known order makes it lay them out.
"""

from collections.abc import Callable
from typing import TypeGuard

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.parallel import DistributedDataParallel
from torch.utils.hooks import RemovableHandle

from .state import Parts


class Arrivals:
    """Learns the order in the first step; later tells when the last gradient is ready."""

    def __init__(self, parts: Parts, arrived: Callable[[], None]) -> None:
        self._parts, self._arrived = parts, arrived
        self._handles: list[RemovableHandle] = []
        self._seen: list[int] = []

    def arm(self) -> None:
        """Watch the gradients: all where the order is not known, the last where it is."""
        self._clear()
        wanted = _trained(self._parts.model)
        if order := self._parts.order:
            last = wanted[order[-1]]
            self._handles.append(last.register_post_accumulate_grad_hook(lambda _: self._arrived()))
            return
        for index, parameter in enumerate(wanted):
            self._handles.append(
                parameter.register_post_accumulate_grad_hook(
                    lambda _, index=index: self._seen.append(index)
                )
            )

    def step_done(self) -> None:
        """Keep the order of the first whole step."""
        if self._parts.order or not self._seen:
            return
        self._parts.order[:] = list(dict.fromkeys(self._seen))
        self.arm()

    def _clear(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._seen.clear()


def rehearse(model: Module, parts: Parts) -> None:
    """Run the backward pass of zeros on a new parallel model; gradients are none afterwards."""
    parameters = _trained(parts.model)
    for each in parameters:
        each.grad = None
    whole = len(parts.order) == len(parameters)
    if not (whole and parts.order and _lays_out(model)):
        return
    with torch.enable_grad():
        _forward_of_nothing(model)
        for index in parts.order:
            parameters[index].backward(torch.zeros_like(parameters[index]))
    for each in parameters:
        each.grad = None


def _lays_out(model: Module) -> TypeGuard[DistributedDataParallel]:
    """Say whether a backward pass of zeros makes the wrapper lay out its buckets.

    With find_unused_parameters it never does so, and takes all parameters for unused where the
    module is not run. With static_graph it learns the graph in its first pass, which must be real.
    """
    return isinstance(model, DistributedDataParallel) and not (
        model.find_unused_parameters or model.static_graph
    )


def _forward_of_nothing(model: DistributedDataParallel) -> None:
    """Let the wrapper expect a backward pass, without running the module."""
    plain = model.module
    plain.forward = lambda: None
    try:
        model()
    finally:
        del plain.forward


def _trained(model: Module) -> list[Tensor]:
    return [each for each in model.parameters() if each.requires_grad]
