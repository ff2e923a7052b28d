"""Fakes at the ports: a cluster, a notifier and a store that do what a test tells them to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from core.clock import ManualClock
from core.cluster import OWNER, ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.errors import ActionFailed, SourceUnavailable
from core.ports import Announcement, Delivery, DeliveryStatus, Notification, R, Store
from core.topology import Topology
from core.types import (
    Action,
    Diagnosis,
    Incident,
    IncidentState,
    JournalEntry,
    PlanRecord,
)

GPUS_PER_NODE = 8
STEP_S = 5.0


class Answer(StrEnum):
    """What a fake cluster does with an order."""

    TAKE = "take"
    REFUSE = "refuse"
    HANG = "hang"  # never answers and never does it
    HANG_AND_DO = "hang_and_do"  # never answers and does it all the same
    LOSE = "lose"  # says yes and never does it
    LATE = "late"  # says yes and does it after ``late_s``
    AWAY = "away"  # the scheduler does not answer
    BREAK = "break"  # an error nobody foresaw


class FakeCluster:
    """A cluster of ``nodes`` in racks of four: one job on the first ones, spares at the end.

    effects: keys in the order in which they had an effect; the same one never twice
    answers: what to do with an order, by the action's kind; TAKE where none is given
    delay_s, start_s, late_s: until an effect shows; until a job runs again, or a node that boots is
        up; until a LATE effect
    """

    name = "fake"

    def __init__(
        self, clock: ManualClock, *, nodes: int = 12, spares: int = 2, job_nodes: int = 4
    ) -> None:
        self._clock = clock
        names = tuple(f"node-{number}" for number in range(nodes))
        self.nodes = {
            name: NodeState(name, NodeCondition.READY, spare=number >= nodes - spares)
            for number, name in enumerate(names)
        }
        now_s = clock.now_s()
        self.jobs = {
            "train": JobState(
                id="train",
                phase=JobPhase.RUNNING,
                nodes=names[:job_nodes],
                gpus=job_nodes * GPUS_PER_NODE,
                since_s=now_s - 3600,
                checkpoint_s=now_s - 600,
                step=1000.0,
            )
        }
        self.answers: dict[str, Answer] = {}
        self.orders: list[Action] = []
        self.effects: list[str] = []
        self.delay_s, self.start_s, self.late_s = 5.0, 60.0, 3600.0
        self.steps_from: float | None = 900.0  # where a restarted job's steps begin; None: untold
        self.checkpoint_takes_s = 20.0
        self.checks_take_s = 600.0
        self.broken: set[str] = set()  # what their checks find
        self.starts: dict[str, int] = {}  # how often a job stops again as it comes up
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._keys: set[str] = set()
        self._stepped_s = clock.monotonic_s()

    async def state(self) -> ClusterState:
        """Return the cluster now, with every effect that is due."""
        self._catch_up()
        return ClusterState(
            observed_s=self._clock.now_s(),
            topology=self._topology(),
            nodes=tuple(self.nodes.values()),
            jobs=tuple(self.jobs.values()),
        )

    async def perform(self, action: Action) -> None:
        """Take an order as told; a key that was taken does nothing again."""
        self._catch_up()
        self.orders.append(action)
        answer = self.answers.get(action.kind, Answer.TAKE)
        match answer:
            case Answer.AWAY:
                raise SourceUnavailable("asking the fake scheduler: it is away. Let it be back.")
            case Answer.BREAK:
                raise ZeroDivisionError("nobody foresaw this")
            case Answer.HANG:
                await self._clock.sleep(1e9)
        if action.key in self._keys:
            return
        if answer is Answer.REFUSE:
            raise ActionFailed(f"{action.kind} {action.target}: the fake says no. Ask nicely.")
        effect, takes_s = self._effect(action)
        self._keys.add(action.key)
        if answer is not Answer.LOSE:
            after_s = self.late_s if answer is Answer.LATE else takes_s
            self._later(after_s, lambda: self._apply(action, effect))
        if answer is Answer.HANG_AND_DO:
            await self._clock.sleep(1e9)

    def by_hand(
        self, node: str, condition: NodeCondition, *, owner: str = "", why: str = ""
    ) -> None:
        """Change a node as a person does."""
        self._catch_up()
        self.nodes[node] = replace(self.nodes[node], condition=condition, owner=owner, reason=why)

    def out_by_us(self) -> set[str]:
        """Return the nodes that are out of service by gpumedic's hand."""
        self._catch_up()
        return {
            node.name
            for node in self.nodes.values()
            if node.condition is not NodeCondition.READY and node.owner == OWNER
        }

    def _apply(self, action: Action, effect: Callable[[], None]) -> None:
        self.effects.append(action.key)
        effect()

    def _later(self, seconds: float, work: Callable[[], None]) -> None:
        self._due.append((self._clock.monotonic_s() + seconds, len(self._due), work))

    def _catch_up(self) -> None:
        now_s = self._clock.monotonic_s()
        while due := sorted(item for item in self._due if item[0] <= now_s):
            self._due.remove(due[0])
            due[0][2]()
        steps = (now_s - self._stepped_s) / STEP_S
        self._stepped_s = now_s
        for job in self.jobs.values():
            if job.phase is JobPhase.RUNNING and job.step is not None:
                self.jobs[job.id] = replace(job, step=job.step + steps)

    def _effect(self, action: Action) -> tuple[Callable[[], None], float]:
        node, job = action.target.node, str(action.param("job") or action.target.job)
        if node not in self.nodes and job not in self.jobs:
            raise ActionFailed(f"{action.kind} {action.target}: there is no such thing here.")
        match action.kind:
            case "cordon":
                return lambda: self._cordon(node, str(action.param("reason") or "")), self.delay_s
            case "uncordon":
                if self.nodes[node].owner not in ("", OWNER):
                    raise ActionFailed(f"uncordon {node}: {self.nodes[node].owner} holds it.")
                return lambda: self._uncordon(node), self.delay_s
            case "checkpoint_now":
                if self.jobs[job].phase is not JobPhase.RUNNING:
                    raise ActionFailed(f"checkpoint_now {job}: it does not run.")
                return lambda: self._save(job), self.checkpoint_takes_s
            case "restart_job":
                return lambda: self._start(job, self.jobs[job].nodes), self.delay_s
            case "swap_node":
                spare = str(action.param("spare"))
                free = spare in self.nodes and self.nodes[spare].spare
                if not free or self.nodes[spare].condition is not NodeCondition.READY:
                    raise ActionFailed(f"swap_node {node}: {spare or 'no spare'} is not free.")
                return lambda: self._swap(job, node, spare), self.delay_s
            case _:
                return self._lasting(action, node, job)

    def _lasting(self, action: Action, node: str, job: str) -> tuple[Callable[[], None], float]:
        """Take orders about what a node or a job is from then on."""
        match action.kind:
            case "reboot_node":
                return lambda: self._reboot(node), self.delay_s
            case "page_person":
                return lambda: self._page(node, job), self.delay_s
            case "keep_as_spare":
                return lambda: self._keep(node), self.delay_s
            case "validate_node":
                return lambda: self._check(node), self.checks_take_s
            case "limit_clocks":
                share = float(action.param("share") or 1.0)
                return lambda: self._limit(node, share), self.delay_s
            case "shrink_job" | "grow_job":
                count, leave = int(action.param("nodes") or 0), str(action.param("leave") or "")
                return lambda: self._resize(job, count, leave), self.delay_s
            case _:
                raise ActionFailed(f"{action.kind} {action.target}: there is no such action.")

    def _cordon(self, node: str, reason: str) -> None:
        if not self.nodes[node].owner:
            held = replace(self.nodes[node], owner=OWNER, reason=reason)
            self.nodes[node] = replace(held, condition=NodeCondition.CORDONED)

    def _uncordon(self, node: str) -> None:
        if self.nodes[node].owner in ("", OWNER):
            self.nodes[node] = replace(
                self.nodes[node], owner="", reason="", condition=NodeCondition.READY
            )

    def _page(self, node: str, job: str) -> None:
        now_s = self._clock.now_s()
        if node:
            self.nodes[node] = replace(self.nodes[node], paged_s=now_s)
        else:
            self.jobs[job] = replace(self.jobs[job], paged_s=now_s)

    def _keep(self, node: str) -> None:
        self.nodes[node] = replace(self.nodes[node], spare=True)

    def _reboot(self, node: str) -> None:
        """Take a node down that is out already, and have it up again, as far out as before."""
        before = self.nodes[node]
        self.nodes[node] = replace(before, condition=NodeCondition.DOWN)

        def come_up() -> None:
            self.nodes[node] = replace(before, since_s=self._clock.now_s())

        self._later(self.start_s, come_up)

    def _check(self, node: str) -> None:
        found = "fan 2 does not turn" if node in self.broken else ""
        self.nodes[node] = replace(self.nodes[node], checked_s=self._clock.now_s(), finding=found)

    def _limit(self, node: str, share: float) -> None:
        self.nodes[node] = replace(self.nodes[node], clocks=share)

    def _resize(self, job: str, count: int, leave: str) -> None:
        busy = {name for each in self.jobs.values() for name in each.nodes}
        free = [n.name for n in self.nodes.values() if n.condition is NodeCondition.READY]
        kept = tuple(name for name in self.jobs[job].nodes if name != leave)[:count]
        more = [name for name in free if name not in busy and not self.nodes[name].spare]
        nodes = kept + tuple(more[: count - len(kept)])
        self.jobs[job] = replace(self.jobs[job], gpus=len(nodes) * GPUS_PER_NODE)
        self._start(job, nodes)

    def _save(self, job: str) -> None:
        if self.jobs[job].phase is JobPhase.RUNNING:
            self.jobs[job] = replace(self.jobs[job], checkpoint_s=self._clock.now_s())

    def _swap(self, job: str, node: str, spare: str) -> None:
        nodes = tuple(spare if name == node else name for name in self.jobs[job].nodes)
        self.nodes[spare] = replace(self.nodes[spare], spare=False)
        self._start(job, nodes)

    def _start(self, job: str, nodes: tuple[str, ...]) -> None:
        now_s = self._clock.now_s()
        self.jobs[job] = replace(
            self.jobs[job],
            phase=JobPhase.STARTING,
            nodes=nodes,
            since_s=now_s,
            step=self.steps_from,
            restarts=self.jobs[job].restarts + 1,
        )
        self._later(self.start_s, lambda: self._run(job))

    def _run(self, job: str) -> None:
        if self.jobs[job].phase is JobPhase.STARTING:
            now_s, left = self._clock.now_s(), self.starts.get(job, 0)
            self.starts[job] = left - 1
            phase = JobPhase.RUNNING if left <= 0 else JobPhase.STOPPED
            self.jobs[job] = replace(self.jobs[job], phase=phase, since_s=now_s)

    def _topology(self) -> Topology:
        names = tuple(self.nodes)
        racks = np.arange(len(names), dtype=np.int64) // 4
        gpus = np.arange(len(names) * GPUS_PER_NODE, dtype=np.int64)
        ranks = [
            (number, names.index(node) * GPUS_PER_NODE + gpu)
            for number, job in enumerate(self.jobs.values())
            for node in job.nodes
            for gpu in range(GPUS_PER_NODE)
        ]
        return Topology(
            nodes=names,
            racks=tuple(f"r{number}" for number in range(int(racks.max()) + 1)),
            switches=tuple(f"s{number}" for number in range(int(racks.max()) // 2 + 1)),
            gpus=tuple(f"GPU-{number}" for number in gpus),
            jobs=tuple(self.jobs),
            node_rack=racks,
            node_switch=racks // 2,
            gpu_node=gpus // GPUS_PER_NODE,
            rank_job=np.array([job for job, _ in ranks], dtype=np.int64),
            rank_gpu=np.array([gpu for _, gpu in ranks], dtype=np.int64),
        )


@dataclass
class RecordingAnnouncer:
    """Remembers what was announced, with the plan as it was then."""

    told: list[tuple[Announcement, PlanRecord]] = field(default_factory=list)

    async def __call__(self, announcement: Announcement, record: PlanRecord, _: Incident) -> None:
        """Take one announcement."""
        self.told.append((announcement, record))

    def words(self) -> list[str]:
        """Return the announcements' names in order."""
        return [str(announcement) for announcement, _ in self.told]


@dataclass
class RecordingNotifier:
    """A receiver that keeps what it is sent and answers as told, then with DELIVERED."""

    name: str = "recording"
    wanted: frozenset[Announcement] = frozenset(Announcement)
    answers: list[Delivery] = field(default_factory=list)
    received: list[tuple[str, bytes]] = field(default_factory=list)

    def render(self, notification: Notification) -> bytes | None:
        """Return the summary's bytes."""
        if notification.announcement not in self.wanted:
            return None
        return notification.summary.encode()

    async def deliver(self, message_id: str, body: bytes) -> Delivery:
        """Keep the message where the next answer is DELIVERED."""
        done = Delivery(DeliveryStatus.DELIVERED, "200")
        answer = self.answers.pop(0) if self.answers else done
        if answer.status is DeliveryStatus.DELIVERED:
            self.received.append((message_id, body))
        return answer


class MemoryStore:
    """The store's port over dicts: as the real one, and gone with the process."""

    def __init__(self) -> None:
        self._records: dict[tuple[type, str], Incident | Diagnosis | PlanRecord] = {}
        self.lines: list[JournalEntry] = []

    async def put(self, *records: Incident | Diagnosis | PlanRecord) -> None:
        """Insert or replace each record."""
        for record in records:
            self._records[type(record), _id(record)] = record

    async def get(self, kind: type[R], record_id: str) -> R | None:
        """Return the record of that id, or None."""
        found = self._records.get((kind, record_id))
        return found if isinstance(found, kind) else None

    async def find(
        self, kind: type[R], *, live: bool = False, since_s: float | None = None
    ) -> tuple[R, ...]:
        """Return records newest first by when they last changed."""
        found = [record for record in self._records.values() if isinstance(record, kind)]
        kept = [
            record
            for record in found
            if (not live or _live(record)) and (since_s is None or _changed_s(record) >= since_s)
        ]
        return tuple(sorted(kept, key=lambda record: (-_changed_s(record), _id(record))))

    async def journal(self, entries: Sequence[JournalEntry]) -> None:
        """Append to the journal."""
        self.lines.extend(entries)

    async def entries(self, incident_id: str) -> tuple[JournalEntry, ...]:
        """Return an incident's journal, oldest first."""
        return tuple(line for line in self.lines if line.incident_id == incident_id)


def _id(record: Incident | Diagnosis | PlanRecord) -> str:
    if isinstance(record, PlanRecord):
        return record.plan.id
    return record.incident_id if isinstance(record, Diagnosis) else record.id


def _live(record: Incident | Diagnosis | PlanRecord) -> bool:
    if isinstance(record, PlanRecord):
        return not record.state.final
    return isinstance(record, Diagnosis) or record.state is IncidentState.OPEN


def _changed_s(record: Incident | Diagnosis | PlanRecord) -> float:
    if isinstance(record, PlanRecord):
        return record.since_s
    return record.made_at_s if isinstance(record, Diagnosis) else record.updated_s


class Crash(BaseException):
    """The process ends here: nobody catches it."""


class CrashingStore:
    """A store whose process ends right after, or right before, a chosen write."""

    def __init__(self, store: Store, *, writes: int, after: bool) -> None:
        self._store = store
        self._left = writes
        self._after = after

    async def put(self, *records: Incident | Diagnosis | PlanRecord) -> None:
        """Write, or crash."""
        self._tick(now=not self._after)
        await self._store.put(*records)
        self._tick(now=self._after)

    async def journal(self, entries: Sequence[JournalEntry]) -> None:
        """Write, or crash."""
        self._tick(now=not self._after)
        await self._store.journal(entries)
        self._tick(now=self._after)

    async def get(self, kind: type[R], record_id: str) -> R | None:
        """Read."""
        return await self._store.get(kind, record_id)

    async def find(
        self, kind: type[R], *, live: bool = False, since_s: float | None = None
    ) -> tuple[R, ...]:
        """Read."""
        return await self._store.find(kind, live=live, since_s=since_s)

    async def entries(self, incident_id: str) -> tuple[JournalEntry, ...]:
        """Read."""
        return await self._store.entries(incident_id)

    def _tick(self, *, now: bool) -> None:
        if now:
            self._left -= 1
            if self._left == 0:
                raise Crash
