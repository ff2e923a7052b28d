"""The reference for what changed between two spans: DoWhy's distribution change, in a worker."""

from dataclasses import dataclass

import numpy as np

from core.types import Floats
from rca.reference.model import complete, few, method, reference_of

MAX_VARIABLES = 8
_MOST_ROWS = 1000
_SAMPLES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class ChangeTask:
    """Plain data for one comparison.

    names: (V,) variables; links: (cause, effect) pairs of indices, without a cycle
    before, after: (V, N) and (V, N') readings; target: whose distribution changed
    """

    names: tuple[str, ...]
    links: tuple[tuple[int, int], ...]
    before: Floats
    after: Floats
    target: int
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ChangeShares:
    """How much of the target's change each variable's mechanism brought.

    mean: in the target's unit; the shares sum to ``mean_change``, up to sampling
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    mean_change: float
    method: str

    def ranked(self) -> tuple[tuple[str, float], ...]:
        """Return (name, share), largest first."""
        pairs = zip(self.names, self.mean, strict=True)
        return tuple(sorted(pairs, key=lambda pair: -abs(pair[1])))


def distribution_change(task: ChangeTask) -> ChangeShares:
    """Attribute the change of the target's mean to mechanisms whose law changed.

    Shapley values over mechanisms, each the old or the new one; a mechanism counts as changed by a
    regression test (facts: a sixth of the kernel test's time). Seconds at 5 variables; run it in
    a worker process. InputError says what is missing where the data do not allow it.
    """
    doing = f"comparing two spans of {task.names[task.target]}"
    few(doing, len(task.names), MAX_VARIABLES)
    spans = (
        complete(doing, task.before)[:, -_MOST_ROWS:],
        complete(doing, task.after, where="abnormal")[:, -_MOST_ROWS:],
    )
    reference = reference_of(task.links, spans[0], task.target, seed=task.seed)
    from dowhy import gcm  # noqa: PLC0415  # only in a worker
    from dowhy.gcm.independence_test import regression_based  # noqa: PLC0415

    shares = gcm.distribution_change(
        reference.model,
        *(reference.frame(span) for span in spans),
        str(task.target),
        num_samples=_SAMPLES,
        independence_test=regression_based,
        conditional_independence_test=regression_based,
        difference_estimation_func=lambda old, new: float(np.mean(new) - np.mean(old)),
    )
    mean = tuple(float(shares.get(str(index), 0.0)) for index in range(len(task.names)))
    change = float(spans[1][task.target].mean() - spans[0][task.target].mean())
    return ChangeShares(task.names, mean, change, method("distribution_change"))
