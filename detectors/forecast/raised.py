"""A warning while its outcome is open, what outcomes add up to, and both as plain arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.target import Target
from core.types import Breach, Severity

_NUMBERS = (
    "limit",
    "made_at_s",
    "horizon_s",
    "probability",
    "expected_s",
    "earliest_s",
    "latest_s",
    "value",
    "skill",
)
_PARTS = tuple(part.name for part in fields(Target))


@dataclass(frozen=True, slots=True)
class Raised:
    """A warning with the forecast it was raised on.

    cleared: taken back before its time; it still counts as raised
    """

    breach: Breach
    cleared: bool = False


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of warnings: crossed 30 to 120 minutes after, sooner, or not within 120."""

    right: int = 0
    late: int = 0
    false: int = 0

    def __add__(self, other: "Outcomes") -> "Outcomes":
        """Return both counts."""
        return Outcomes(self.right + other.right, self.late + other.late, self.false + other.false)


def to_arrays(kept: Sequence[Raised]) -> dict[str, NDArray[Any]]:
    """Return numbers (N, 10) and texts (N, 11) of warnings, without objects."""
    numbers = [[*(getattr(each.breach, name) for name in _NUMBERS), each.cleared] for each in kept]
    texts = [
        [
            each.breach.metric,
            each.breach.model,
            each.breach.severity.name,
            *(getattr(each.breach.target, part) for part in _PARTS),
        ]
        for each in kept
    ]
    shape = len(kept), 3 + len(_PARTS)
    return {
        "numbers": np.array(numbers, dtype=np.float64).reshape(len(kept), len(_NUMBERS) + 1),
        "texts": np.array(texts, dtype=np.str_) if kept else np.empty(shape, dtype="<U1"),
    }


def from_arrays(state: Mapping[str, NDArray[Any]]) -> list[Raised]:
    """Read what ``to_arrays`` wrote; ValueError where the shapes are other ones."""
    numbers, texts = state["numbers"], state["texts"]
    wanted = (len(numbers), len(_NUMBERS) + 1), (len(numbers), 3 + len(_PARTS))
    if (numbers.shape, texts.shape) != wanted:
        raise ValueError(
            f"Warnings of shapes {numbers.shape} and {texts.shape}, expected {wanted[0]} and "
            f"{wanted[1]}: they were put away by another version. Start without them."
        )
    return [_raised(*pair) for pair in zip(numbers, texts, strict=True)]


def _raised(number: NDArray[Any], text: NDArray[Any]) -> Raised:
    metric, model, severity, *parts = (str(part) for part in text)
    *values, cleared = (float(one) for one in number)
    breach = Breach(
        target=Target(*parts),
        metric=metric,
        model=model,
        severity=Severity[severity],
        **dict(zip(_NUMBERS, values, strict=True)),
    )
    return Raised(breach, bool(cleared))
