"""A row of the scoreboard: published, reproduced and ours, and the figures that it prints as."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.figures import Row
from core.types import Floats
from sim.calibration.statistics import mean_interval

PUBLISHED, REPRODUCED, BUILT = "_published", "_reproduced", "_built"


@dataclass(frozen=True, slots=True)
class Goal:
    """What ours is to reach: above or below a figure; strictly: not equal to it."""

    above: bool
    figure: float
    strictly: bool = False

    def __str__(self) -> str:
        sign = (">" if self.above else "<") + ("" if self.strictly else "=")
        return f"{sign} {self.figure:g}"

    def is_met(self, value: float) -> bool:
        """Say whether a figure reaches it."""
        if value == self.figure:
            return not self.strictly
        return (value > self.figure) is self.above


@dataclass(frozen=True, slots=True)
class Entry:
    """One published figure.

    tolerance:  how far the reproduced figure may be from the published one, in its unit
    reproduced: (S,) a figure for each seed; None: cannot be reproduced here, ``why`` says it
    ours:       (S,) of the same seeds; built: with nothing that is not built yet, None: as ours
    """

    name: str
    unit: str
    published: float
    source: str
    tolerance: float
    reproduced: Floats | None
    ours: Floats
    goal: Goal
    note: str = ""
    why: str = ""
    built: Floats | None = None
    needs: str = ""
    measured: str = ""

    def rows(self) -> Iterator[Row]:
        """Yield ours, held to the goal; then the published figure and the reproduced one."""
        yield self._ours()
        yield Row(self.name + PUBLISHED, self.published, self.unit, note=self.source)
        yield self._reproduced()
        if self.built is not None:
            note = "ours with the site's own starts and checkpoints on storage: all is built"
            yield figure_row(
                self.name + BUILT, self.built, goal=self.goal, note=note, unit=self.unit
            )

    def _ours(self) -> Row:
        value = float(np.mean(self.ours))
        again = "not reproduced" if self.reproduced is None else f"{np.mean(self.reproduced):.4g}"
        parts = [
            f"published {self.published:g}",
            f"reproduced {again}",
            f"tolerance {self.tolerance:g}",
            self.measured or f"seeds 0 to {len(self.ours) - 1}",
        ]
        if self.needs:
            parts.append(f"needs {self.needs}")
        if self.note:
            parts.append(self.note)
        if not self.goal.is_met(value):
            parts.append(f"misses the goal by {abs(value - self.goal.figure):.3g}")
        return figure_row(
            self.name, self.ours, goal=self.goal, note="; ".join(parts), unit=self.unit
        )

    def _reproduced(self) -> Row:
        name = self.name + REPRODUCED
        if self.reproduced is None:
            goal = f"{self.published:g} +- {self.tolerance:g}"
            return Row(name, None, self.unit, goal=goal, note=self.why)
        return compared(
            name, self.published, self.tolerance, self.reproduced, self.why, unit=self.unit
        )


def compared(
    name: str, published: float, tolerance: float, found: Floats, note: str, *, unit: str = ""
) -> Row:
    """Return a row of figures by seed that is ok where their mean is near a published one."""
    ok = abs(float(np.mean(found)) - published) <= tolerance
    goal = f"{published:g} +- {tolerance:g}"
    return _row(name, found, unit=unit, goal=goal, ok=ok, note=note)


def figure_row(name: str, found: Floats, *, goal: Goal, note: str, unit: str = "") -> Row:
    """Return a row of figures by seed, held to a goal."""
    ok = goal.is_met(float(np.mean(found)))
    return _row(name, found, unit=unit, goal=str(goal), ok=ok, note=note)


def _row(name: str, found: Floats, *, unit: str, goal: str, ok: bool, note: str) -> Row:
    interval = mean_interval(found)
    wide = bool(np.isfinite(interval.low))
    return Row(
        name,
        interval.value,
        unit,
        low=interval.low if wide else None,
        high=interval.high if wide else None,
        n=len(found),
        goal=goal,
        ok=bool(ok),
        note=note,
    )
