"""How long a job may stand still where it stands now, by the pauses that it has made before."""

from dataclasses import dataclass

import numpy as np

from core.types import Floats
from detectors.progress.memory import Bools

# A pause that is due may take half as long again as the longest of its kind.
DUE_TIMES = 1.5
# One that comes when it likes may come again, but not if it was the longest of several, and not
# for longer than a job may stand that nothing is known of: that may have been a hang itself.
STRAY_TIMES, STRAY_S = 1.3, 300.0
# Pauses are of one kind where the shorter is at least this part of the longer.
ALIKE = 0.5
# A period is known to this part of itself, beside the readings' distance: steps vary in time.
TOLERANCE = 0.002


@dataclass(frozen=True, slots=True)
class Pauses:
    """The K remembered pauses of one job, in order of time, and the next moment to be judged.

    length: (K,) seconds without a step
    step, time_s: (K,) the step count they began at, and when
    step_s: what a step takes; every_s: time between two readings
    """

    length: Floats
    step: Floats
    time_s: Floats
    step_s: float
    every_s: float

    def allowed_s(self, step: float, time_s: float) -> float:
        """Return how long a pause that began there may take, 0 where none is known."""
        everyone = np.ones(len(self.length), dtype=np.bool_)
        due = self.length[self._due(everyone, step, time_s)]
        stray = np.sort(self.length[~self._regular()])
        again_s = float(stray[-2:][0]) if len(stray) else 0.0
        return max(DUE_TIMES * float(due.max(initial=0.0)), min(STRAY_TIMES * again_s, STRAY_S))

    def _regular(self) -> Bools:
        """Return (K,) which pauses came where two others would have them."""
        out = np.zeros(len(self.length), dtype=np.bool_)
        for at in range(len(self.length)):
            others = np.arange(len(self.length)) != at
            due = self._due(others, float(self.step[at]), float(self.time_s[at]))
            out[at] = (due & (self.length >= ALIKE * self.length[at])).any()
        return out

    def _due(self, which: Bools, step: float, time_s: float) -> Bools:
        """Return (K,) which pauses come again there, by their distance from one before."""
        steps_a_reading = self.every_s / self.step_s if self.step_s > 0 else 1.0
        slack_s = 2 * self.every_s + self.step_s
        by_steps = self._recurs(which, self.step, step, 1.0 + steps_a_reading)
        return by_steps | self._recurs(which, self.time_s, time_s, slack_s)

    def _recurs(self, which: Bools, at: Floats, now: float, slack: float) -> Bools:
        earlier, later = at[:, None], at[None, :]
        period = later - earlier
        alike = self.length[:, None] >= ALIKE * self.length[None, :]
        alike &= self.length[None, :] >= ALIKE * self.length[:, None]
        known = (period > 4 * slack) & alike & which[:, None] & which[None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            turns = np.rint((now - later) / period)
            off = np.abs(now - later - turns * period)
        near = (turns != 0) & (off <= slack + TOLERANCE * period)
        # One that was made just now is not due again.
        aside = np.where(which[:, None] & alike, np.abs(now - at)[:, None], np.inf)
        aside = aside.min(axis=0, initial=np.inf)
        near &= aside >= period / 2
        return np.asarray((known & near).any(axis=0))
