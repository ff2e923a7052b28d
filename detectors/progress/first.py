"""Which rank of a job that hangs stopped first: the one that the others wait for."""

from collections.abc import Iterator, Mapping

import numpy as np

from core.target import Target
from core.types import Floats, Ints, Window
from detectors.progress.memory import Bools
from detectors.robust import row_median

OWN, COLLECTIVE = "rank_step_time_s", "rank_collective_time_s"
# More than one rank in eight, a node of the smallest jobs, is not where it began but how it spread.
FEW = 1 / 8
# Waiting is more than this many usual times in a collective.
WAITS = 3.0


def first_rank(
    windows: Mapping[str, Window], job: str, since_s: float, every_s: float
) -> Target | None:
    """Return the rank that stopped first; None where its readings are those of the others.

    since_s: when the job's last step was seen; every_s: time between two readings

    Three signs, the surest first: the others wait in a collective and it does not; it fell silent
    before them; it has been computing since and they have not.
    """
    for metric, signs in ((COLLECTIVE, (_not_waiting,)), (OWN, (_silent_before, _computing))):
        window = windows.get(metric)
        mine = ranks_of(window, job)
        if window is None or len(mine) < 2:
            continue
        value = window.value[mine]
        for sign in signs:
            which = sign(value, window.time_s, since_s, every_s)
            if 1 <= which.sum() <= max(1, int(FEW * len(mine))):
                first = _by_number(window, mine[which])
                return next(first, None)
    return None


def ranks_of(window: Window | None, job: str) -> Ints:
    """Return the rows of the job's ranks."""
    targets = () if window is None else window.targets
    return np.array([n for n, t in enumerate(targets) if t.job == job], dtype=np.int64)


def _by_number(window: Window, places: Ints) -> Iterator[Target]:
    targets = (window.targets[place] for place in places)
    return iter(sorted(targets, key=lambda target: (len(target.rank), target.rank)))


def _not_waiting(value: Floats, time_s: Floats, since_s: float, every_s: float) -> Bools:
    usual = row_median(value[:, time_s < since_s])
    now = newest(value[:, time_s > since_s])
    with np.errstate(invalid="ignore"):
        waits = now > WAITS * usual + every_s
        stays = now <= WAITS * usual
    return np.asarray(stays if waits.sum() > len(value) / 2 else np.zeros(len(value), np.bool_))


def _silent_before(value: Floats, time_s: Floats, since_s: float, every_s: float) -> Bools:
    known = np.isfinite(value)
    last_s = np.where(known, time_s, -np.inf).max(axis=1, initial=-np.inf)
    usual_s = float(np.median(last_s))
    # One that stopped long before is another story: a rank of an earlier life of the job.
    soon = last_s >= since_s - 2 * every_s
    return np.asarray(soon & (last_s < usual_s - every_s / 2))


def _computing(value: Floats, time_s: Floats, since_s: float, every_s: float) -> Bools:
    usual = row_median(value[:, time_s < since_s])
    now = newest(value[:, time_s > since_s])
    with np.errstate(invalid="ignore"):
        return np.asarray(now > WAITS * usual + every_s)


def newest(value: Floats) -> Floats:
    """Return (S,) the last reading of each; NaN where there is none."""
    if not value.shape[1]:
        return np.full(len(value), np.nan)
    last = value.shape[1] - 1 - np.argmax(np.isfinite(value)[:, ::-1], axis=1)
    return np.asarray(value[np.arange(len(value)), last])
