"""Many short lives of one cluster, for learning: begun anew for a fraction of what a build costs.

A lane is a world whose tables are laid out once. With a seed they are filled anew: its machines
differ, its faults come and its diagnoses err exactly as in ``World.build`` of the same seed.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np

from core.errors import InputError
from sim.build import class_names, draw_differences, tables_of
from sim.catalogue import CAUSES, CLASSES, class_table
from sim.engine.begin import begin
from sim.engine.decisions import SEEN, SIZE, Choice, Status, lost, step
from sim.engine.loop import advance
from sim.engine.room import with_room
from sim.engine.tables import SHARED, USED, Table, Tables
from sim.engine.words import NONE, Scope
from sim.scenario import FaultSpec, Scenario, node_name

_MOST_FAULTS = 64  # planned ones of a life; more are refused
Draw = Callable[[int], Sequence[FaultSpec]]


class Lane:
    """One cluster that lives again and again, from its start to its end, one decision at a time.

    seen: (SIZE,) float32 what a policy sees of the decision that is due; mask: (5,) bool what it
    may choose. Both are overwritten by each step.
    """

    def __init__(
        self,
        scenario: Scenario,
        sees: Table,
        *,
        draw: Draw | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        """Lay a scenario out; its telemetry must be a surrogate.

        sees: as ``sees_of`` makes it
        draw: the faults of a seed, instead of the scenario's own: of nodes and GPUs, of ``classes``
        """
        if scenario.telemetry != "surrogate":
            raise InputError(
                f"scenario {scenario.name} has {scenario.telemetry} telemetry: decisions are made "
                "at incidents that are drawn; set its telemetry to surrogate."
            )
        self.scenario = scenario
        self.seen: Table = np.zeros(SIZE, dtype=np.float32)
        self.mask: Table = np.zeros(len(Choice), dtype=bool)
        self._sees, self._draw = sees, draw
        self._classes = tuple(classes) if draw else class_names(scenario)
        self._fresh = self._laid_out()
        self._rows = bytes_of(self._fresh.classes).reshape(len(self._classes), -1)
        self._nodes = {node_name(at, scenario.nodes): at for at in range(scenario.nodes)}
        self.tables = with_room(Tables(*(part.copy() for part in self._fresh)))
        self._end_s, self._lost = math.inf, 0.0
        self._filled: Tables | None = None
        self._copies: list[tuple[Table, Table]] = []

    @property
    def lost_gpu_s(self) -> float:
        """Return the GPU-seconds that jobs asked for since the start and that were not useful."""
        return float(lost(self.tables)) - self._lost

    def reset(self, seed: int, *, duration_s: float) -> bool:
        """Begin anew with a seed and let time pass to the first decision; False: there is none."""
        self._fill(seed)
        begin(self.tables)
        start_s = self.scenario.start_s
        while self.tables.core[0]["now_s"] < start_s:
            self.tables = with_room(self.tables)
            advance(self.tables, start_s)
        self._lost = float(lost(self.tables))
        self._end_s = start_s + duration_s
        return self.step(NONE)

    def step(self, choice: int) -> bool:
        """Carry a choice out and let time pass to the next decision; False: the end has come.

        choice: one that ``mask`` offers
        """
        while True:
            status = step(self.tables, choice, self._end_s, self._sees, self.seen, self.mask)
            if status in (Status.DECISION, Status.OVER):
                return bool(status == Status.DECISION)
            if status == Status.SHORT_LATER:
                choice = NONE
            self.tables = with_room(self.tables)

    def _laid_out(self) -> Tables:
        """Return the tables before a world's beginning."""
        tables = tables_of(self.scenario, seed=0)
        if self._draw is None:
            return tables
        planned = np.zeros(_MOST_FAULTS, dtype=tables.planned.dtype)
        count = len(self._classes)
        shape = (len(tables.nodes), count)
        return tables._replace(
            planned=planned,
            classes=class_table(self._classes),
            arrivals=np.full(shape, np.inf),
            drawn=np.zeros(shape, dtype=tables.drawn.dtype),
        )

    def _fill(self, seed: int) -> None:
        """Write all tables as they are before the world of a seed begins."""
        if self._filled is not self.tables:  # a table was given room: it is another array
            self._filled, self._copies = self.tables, list(self._to_copy())
        for own, fresh in self._copies:
            own[:] = fresh
        self.tables.job_last[:] = NONE
        self.tables.core[0]["seed"] = seed % 2**64
        draw_differences(self.tables.nodes, self.scenario, seed=seed)
        if self._draw is not None:
            self._plan(self._draw(seed))

    def _to_copy(self) -> Iterator[tuple[Table, Table]]:
        """Yield bytes of the tables and what they are at a beginning; rows copied as such are slow.

        Rows that never change need no copy, nor does the room behind those in use.
        """
        for name, own, fresh in zip(Tables._fields, self.tables, self._fresh, strict=True):
            if name in SHARED or name == "job_last":
                continue
            count = int(self._fresh.core[0][USED[name]]) if name in USED else len(fresh)
            if count:
                yield bytes_of(own[:count]), bytes_of(fresh[:count])

    def _plan(self, faults: Sequence[FaultSpec]) -> None:
        """Write the faults of a seed; classes count as a scenario with these faults has them."""
        if len(faults) > _MOST_FAULTS:
            raise InputError(f"{len(faults)} faults in one life; at most {_MOST_FAULTS}.")
        order = tuple(dict.fromkeys((*(spec.fault for spec in faults), *self._classes)))
        places = [self._classes.index(name) for name in order]
        bytes_of(self.tables.classes)[:] = self._rows[places].ravel()
        planned = self.tables.planned
        planned["onset_s"] = np.inf
        for row, spec in zip(planned, faults, strict=False):
            if CLASSES[spec.fault].scope not in (Scope.GPU, Scope.NODE):
                raise InputError(f"fault {spec.fault} strikes no node; draw faults of nodes only.")
            row["class"], row["entity"] = order.index(spec.fault), self._nodes[spec.target.node]
            row["gpu"] = int(spec.target.gpu) if spec.target.gpu else NONE
            row["onset_s"] = self.scenario.start_s + spec.onset_s
            row["lasts_s"], row["severity"] = spec.lasts_s, spec.severity


def bytes_of(rows: Table) -> Table:
    """Return the same memory as bytes, in one dimension."""
    return rows.reshape(-1).view(np.uint8)


def sees_of(seen: Sequence[str], broken: Collection[str]) -> Table:
    """Return (2, causes) the column of each cause in an observation, and 1 for broken hardware.

    seen: the ``SEEN`` causes that have a column, in order; the others have NONE
    """
    if len(seen) != SEEN:
        raise InputError(f"{len(seen)} causes to be seen one by one; there must be {SEEN}.")
    return np.array(
        [
            [seen.index(name) if name in seen else NONE for name in CAUSES],
            [int(name in broken) for name in CAUSES],
        ],
        dtype=np.int64,
    )
