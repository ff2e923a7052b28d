"""What a counter grew by: resets seen, gaps bridged, no loop over series."""

import numpy as np

from core.types import Floats, Window


def increase(window: Window) -> Window:
    """Return the growth of each counter since the reading before it, on the same grid.

    value: (S, T); NaN at a row's first reading and where nothing was scraped. After a gap the
    whole growth since the last reading before it stands at the first reading behind it. A fall
    is a restart of the source, which counts from 0 again: the growth is then the new reading, the
    least it can have been. Sums of the result over time therefore never exceed the truth.
    """
    return Window(window.metric, window.targets, window.time_s, growth(window.value))


def growth(value: Floats) -> Floats:
    """Return (S, T) growth of (S, T) counter readings; see ``increase``."""
    if value.shape[-1] == 0:
        return value.copy()
    before = np.take_along_axis(value, _last_seen(value), axis=1)
    before = np.concatenate([np.full((len(value), 1), np.nan), before[:, :-1]], axis=1)
    grown = value - before
    return np.where(grown < 0, value, grown)


def _last_seen(value: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    """Return (S, T) columns of the newest reading at or before each; 0 where there is none."""
    columns = np.where(np.isnan(value), 0, np.arange(value.shape[1]))
    return np.maximum.accumulate(columns, axis=1)
