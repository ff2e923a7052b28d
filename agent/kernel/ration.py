"""How many lines may be read: a flood costs 1 % of a core, however often the log is looked at."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from core.clock import Clock

# A line takes 6 microseconds of processor time, one that says something 20 where the machine is
# busy: in the long run 1 % of one core at most.
LINES_PER_S = 500.0
# What comes at once after a quiet while, such as a machine's start, is read as a whole.
MOST_LINES = 5_000


@dataclass(slots=True)
class Ration:
    """Lines that may be read: 500 more each second, and never more than ``most``."""

    clock: Clock
    most: int = MOST_LINES
    _left: float = field(init=False)
    _since_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._left, self._since_s = float(self.most), self.clock.monotonic_s()

    def lines(self) -> Iterator[bool]:
        """Yield true for each line that may be read now."""
        now_s = self.clock.monotonic_s()
        self._left = min(self.most, self._left + LINES_PER_S * (now_s - self._since_s))
        self._since_s = now_s
        while self._left >= 1.0:
            self._left -= 1.0
            yield True
