"""What a detector is asked and what it answers.

windows (metric -> (S, T) readings, the newest ten minutes or so) -> Detector -> Symptoms

A detector without memory is a frozen dataclass of its settings. One that learns (``Learning``)
scores a reading before it learns from it, learns from each reading once however the windows of
two looks overlap, and holds no more than a bounded amount for each series it still sees.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from core.topology import Topology
from core.types import Anomaly, Breach, Event, Forecast, Window

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Symptoms:
    """All that is out of the ordinary now; ``breaches`` are all forecast ones that still hold."""

    anomalies: tuple[Anomaly, ...] = ()
    events: tuple[Event, ...] = ()
    breaches: tuple[Breach, ...] = ()

    def __add__(self, other: "Symptoms") -> "Symptoms":
        """Return both, in order."""
        return Symptoms(
            (*self.anomalies, *other.anomalies),
            (*self.events, *other.events),
            (*self.breaches, *other.breaches),
        )


class Detector(Protocol):
    """Finds symptoms in the newest windows."""

    def look(
        self, windows: Mapping[str, Window], *, topology: Topology | None, now_s: float
    ) -> Symptoms:
        """Return what is wrong now.

        windows: metric -> readings up to ``now_s``; only metrics of the catalogue, implausible
                 readings NaN already
        topology: None where no scheduler is known
        """
        ...


@runtime_checkable
class Hearing(Detector, Protocol):
    """A detector that also judges what other sources tell: which cause a burst has, what recurs."""

    def hear(
        self, events: tuple[Event, ...], *, topology: Topology | None, now_s: float
    ) -> tuple[Event, ...]:
        """Return the events to go on with; kinds that are not its business pass unchanged."""
        ...


@runtime_checkable
class Expecting(Detector, Protocol):
    """A detector that holds readings against what was forecast for them."""

    def expect(self, forecasts: Mapping[str, Forecast]) -> None:
        """Take the newest forecast of each metric, all of its series in one."""
        ...


@runtime_checkable
class Learning(Detector, Protocol):
    """A detector with a memory, which can be put away and taken up by another process."""

    def state(self) -> Mapping[str, Array]:
        """Return the memory as plain arrays (strings as fixed-width unicode), without objects."""
        ...

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what ``state`` returned; ValueError says what does not fit."""
        ...


def names(texts: list[str]) -> Array:
    """Return texts as an array that needs no pickle, also where there are none."""
    return np.array(texts, dtype=np.str_) if texts else np.empty(0, dtype="<U1")
