"""Readings as pairs of cause and effect, pooled over all targets that a kind of link connects."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from core.errors import InputError
from core.topology import Topology
from core.types import Floats, Window
from core.units import CATALOG
from rca.graph.dependence import standard
from rca.graph.layout import Layout, lay_out
from rca.graph.templates import Template

MOST_SERIES = 24  # of an effect: what a kind of link does is the same on all of them


@dataclass(frozen=True, eq=False)
class Pooled:
    """Windows of one grid of times, with what their targets share.

    step_s: seconds between readings
    """

    windows: Mapping[str, Window]
    topology: Topology | None
    step_s: float

    @cached_property
    def layout(self) -> Layout:
        """Return where every series sits."""
        series = {name: window.targets for name, window in self.windows.items()}
        return lay_out(series, tuple(series), self.topology)

    @cached_property
    def _rows(self) -> Mapping[str, slice | list[int]]:
        rows = {}
        for name, window in self.windows.items():
            count = len(window.targets)
            sampled = np.linspace(0, count - 1, min(MOST_SERIES, count))
            rows[name] = np.unique(sampled.astype(np.int64)).tolist()
        return rows

    @cached_property
    def _effects(self) -> Mapping[str, Floats]:
        return {
            name: standard(window.value[self._rows[name]], counter=CATALOG[name].counter)
            for name, window in self.windows.items()
        }

    def effect(self, metric: str) -> Floats:
        """Return (S, T) standard readings of a sample of the metric's series."""
        return self._effects[metric]

    def cause(self, link: Template) -> Floats:
        """Return (S, T) standard readings of what the link's cause did to each sampled effect.

        Of several causes of one effect the mean; the largest where the link is a barrier. NaN for
        an effect without such a cause.
        """
        return _cause(self, link)

    def lags(self, link: Template) -> tuple[int, ...]:
        """Return the lags in readings that the link's window holds, at most MOST_LAGS of them."""
        least = int(link.lag_least_s // self.step_s)
        most = int(np.ceil(link.lag_s / self.step_s))
        spread = np.linspace(least, most, min(MOST_LAGS, most - least + 1))
        return tuple(np.unique(spread.astype(np.int64)).tolist())


MOST_LAGS = 6


@lru_cache(maxsize=4096)
def _cause(pooled: Pooled, link: Template) -> Floats:
    effect, cause = pooled.layout.where[link.effect], pooled.layout.where[link.cause]
    sampled = np.array(pooled._rows[link.effect]) + effect.start
    causes, effects = pooled.layout.pairs(link)
    place = np.searchsorted(sampled, effects)
    wanted = np.append(sampled, -1)[place] == effects
    rows, place = causes[wanted] - cause.start, place[wanted]
    value = pooled.windows[link.cause].value[rows]
    if CATALOG[link.cause].counter:
        grown = np.diff(value, axis=1, prepend=np.nan)
        value = np.where(grown < 0, np.nan, grown)
    found = _gathered(value, place, len(sampled), largest=link.barrier)
    # Moves of a cause while its effect is not there, an idle clock for one, are not its scale.
    return standard(np.where(np.isfinite(pooled.effect(link.effect)), found, np.nan))


def _gathered(value: Floats, place: np.ndarray, count: int, *, largest: bool) -> Floats:
    """Return (count, T) mean or largest of the rows of each place, NaN where there is none."""
    known = np.isfinite(value)
    seen = np.zeros((count, value.shape[1]))
    np.add.at(seen, place, known)
    if largest:
        found = np.full(seen.shape, -np.inf)
        np.maximum.at(found, place, np.where(known, value, -np.inf))
    else:
        found = np.zeros(seen.shape)
        np.add.at(found, place, np.where(known, value, 0.0))
        found /= np.maximum(seen, 1)
    return np.where(seen > 0, found, np.nan)


def pool(windows: Mapping[str, Window], topology: Topology | None) -> Pooled:
    """Check that all windows lie on one even grid of times; InputError says which does not."""
    known = {name: window for name, window in windows.items() if len(window.targets)}
    if not known:
        raise InputError("looking at the causal graph: there are no readings; give it some.")
    first = next(iter(known.values()))
    steps = np.diff(first.time_s)
    if len(steps) < 2 or not np.allclose(steps, steps[0], rtol=1e-6):
        raise InputError(
            f"looking at the causal graph: {first.metric} has {len(first.time_s)} readings on an "
            "uneven grid; put all series on one even grid of times."
        )
    for name, window in known.items():
        if window.time_s.shape != first.time_s.shape or (window.time_s != first.time_s).any():
            raise InputError(
                f"looking at the causal graph: {name} has other times than {first.metric}; put "
                "all series on one even grid of times."
            )
    return Pooled(known, topology, float(steps[0]))
