"""How fast a job steps, learned from its beats, and when a silence is long for it."""

from collections import deque

_KEPT = 32
# A silence is looked into after so many of the job's own steps, or twice the longest it has had.
_STEPS = 5.0
_LONGEST = 2.0
# A worker that answers is only given up after so much longer.
_PATIENT_STEPS = 50.0
_PATIENT_S = 30.0
_FIRST_STEP_S = 30.0


class Pace:
    """Step times of one job, of whichever rank is furthest."""

    def __init__(self, least_s: float) -> None:
        self._least_s = least_s
        self._times_s: deque[float] = deque(maxlen=_KEPT)
        self._at: tuple[int, float] | None = None

    def see(self, step: int, now_s: float) -> None:
        """Learn from the furthest rank's step, at the time it was heard of."""
        if self._at is not None and step > self._at[0]:
            self._times_s.append((now_s - self._at[1]) / (step - self._at[0]))
        if self._at is None or step != self._at[0]:
            self._at = (step, now_s)

    def forget_place(self) -> None:
        """Do not count the time of a hand-over as a step's."""
        self._at = None

    @property
    def step_s(self) -> float:
        """Mean seconds a step takes; 0 before the second step."""
        return sum(self._times_s) / len(self._times_s) if self._times_s else 0.0

    def long_step_s(self) -> float:
        """Return what no step takes, to go by the last ones; a first may take long."""
        if not self._times_s:
            return max(self._least_s, _FIRST_STEP_S)
        return _LONGEST * max(self._times_s)

    def silence_s(self) -> float:
        """Return after how long without a step to ask the workers for a sign."""
        return max(self._least_s, _STEPS * self.step_s, self.long_step_s())

    def patience_s(self) -> float:
        """Return after how long without a step to give up a worker that still answers."""
        return max(_PATIENT_S, _PATIENT_STEPS * self.step_s, 2 * self.silence_s())
