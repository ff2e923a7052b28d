"""Many short lives of one cluster, for learning: begun anew for a fraction of what a build costs.

A lane is a world whose tables are laid out once. With a seed they are filled anew: its machines
differ, its faults come and its diagnoses err exactly as in ``World.build`` of the same seed.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from core.errors import InputError
from sim.build import class_names, draw_differences, names_of, next_tick, tables_of
from sim.catalogue import CLASSES, class_table
from sim.deciding import Began, Decisions
from sim.engine.begin import begin
from sim.engine.loop import advance
from sim.engine.room import with_room
from sim.engine.tables import SHARED, USED, Table, Tables
from sim.engine.words import NONE, Scope
from sim.names import Names
from sim.scenario import FaultSpec, Scenario, node_name
from sim.terms import Terms

_MOST_FAULTS = 64  # planned ones of a life; more are refused
Draw = Callable[[int], Sequence[FaultSpec]]


class Lane(Decisions):
    """One cluster that lives again and again, from its start to its end, one decision at a time.

    ``facts`` and ``open`` are what is known of the decision that is due and what may be chosen. A
    life is a function of the scenario, the seed and the choices alone.
    """

    def __init__(
        self,
        scenario: Scenario,
        terms: Terms,
        *,
        draw: Draw | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        """Lay a scenario out; its telemetry must be a surrogate.

        draw: the faults of a seed, instead of the scenario's own: of nodes and GPUs, of ``classes``
        """
        if scenario.telemetry != "surrogate":
            raise InputError(
                f"scenario {scenario.name} has {scenario.telemetry} telemetry: decisions are made "
                "at incidents that are drawn; set its telemetry to surrogate."
            )
        self.scenario, self.seed = scenario, 0
        self._draw = draw
        self._classes = tuple(classes) if draw else class_names(scenario)
        self._fresh = self._laid_out()
        self._rows = bytes_of(self._fresh.classes).reshape(
            len(self._classes), self._fresh.classes.itemsize
        )
        self._nodes = {node_name(at, scenario.nodes): at for at in range(scenario.nodes)}
        self._own = with_room(Tables(*(part.copy() for part in self._fresh)))
        super().__init__(self._own, terms)
        self._end_s = math.inf
        self._filled: Tables | None = None
        self._copies: list[tuple[Table, Table]] = []
        self._named: tuple[int, Names] | None = None

    @property
    def tables(self) -> Tables:
        """Return the tables as they are."""
        return self._own

    @property
    def end_s(self) -> float:
        """Return when this life ends, seconds since the epoch."""
        return self._end_s

    def reset(self, seed: int, *, duration_s: float) -> bool:
        """Begin anew with a seed and let time pass to the first decision; False: there is none."""
        self.seed = seed
        self._fill(seed)
        begin(self._own)
        start_s = next_tick(self.scenario.start_s)
        while self._own.core[0]["now_s"] < start_s:
            self._own = with_room(self._own)
            advance(self._own, start_s)
        self._began = Began(self._own)
        self._end_s = next_tick(start_s + duration_s)
        return self.step(NONE)

    def step(self, choice: int) -> bool:
        """Carry a choice out and let time pass to the next decision; False: the end has come.

        choice: one that is ``open``
        """
        return self.go(choice, self._end_s)

    def fork(self) -> "Lane":
        """Return an independent copy of this life, truth included, to see what would come."""
        twin = Lane.__new__(Lane)
        twin.__dict__.update(self.__dict__)
        twin._own = Tables(*(part.copy() for part in self._own))
        twin.facts, twin.open = self.facts.copy(), self.open.copy()
        twin._filled, twin._copies = None, []
        return twin

    def take_over(self, other: "Lane") -> None:
        """Become what another lane of the same scenario is now: quicker than a fork of it."""
        own, theirs = self._own, other._own
        if any(len(mine) != len(its) for mine, its in zip(own, theirs, strict=True)):
            self._own = Tables(*(part.copy() for part in theirs))
            self._filled = None
        else:
            core = theirs.core[0]
            for name, mine, its in zip(Tables._fields, own, theirs, strict=True):
                count = int(core[USED[name]]) if name in USED else len(its)
                bytes_of(mine[:count])[:] = bytes_of(its[:count])
        self.seed, self._end_s, self._began = other.seed, other._end_s, other._began
        self.facts[:], self.open[:] = other.facts, other.open
        self._named = other._named

    def _put(self, tables: Tables) -> None:
        self._own = tables

    def _names(self) -> Names:
        if self._named is None or self._named[0] != self.seed:
            self._named = (self.seed, names_of(self.scenario, self._own, seed=self.seed))
        return self._named[1]

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
        if self._filled is not self._own:  # a table was given room: it is another array
            self._filled, self._copies = self._own, list(self._to_copy())
        for own, fresh in self._copies:
            own[:] = fresh
        self._own.job_last[:] = NONE
        self._own.core[0]["seed"] = seed % 2**64
        draw_differences(self._own.nodes, self.scenario, seed=seed)
        if self._draw is not None:
            self._plan(self._draw(seed))

    def _to_copy(self) -> Iterator[tuple[Table, Table]]:
        """Yield bytes of the tables and what they are at a beginning; rows copied as such are slow.

        Rows that never change need no copy, nor does the room behind those in use.
        """
        for name, own, fresh in zip(Tables._fields, self._own, self._fresh, strict=True):
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
        bytes_of(self._own.classes)[:] = self._rows[places].ravel()
        planned = self._own.planned
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
