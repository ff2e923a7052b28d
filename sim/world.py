"""A cluster you can break: build it from a scenario and a seed, let time pass, look, act, fork."""

import heapq
from collections.abc import Callable, Mapping

import numpy as np

from core.cluster import OWNER, ClusterState, JobState, NodeState
from core.topology import Topology
from core.types import Action, Event
from sim import faults, jobs, scheduler
from sim.cluster import build_shape, idle_nodes
from sim.draws import Purpose, generator
from sim.progress import JOB_ROW, best_at, checkpoint_at, cycles, step_at
from sim.scenario import GPUS_PER_NODE, Scenario
from sim.state import FaultRecord, Hold, State
from sim.trail import Trail

_HANDLERS: Mapping[str, Callable[..., None]] = {
    "arrival": faults.on_arrival,
    "captured": jobs.on_captured,
    "clocks": faults.on_clocks,
    "crash": jobs.on_crash,
    "fault": faults.on_fault,
    "memory_full": faults.on_memory_full,
    "rebooted": scheduler.on_rebooted,
    "repaired": faults.on_repaired,
    "stage": jobs.on_stage,
    "volume_full": faults.on_volume_full,
}


class World:
    """A simulated cluster in virtual time: the same scenario, seed and actions, the same world.

    Time moves only by ``advance``. A job that stops stays stopped and one that is slow stays slow
    until somebody acts: there is no automatic requeue in this version.

    >>> from sim.scenario import scenario
    >>> world = World.build(scenario("quiet"), seed=1)
    >>> world.advance(world.now_s + 3600)
    >>> round(world.goodput(), 2)
    0.98
    """

    def __init__(self, state: State, *, useful_s: float = 0.0) -> None:
        """Wrap a state; ``build`` is the way to a new world."""
        self.inner = state
        self._useful_before_s = useful_s
        self._topology: tuple[tuple[tuple[int, ...], ...], Topology] | None = None

    @classmethod
    def build(cls, scenario: Scenario, *, seed: int) -> "World":
        """Return the world at the scenario's start, its history behind it."""
        began_s = scenario.start_s - scenario.history_s
        shape = build_shape(scenario, seed=seed)
        first = np.zeros(len(scenario.jobs), dtype=JOB_ROW)
        first["entity"] = np.arange(len(first))
        first["start_s"] = began_s
        first["step_s"] = np.inf
        first["saved_s"] = first["captured_s"] = -np.inf
        spares = scenario.nodes - scenario.spares
        state = State(
            scenario=scenario,
            seed=seed,
            now_s=began_s,
            shape=shape,
            cycle=cycles(scenario.jobs),
            nodes=idle_nodes(shape, since_s=began_s),
            jobs=Trail(first),
            placement=_placement(scenario),
            pool=[index >= spares for index in range(scenario.nodes)],
            holds=[Hold()] * scenario.nodes,
            node_since=[began_s] * scenario.nodes,
            job_version=[0] * len(scenario.jobs),
            node_version=[0] * scenario.nodes,
            heap=[],
            seq=0,
            events=[],
            truths=[],
            performed={},
        )
        random = generator(seed, entity=1, purpose=Purpose.SHAPE)
        for job in range(len(scenario.jobs)):
            jobs.run(state, job, into_cycle=random.random())
        faults.schedule_faults(state)
        world = cls(state)
        world.advance(scenario.start_s)
        world._useful_before_s = world._useful_gpu_s()
        return world

    @property
    def now_s(self) -> float:
        """Return the world's time, seconds since the epoch."""
        return self.inner.now_s

    @property
    def scenario(self) -> Scenario:
        """Return what the world was built from."""
        return self.inner.scenario

    @property
    def events(self) -> tuple[Event, ...]:
        """Return everything the kernel logs and the scheduler have said, oldest first."""
        return tuple(self.inner.events)

    @property
    def truth(self) -> tuple[FaultRecord, ...]:
        """Return what really broke and when, in order of onset; for scoring, not for policies."""
        return tuple(self.inner.truths)

    def advance(self, to_s: float) -> None:
        """Let time pass until ``to_s``; a time in the past changes nothing."""
        state = self.inner
        while state.heap and state.heap[0][0] <= to_s:
            state.now_s, _, kind, payload = heapq.heappop(state.heap)
            _HANDLERS[kind](state, *payload)
            state.handled += 1
        state.now_s = max(state.now_s, to_s)

    def fork(self) -> "World":
        """Return an independent copy, to see what would come of an action."""
        return World(self.inner.fork(), useful_s=self._useful_before_s)

    def perform(self, action: Action, *, by: str = OWNER) -> None:
        """Order an action; ActionFailed says why the cluster would not."""
        scheduler.perform(self.inner, action, by=by)

    def cordon(self, node: str, *, by: str, reason: str) -> None:
        """Take a node out of service as a person would."""
        scheduler.cordon(self.inner, self.inner.shape.node_index[node], by=by, reason=reason)

    def uncordon(self, node: str) -> None:
        """Return a node to service as a person would: whoever took it out."""
        scheduler.uncordon(self.inner, self.inner.shape.node_index[node])

    def state(self) -> ClusterState:
        """Return the cluster as its scheduler sees it."""
        return ClusterState(
            self.now_s,
            self.topology(),
            self._nodes(),
            tuple(self._job(job) for job in range(len(self.scenario.jobs))),
        )

    def topology(self) -> Topology:
        """Return the shape of the cluster and where each rank is placed now."""
        placement = tuple(self.inner.placement)
        if self._topology is None or self._topology[0] != placement:
            ids = tuple(job.id for job in self.scenario.jobs)
            self._topology = (placement, self.inner.shape.topology(ids, placement))
        return self._topology[1]

    def goodput(self) -> float:
        """Return the useful share of the jobs' GPU time since the start; NaN before any passed.

        Useful is a step done for the first time, at the time it takes where nothing is slow: the
        effective training time ratio of Kokolis et al. (HPCA 2025), for which steps done again and
        restarts are unproductive, times a slow step's speed, as in Google's goodput of programs.
        """
        asked = self._asked_gpu_s()
        return (asked - self.lost_gpu_s) / asked if asked > 0 else float("nan")

    @property
    def lost_gpu_s(self) -> float:
        """Return the GPU-seconds of the jobs' allocation since the start that were not useful."""
        return self._asked_gpu_s() - (self._useful_gpu_s() - self._useful_before_s)

    def _asked_gpu_s(self) -> float:
        gpus = sum(job.nodes for job in self.scenario.jobs) * GPUS_PER_NODE
        return gpus * (self.now_s - self.scenario.start_s)

    def _useful_gpu_s(self) -> float:
        rows = self.inner.jobs.now()
        best = best_at(rows, self.inner.cycle, np.full(len(rows), self.now_s))
        worth = [job.ideal_step_s * job.nodes * GPUS_PER_NODE for job in self.scenario.jobs]
        return float(best @ np.array(worth, dtype=np.float64))

    def _nodes(self) -> tuple[NodeState, ...]:
        state = self.inner
        placed = {node for nodes in state.placement for node in nodes}
        return tuple(
            NodeState(
                name=state.shape.nodes[node],
                condition=condition,
                owner=state.holds[node].owner,
                reason=state.holds[node].reason,
                spare=state.pool[node] and node not in placed,
                since_s=state.node_since[node],
            )
            for node, condition in enumerate(scheduler.conditions(state))
        )

    def _job(self, job: int) -> JobState:
        state, spec = self.inner, self.scenario.jobs[job]
        row, now = state.jobs.now(np.array([job])), np.array([self.now_s])
        cycle = state.cycle.of(job)
        saved_s = float(checkpoint_at(row, cycle, now)[0][0])
        return JobState(
            id=spec.id,
            phase=jobs.phase(state, job),
            nodes=tuple(state.shape.nodes[node] for node in state.placement[job]),
            gpus=len(state.placement[job]) * GPUS_PER_NODE,
            since_s=self._since(job),
            checkpoint_s=saved_s + spec.checkpoint_save_s if np.isfinite(saved_s) else None,
            step=float(step_at(row, cycle, now)[0]),
            restarts=int(row["restarts"][0]),
            priority=spec.priority,
        )

    def _since(self, job: int) -> float:
        """Return since when the job has been in its phase."""
        rows = self.inner.jobs
        mine = rows.column("entity") == job
        phases, starts = rows.column("phase")[mine], rows.column("start_s")[mine]
        changed = np.flatnonzero(np.diff(phases))
        return float(starts[changed[-1] + 1] if len(changed) else starts[0])


def _placement(scenario: Scenario) -> list[tuple[int, ...]]:
    ends = np.cumsum([job.nodes for job in scenario.jobs])
    return [
        tuple(range(int(end) - job.nodes, int(end)))
        for job, end in zip(scenario.jobs, ends, strict=True)
    ]
