"""The reference for "were this put back to normal, would the target return?", in a worker."""

from dataclasses import dataclass

import numpy as np

from core.errors import InputError
from core.types import Floats
from rca.reference.model import complete, every, few, method, reference_of

MAX_VARIABLES = 50
_SAMPLES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class WhatIfTask:
    """Plain data for one question.

    names: (V,) variables; links: (cause, effect) pairs of indices, without a cycle
    normal: (V, N) readings of normal times; abnormal: (V,) the reading to repair
    candidates: variables put back to normal, each alone; target: what should return
    """

    names: tuple[str, ...]
    links: tuple[tuple[int, int], ...]
    normal: Floats
    abnormal: Floats
    candidates: tuple[int, ...]
    target: int
    seed: int = 0


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Where the target would be, in its unit.

    names: of the candidates; now, normal: the target's reading and its normal mean
    counterfactual: with the candidate put back in this very reading, all other noise as it was
    intervened: its mean with the candidate held normal and everything else as in normal times
    """

    names: tuple[str, ...]
    now: float
    normal: float
    counterfactual: tuple[float, ...]
    intervened: tuple[float, ...]
    method: str

    def returned(self) -> tuple[tuple[str, float], ...]:
        """Return (name, share of the deviation that goes away), largest first."""
        away = self.now - self.normal
        shares = [(self.now - level) / away if away else 0.0 for level in self.counterfactual]
        return tuple(sorted(zip(self.names, shares, strict=True), key=lambda pair: -pair[1]))


def what_if(task: WhatIfTask) -> WhatIf:
    """Put each candidate back to its normal mean and say where the target goes.

    InputError says what is missing where the data do not allow it. Run it in a worker process.
    """
    doing = f"asking what returns {task.names[task.target]} to normal"
    few(doing, len(task.names), MAX_VARIABLES)
    every(doing, task.names, task.abnormal)
    normal = complete(doing, task.normal)
    reference = reference_of(task.links, normal, task.target, seed=task.seed)
    strangers = [task.names[index] for index in task.candidates if index not in reference.used]
    if strangers:
        raise InputError(
            f"{doing}: {strangers[0]} is no cause of it in the graph; ask about one that is."
        )
    from dowhy import gcm  # noqa: PLC0415  # only in a worker

    observed, goal = reference.frame(task.abnormal[:, None]), str(task.target)
    repaired, held = [], []
    for index in task.candidates:
        mean = float(normal[index].mean())
        put = {str(index): lambda now, mean=mean: np.full(np.shape(now), mean)}
        would = gcm.counterfactual_samples(reference.model, put, observed_data=observed)
        drawn = gcm.interventional_samples(reference.model, put, num_samples_to_draw=_SAMPLES)
        repaired.append(float(would[goal].iloc[0]))
        held.append(float(drawn[goal].mean()))
    return WhatIf(
        names=tuple(task.names[index] for index in task.candidates),
        now=float(task.abnormal[task.target]),
        normal=float(normal[task.target].mean()),
        counterfactual=tuple(repaired),
        intervened=tuple(held),
        method=method("counterfactual_samples"),
    )
