"""Whether series have moved up from where they were: sudden, gradual or now and again.

A cumulative sum (Page, Biometrika 1954) of log-likelihood ratios between a shift by ``effect`` and
none, of all series at once, each against a level and a spread of its own. Page's test needs the
fewest readings on average for the false alarms that it makes (Lorden, 1971).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.types import Floats, Ints
from detectors.progress.memory import SEEN, Bools, Memory

FIELDS: Mapping[str, tuple[tuple[int, ...], float]] = {
    "count": ((), 0.0),
    "mean": ((), 0.0),
    "variance": ((), 0.0),
    "carry": ((), 0.0),  # covariance of neighbouring residuals
    "last": ((), 0.0),
    "up": ((), 0.0),
    "level": ((), 0.0),
    "since_s": ((), np.nan),
    "share": ((), 0.0),
    "bouts": ((), 0.0),
    "slow": ((), 0.0),
}
# Log of the mean readings between two false alarms of one series. A thousand nodes of eight ranks
# make 46 million readings a day at 15 s: exp(17.6). A few more nats for what is not normal.
THRESHOLD = 25.0
# No reading counts for more than a fifth of the threshold: it takes five, however odd they are.
MOST = THRESHOLD / 5
CEILING = 1.5 * THRESHOLD
# From here on a series is slow for the time being, and nothing is learned from it.
RELEASE = THRESHOLD / 2
WARM = 20
# What is not known to a tenth of the effect is no level to be off from: 100 spread^2 / effect^2.
SURE = 100.0
# Residuals count against at most this many earlier ones: a day of readings at 15 s.
LONG = 5760.0
PRIOR_SIGMA, PRIOR_COUNT = 0.02, 5.0
# A level is the mean of about so many newest readings; of a noisy series, of so many that it is
# known to a sixth of the effect: the variance of such a mean is half the newest one's weight.
NEWEST, KNOWN_TO = 8.0, 6.0
# Least part of the effect that must be there: below, it is a shift, but not one worth a word.
WORTH = 0.75
# Slow now and again: share of the last half hour, more or less, and in how many bouts.
MEMORY_S = 1800.0
SHARE, BOUTS = 0.05, 2.2
STRAY_SIGMAS = 4.0


@dataclass(frozen=True, slots=True)
class Shift:
    """Looks for shifts up by ``effect``, in the unit of what is given.

    floor:   least standard deviation that a series is taken to have
    adopt_s: a series that has been up for so long is where it is now
    """

    effect: float = 0.0953  # log(1.10): FALCON (ATC'25) takes 10 % as the least that counts
    floor: float = 0.005
    adopt_s: float = np.inf

    def learn(self, memory: Memory, rows: Ints, time_s: Floats, value: Floats) -> None:
        """Score, then learn, each reading that is new, one column after the other.

        rows: (S,) of ``memory``; value: (S, T), NaN where there is none
        """
        new = memory.news(rows, time_s, value)
        for column in np.flatnonzero(new.any(axis=0)):
            which = new[:, column]
            self._step(memory, rows[which], float(time_s[column]), value[which, column])

    def risen(self, memory: Memory, rows: Ints) -> Bools:
        """Return (S,) whether a series is up now, for long enough to be no chance."""
        m = memory.value
        return np.asarray((m["up"][rows] >= THRESHOLD) & (m["level"][rows] >= WORTH * self.effect))

    def flickers(self, memory: Memory, rows: Ints) -> Bools:
        """Return (S,) whether a series is up again and again, and well in between."""
        m = memory.value
        return np.asarray((m["share"][rows] >= SHARE) & (m["bouts"][rows] >= BOUTS))

    def _step(self, memory: Memory, rows: Ints, time_s: float, value: Floats) -> None:
        m = memory.value
        count, variance = m["count"][rows], m["variance"][rows]
        off = value - m["mean"][rows]
        spread = np.maximum(np.sqrt(variance), self.floor)
        clear = (self.effect / spread) ** 2
        known = count >= np.clip(SURE / clear, WARM, LONG)
        up = np.where(known, self._up(memory, rows, off, spread), 0.0)
        weight = np.minimum(1 / NEWEST, 2 * clear / KNOWN_TO**2)
        level = np.where(known, m["level"][rows] + weight * (off - m["level"][rows]), 0.0)
        stray = off >= np.maximum(WORTH * self.effect, STRAY_SIGMAS * spread)
        slow = known & (stray | (up >= RELEASE))
        since_s = np.where((up > 0) & (m["up"][rows] > 0), m["since_s"][rows], time_s)
        _remember_bouts(memory, rows, time_s, slow)
        m["up"][rows], m["level"][rows], m["since_s"][rows] = up, level, since_s
        _learn(memory, rows, np.where(count > 0, off, 0.0), ~slow, spread)
        m["mean"][rows] = np.where(count > 0, m["mean"][rows], value)
        m[SEEN][rows] = time_s
        old = (up > 0) & (time_s - since_s >= self.adopt_s)
        self._begin_again(memory, rows[old | (level <= -WORTH * self.effect)])

    def _up(self, memory: Memory, rows: Ints, off: Floats, spread: Floats) -> Floats:
        """Return (S,) the sum after one more reading, less sure where neighbours are alike."""
        m = memory.value
        alike = np.clip(m["carry"][rows] / spread**2, 0.0, 0.9)
        gain = self.effect / spread**2 * (off - self.effect / 2) * (1 - alike) / (1 + alike)
        moved = m["up"][rows] + np.clip(gain, -MOST, MOST)
        return np.asarray(np.clip(moved, 0.0, CEILING))

    def _begin_again(self, memory: Memory, rows: Ints) -> None:
        """Take the newest level for the usual one: what was learned is no more."""
        m = memory.value
        m["mean"][rows] += m["level"][rows]
        m["count"][rows], m["level"][rows], m["up"][rows] = 1.0, 0.0, 0.0


def _remember_bouts(memory: Memory, rows: Ints, time_s: float, slow: Bools) -> None:
    m = memory.value
    with np.errstate(invalid="ignore"):
        kept = np.exp(-np.clip(time_s - m[SEEN][rows], 0.0, MEMORY_S) / MEMORY_S)
    begun = slow & (m["slow"][rows] == 0)
    m["share"][rows] = slow + (m["share"][rows] - slow) * kept
    m["bouts"][rows] = m["bouts"][rows] * kept + begun
    m["slow"][rows] = slow


def _learn(
    memory: Memory,
    rows: Ints,
    off: Floats,
    usual: Bools,
    spread: Floats,
) -> None:
    """Learn level and spread from what is usual; one far off counts as three spreads off."""
    m = memory.value
    count = m["count"][rows]
    reach = 3.0 * np.where(count >= WARM, spread, np.maximum(spread, PRIOR_SIGMA))
    off = np.clip(off, -reach, reach)
    weight = usual / np.minimum(count + 1.0, LONG)
    slower = usual / (np.minimum(count, LONG) + PRIOR_COUNT)
    before = np.where(count > 0, m["variance"][rows], PRIOR_SIGMA**2)
    m["variance"][rows] = before + slower * (off**2 - before)
    m["carry"][rows] += slower * (off * m["last"][rows] - m["carry"][rows])
    m["mean"][rows] += weight * off
    m["last"][rows] = off
    m["count"][rows] = count + usual
