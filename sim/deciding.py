"""Decisions about incidents on a simulated cluster: what is known, open, and came of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.choice import Choice
from core.cluster import OWNER, ClusterState
from core.situation import Bools, Fact, Situation
from core.target import Target
from core.types import Cause, Diagnosis, Floats, Incident, IncidentState, Severity
from sim import sums
from sim.build import next_tick
from sim.catalogue import CAUSES
from sim.engine import decisions
from sim.engine.decisions import Status
from sim.engine.room import with_room
from sim.engine.tables import Table, Tables
from sim.engine.words import NONE, Hold
from sim.names import Names
from sim.observe import Holds, cluster_state
from sim.terms import NAMELESS, Terms
from sim.world import World

_COUNTS = (
    "incidents",
    "false_incidents",
    "pages",
    "drains",
    "wrong_drains",
    "recovered",
    "interruptions",
    "faults_n",
)


@dataclass(frozen=True, slots=True)
class Account:
    """What a stretch of a cluster's life came to, from its start to now.

    pages:        times that a person was called
    drains:       nodes taken out; ``wrong_drains`` of them had no fault of the node or a GPU
    recovered:    incidents about a fault that are over: the job steps again, or nothing is broken
      any more; ``recovering_s`` the sum of their times since they were noticed
    losses_gpu_s: GPU-seconds that jobs asked for and lost, by cause; they add up to ``lost_gpu_s``
    late_requests: of services, late or failed
    productive_gpu_s: useful, and what slow steps took longer: the share that ETTR counts
    energy_j:     that all GPUs drew, their boards alone
    """

    incidents: int
    false_incidents: int
    pages: int
    drains: int
    wrong_drains: int
    recovered: int
    recovering_s: float
    interruptions: int
    faults: int
    late_requests: float
    asked_gpu_s: float
    useful_gpu_s: float
    productive_gpu_s: float
    losses_gpu_s: Mapping[str, float]
    priced_gpu_s: float
    energy_j: float
    lasted_s: float
    nodes: int

    @property
    def lost_gpu_s(self) -> float:
        """Return the GPU-seconds that jobs asked for and that were not useful."""
        return self.asked_gpu_s - self.useful_gpu_s


class Decisions(ABC):
    """A cluster's tables, stopping wherever a decision is due; who has them says where they are.

    facts: (len(Fact),) float64 what is known of the decision that is due; open: (len(Choice),) bool
    what may be chosen. Both are overwritten by each step.
    """

    def __init__(self, tables: Tables, terms: Terms) -> None:
        self.terms = terms
        self.facts: Floats = np.zeros(len(Fact))
        self.open: Bools = np.zeros(len(Choice), dtype=bool)
        self._causes, self._numbers = terms.causes_row(), terms.numbers()
        self._began = Began(tables)

    @property
    @abstractmethod
    def tables(self) -> Tables:
        """Return the tables as they are; they are others once one was given room."""

    @abstractmethod
    def _put(self, tables: Tables) -> None:
        """Keep other tables from now on, of the same cluster."""

    @abstractmethod
    def _names(self) -> Names:
        """Return what the cluster's parts are called."""

    def go(self, choice: int, until_s: float) -> bool:
        """Carry a choice out and let time pass to the next decision; False: the time has come.

        choice: one that is open; NONE where no decision is due. until_s: whole 1/1024 s
        """
        while True:
            status = decisions.step(
                self.tables, choice, until_s, self._causes, self._numbers, self.facts, self.open
            )
            if status in (Status.DECISION, Status.OVER):
                return bool(status == Status.DECISION)
            if status == Status.SHORT_LATER:
                choice = NONE
            self._put(with_room(self.tables))

    @property
    def lost_gpu_s(self) -> float:
        """Return the GPU-seconds that jobs asked for since the start and that were not useful."""
        return float(decisions.lost(self.tables)) - self._began.lost_gpu_s

    @property
    def priced_gpu_s(self) -> float:
        """Return what was lost, with pages and late requests at their price, GPU-seconds."""
        core, began = self.tables.core[0], self._began
        pages = float(core["pages"] - began.core["pages"])
        priced = self.lost_gpu_s + pages * self.terms.site.page_gpu_s
        if len(self.tables.services) == 0:
            return priced
        late = float(decisions.late(self.tables)) - began.late
        return priced + late * self.terms.late_gpu_s

    @property
    def orders(self) -> Table:
        """Return a row of ``sim.engine.rows_faults.ORDER`` for each choice but waiting."""
        first = int(self._began.core["orders_n"])
        return self.tables.orders[first : int(self.tables.core[0]["orders_n"])]

    def account(self) -> Account:
        """Return what came of all since the start."""
        tables, began = self.tables, self._began
        core = tables.core[0]
        gained = sums.less(sums.sums(tables), began.sums)
        counts = {name: int(core[name] - began.core[name]) for name in _COUNTS}
        faults = counts.pop("faults_n")
        losses = sums.by_loss(gained)
        return Account(
            **counts,
            recovering_s=float(core["recovered_s"] - began.core["recovered_s"]),
            faults=faults,
            late_requests=float(decisions.late(tables)) - began.late,
            asked_gpu_s=gained.asked,
            useful_gpu_s=gained.good,
            productive_gpu_s=gained.good + losses["slow"],
            losses_gpu_s=losses,
            priced_gpu_s=self.priced_gpu_s,
            energy_j=sums.energy_j(tables) - began.energy_j,
            lasted_s=float(core["now_s"] - began.core["now_s"]),
            nodes=len(tables.nodes),
        )

    def moment(self) -> "Moment":
        """Return the decision that is due, as policies see it."""
        return Moment(self.tables, self._names(), self.facts.copy(), self.open.copy())


