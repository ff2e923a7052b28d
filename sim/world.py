"""A cluster you can break: build it from a scenario and a seed, let time pass, look, act, fork."""

import math
from pathlib import Path

from core.cluster import OWNER, ClusterState
from core.codec import from_json, to_json
from core.errors import InputError
from core.topology import Topology
from core.types import Action, Event
from sim import build, observe, orders, saving, sums
from sim.alone import alone_if_compiling
from sim.checks import nearest
from sim.engine.begin import begin
from sim.engine.loop import advance
from sim.engine.room import with_room
from sim.engine.tables import SHARED, USED, Table, Tables
from sim.orders import People
from sim.sayings import sayings
from sim.scenario import Scenario
from sim.truth import FaultRecord, truth


class World:
    """A simulated cluster in virtual time: the same scenario, seed and actions, the same world.

    Time moves only by ``advance``. Unless the scenario's site does it, nobody queues a job that
    stopped again or repairs a node: that is left to whoever acts.

    >>> from sim.library import scenario
    >>> world = World.build(scenario("quiet"), seed=1)
    >>> world.advance(world.now_s + 3600)
    False
    >>> round(world.goodput(), 2)
    0.98
    """

    def __init__(self, scenario: Scenario, seed: int, tables: Tables) -> None:
        """Wrap tables; ``build`` is the way to a new world."""
        self.scenario = scenario
        self.inner = tables
        self.names = build.names_of(scenario, tables, seed=seed)
        self.people = People()
        self._before = sums.sums(tables)
        self._told: list[Event] = []
        self._topology: tuple[int, Topology] | None = None

    @classmethod
    def build(cls, scenario: Scenario, *, seed: int, trace: Table | None = None) -> "World":
        """Return the world at the scenario's start, its history behind it.

        trace: rows of ``sim.engine.rows_jobs.TRACE``, jobs to be replayed from the start on; None:
          those of the file that the scenario's workload names, if it names one
        """
        tables = build.tables_of(scenario, seed=seed, trace=trace)
        world = cls(scenario, seed, with_room(tables))
        with alone_if_compiling():
            begin(world.inner)
            world.advance(scenario.start_s)
        world._before = sums.sums(world.inner)
        return world

    @property
    def now_s(self) -> float:
        """Return the world's time, seconds since the epoch."""
        return float(self.inner.core[0]["now_s"])

    @property
    def handled(self) -> int:
        """Return how many events have happened."""
        return int(self.inner.core[0]["handled"])

    @property
    def interruptions(self) -> int:
        """Return how often a fault has stopped a job."""
        return int(self.inner.core[0]["interruptions"])

    @property
    def events(self) -> tuple[Event, ...]:
        """Return everything the kernel logs and the scheduler have said, oldest first."""
        said = self.inner.said[len(self._told) : int(self.inner.core[0]["said_n"])]
        self._told.extend(sayings(said, self.names))
        return tuple(self._told)

    @property
    def truth(self) -> tuple[FaultRecord, ...]:
        """Return what really broke and when, in order of onset; for scoring, not for policies."""
        return truth(self.inner, self.names)

    def advance(self, to_s: float) -> bool:
        """Let time pass until ``to_s``; a time in the past changes nothing.

        ``now_s`` is the next whole 1/1024 s then, so that GPU time adds up exactly.

        True: a decision is due before then, where the scenario's telemetry is a surrogate.
        """
        if not math.isfinite(to_s):
            raise InputError(f"a world cannot advance to {to_s:g} s; name a time that comes.")
        until_s = build.next_tick(to_s)
        while True:
            self.inner = with_room(self.inner)
            advance(self.inner, until_s)
            if not self.inner.core[0]["short"]:
                return bool(self.inner.core[0]["stop"])

    def fork(self, *, keep: bool = True) -> "World":
        """Return an independent copy, to see what would come of an action.

        keep: it keeps its past and what is said, so that readings can be made; without it a fork
        is quicker and its first step too
        """
        twin = World.__new__(World)
        twin.scenario, twin.names, twin.people = self.scenario, self.names, self.people.copy()
        twin.inner = _copied(self.inner)
        if not keep:
            twin.inner.core[0]["keep"] = twin.inner.core[0]["said"] = False
        twin._before, twin._told, twin._topology = self._before, list(self._told), None
        return twin

    def save(self, path: Path) -> None:
        """Write the world to a file; InputError where it cannot be written."""
        about = {
            "scenario": to_json(self.scenario),
            "seed": self.names.seed,
            "classes": list(self.names.classes),
            "holds": [[node, *who] for node, who in self.people.holds.items()],
            "performed": self.people.performed,
            "notes": [[node, to_json(note)] for node, note in self.people.notes.items()],
            "paged": list(self.people.paged.items()),
            "before": to_json(self._before),
        }
        saving.write(path, _trimmed(self.inner), about)

    @classmethod
    def load(cls, path: Path) -> "World":
        """Return a saved world, as it was; InputError where the file is none or was damaged."""
        tables, about = saving.read(path)
        world = cls(from_json(Scenario, about["scenario"]), int(about["seed"]), with_room(tables))
        if list(world.names.classes) != about["classes"]:
            raise InputError(
                f"loading a world from {path}: the faults of its profile "
                f"{world.scenario.profile!r} are others in this version; run its scenario and "
                "seed again instead."
            )
        world.people.performed = dict(about["performed"])
        world.people.holds = {node: (who, why) for node, who, why in about["holds"]}
        world.people.notes = {node: from_json(observe.Note, note) for node, note in about["notes"]}
        world.people.paged = dict(about["paged"])
        world._before = from_json(sums.Sums, about["before"])
        return world

    def perform(self, action: Action, *, by: str = OWNER) -> None:
        """Order an action; ActionFailed says why the cluster would not."""
        self.inner = with_room(self.inner)
        orders.perform(self.inner, self.names, self.people, action, by=by)

    def cordon(self, node: str, *, by: str, reason: str) -> None:
        """Take a node out of service as a person would; InputError where there is none such."""
        self.inner = with_room(self.inner)
        orders.cordon(self.inner, self.people, self._node(node), by=by, reason=reason)

    def uncordon(self, node: str) -> None:
        """Return a node to service as a person would: whoever took it out."""
        self.inner = with_room(self.inner)
        orders.uncordon(self.inner, self.people, self._node(node))

    def state(self) -> ClusterState:
        """Return the cluster as its scheduler sees it."""
        people = self.people
        return observe.cluster_state(
            self.inner, self.names, people.holds, people.notes, people.paged
        )

    def topology(self) -> Topology:
        """Return the shape of the cluster and where each rank is placed now."""
        handled = self.handled + len(self.people.performed)
        if self._topology is None or self._topology[0] != handled:
            self._topology = (handled, observe.topology(self.inner, self.names))
        return self._topology[1]

    def jobs(self) -> Table:
        """Return a row of ``sim.engine.rows_jobs.DONE`` for each job begun or ended, by number.

        A job that has not ended has NaN for its end; its GPU time is that of now.
        """
        return sums.job_rows(self.inner)

    def goodput(self) -> float:
        """Return the useful share of the jobs' GPU time since the start; NaN before any passed.

        Useful is a step done for the first time, at the time it takes where nothing is slow: the
        effective training time ratio of Kokolis et al. (HPCA 2025), for which steps done again and
        restarts are unproductive, times a slow step's speed, as in Google's goodput of programs.
        """
        gained = self.sums()
        return gained.good / gained.asked if gained.asked > 0 else float("nan")

    @property
    def lost_gpu_s(self) -> float:
        """Return the GPU-seconds that jobs asked for since the start and that were not useful."""
        gained = self.sums()
        return gained.asked - gained.good

    def sums(self) -> sums.Sums:
        """Return where the GPU-seconds since the scenario's start went."""
        return sums.less(sums.sums(self.inner), self._before)

    def uses(self) -> dict[str, float]:
        """Return the GPU-seconds since the start by use: idle, held, down, repair."""
        return sums.by_use(self.sums())

    def losses(self) -> dict[str, float]:
        """Return the GPU-seconds that jobs asked for and lost since the start, by cause."""
        return sums.by_loss(self.sums())

    def _node(self, name: str) -> int:
        if name not in self.names.node_index:
            raise InputError(
                f"the cluster has no node {name!r}; {nearest(name, self.names.node_index)}"
            )
        return self.names.node_index[name]


def _copied(tables: Tables) -> Tables:
    """Return tables that may go their own way; rows that never change are shared, with no room."""
    trimmed = _trimmed(tables)._asdict()
    return Tables(
        **{
            name: trimmed[name] if name in SHARED else part.copy()
            for name, part in tables._asdict().items()
        }
    )


def _trimmed(tables: Tables) -> Tables:
    """Return the tables without the room behind their rows; whoever goes on makes room first."""
    core = tables.core[0]
    used = {name: int(core[count]) for name, count in USED.items()}
    used["job_last"] = used["jobs"]
    return Tables(
        *(
            part[: used[name]] if name in used else part
            for name, part in zip(Tables._fields, tables, strict=True)
        )
    )
