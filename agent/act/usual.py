"""What a step of a job usually takes, where nothing is slow."""

from collections import defaultdict, deque
from dataclasses import dataclass, field
from functools import partial
from statistics import quantiles

_SAMPLES = 1000
_KNOWN_AFTER = 8  # looks


@dataclass(slots=True)
class UsualStep:
    """Learns from looks at one job: a quarter of them in order, for many may have been slow.

    On another number of nodes a step takes another time, which is learned anew.
    """

    _steps_s: dict[int, deque[float]] = field(
        default_factory=lambda: defaultdict(partial(deque, maxlen=_SAMPLES))
    )

    def note(self, step_s: float, *, nodes: int) -> None:
        """Take in what a step took at a look."""
        self._steps_s[nodes].append(step_s)

    def step_s(self, *, nodes: int) -> float | None:
        """Return seconds on so many nodes; None after too few looks."""
        known = self._steps_s[nodes]
        return quantiles(known, n=4)[0] if len(known) >= _KNOWN_AFTER else None