class Decided(Decisions):
    """A world whose incidents are decided about: its scenario's telemetry must be a surrogate."""

    def __init__(self, world: World, terms: Terms) -> None:
        self.world = world
        super().__init__(world.inner, terms)

    @property
    def tables(self) -> Tables:
        """Return the world's tables."""
        return self.world.inner

    def _put(self, tables: Tables) -> None:
        self.world.inner = tables

    def _names(self) -> Names:
        return self.world.names

    def go(self, choice: int, until_s: float) -> bool:
        """Carry a choice out and let time pass, as ``Decisions`` does; note who is out by whom."""
        due = super().go(choice, next_tick(until_s))
        people = self.world.people
        people.holds = holds_of(self.tables, people.holds)
        return due

    def moment(self) -> "Moment":
        """Return the decision that is due, as policies see it."""
        found = super().moment()
        found.holds = self.world.people.holds
        return found


class Moment:
    """A decision that is due in a simulated cluster: ``remediation.deciding.chooser.Moment``.

    All but the situation is read off the tables when it is first asked for: ask before time passes.
    """

    def __init__(self, tables: Tables, names: Names, facts: Floats, opened: Bools) -> None:
        self.situation = Situation(facts, opened)
        self.holds: Holds = {}
        self._tables, self._name = tables, names
        self._trouble = int(tables.core[0]["decision"])
        self.now_s = float(tables.core[0]["now_s"])

    @cached_property
    def state(self) -> ClusterState:
        """Return the cluster as its scheduler sees it."""
        return cluster_state(self._tables, self._name, holds_of(self._tables, self.holds))

    @cached_property
    def incident(self) -> Incident:
        """Return the incident."""
        row = self._tables.troubles[self._trouble]
        where = self._where(int(row["node"]), int(row["gpu"]), bool(row["placed"]))
        return Incident(
            id=f"t{self._trouble}",
            state=IncidentState.OPEN,
            severity=Severity.CRITICAL,
            opened_s=float(row["opened_s"]),
            updated_s=self.now_s,
            resolved_s=None,
            title=f"trouble on {where}",
            targets=(where,),
            jobs=(self._name.job(int(row["number"])),),
        )

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """Return what is said of the cause."""
        row = self._tables.troubles[self._trouble]
        said = self._causes()
        causes = tuple(cause for cause in said if cause.fault not in NAMELESS)
        calm = sum(cause.probability for cause in said if cause.fault == "none")
        calm += float(row["no_fault"])
        unknown = max(0.0, 1.0 - calm - sum(cause.probability for cause in causes))
        return Diagnosis(self.incident.id, self.now_s, causes, unknown, "drawn", no_fault=calm)

    def _causes(self) -> tuple[Cause, ...]:
        row = self._tables.troubles[self._trouble]
        stays = float(row["persistent"])
        first = self._where(int(row["node"]), int(row["gpu"]), bool(row["placed"]))
        found = [Cause(first, CAUSES[row["cause"]], float(row["probability"]), persistent=stays)]
        other = float(row["other_probability"])
        if other > 0:
            second = self._where(int(row["other_node"]), NONE, bool(row["other_placed"]))
            found.append(Cause(second, CAUSES[row["other_cause"]], other, persistent=stays))
        return tuple(found)

    def _where(self, node: int, gpu: int, placed: bool) -> Target:
        if not placed:
            row = self._tables.troubles[self._trouble]
            return Target(job=self._name.job(int(row["number"])))
        return self._name.target(node, gpu)


class Began:
    """What counts and sums were at a start."""

    def __init__(self, tables: Tables) -> None:
        self.core = tables.core[0].copy()
        self.sums = sums.sums(tables)
        self.energy_j = sums.energy_j(tables)
        self.lost_gpu_s = float(decisions.lost(tables))
        self.late = float(decisions.late(tables))


def holds_of(tables: Tables, before: Holds) -> Holds:
    """Return who keeps which node out, with what compiled code has taken out since."""
    found = dict(before)
    for node in np.flatnonzero(tables.nodes["hold"] == Hold.AGENT).tolist():
        found.setdefault(node, (OWNER, "taken out of its job"))
    held = tables.nodes["hold"] != Hold.NOBODY
    return {node: who for node, who in found.items() if held[node]}
