"""Everything about a simulated cluster that changes, and the one way to change it.

An event is plain data, ``(time_s, seq, kind, payload)``, on a heap; what it does is a function
found by its kind. So a state can be copied, saved and replayed. Handlers live in ``jobs``,
``faults`` and ``scheduler``; ``world`` binds them together.
"""

import heapq
from dataclasses import dataclass, replace

import numpy as np

from core.target import Target
from core.types import Event, Floats, Ints, Severity
from sim.cluster import NO_JOB, Shape, memory_at, scratch_at
from sim.progress import Cycle
from sim.scenario import JobSpec, Scenario
from sim.thermal import inlet_at, next_check_s, settle, temperature_at
from sim.trail import Rows, Trail

Payload = tuple[int | float | str, ...]
Pending = tuple[float, int, str, Payload]


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """Ground truth: what broke, where and when; ``repaired_s`` None while it still is."""

    fault: str
    target: Target
    onset_s: float
    repaired_s: float | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """A node kept out of service: by whom and why; no owner: it is in service."""

    owner: str = ""
    reason: str = ""


@dataclass(slots=True)
class State:
    """The mutable whole; ``fork`` copies what changes and shares what does not.

    placement: job -> its nodes, in rank order; kept while the job is stopped
    pool:      (N,) nodes meant for swaps: the spares, and what was swapped out
    node_since: (N,) when each was last cordoned, uncordoned, went down or came up
    truths:    one record for each fault so far, in order of onset
    versions:  (J,) and (N,) raised to cancel what was scheduled for a job or a node
    """

    scenario: Scenario
    seed: int
    now_s: float
    shape: Shape
    cycle: Cycle
    nodes: Trail
    jobs: Trail
    placement: list[tuple[int, ...]]
    pool: list[bool]
    holds: list[Hold]
    node_since: list[float]
    job_version: list[int]
    node_version: list[int]
    heap: list[Pending]
    seq: int
    events: list[Event]
    truths: list[FaultRecord]
    performed: dict[str, float]
    handled: int = 0

    def fork(self) -> "State":
        """Return an independent copy: neither sees what happens to the other."""
        return replace(
            self,
            nodes=self.nodes.fork(),
            jobs=self.jobs.fork(),
            placement=list(self.placement),
            pool=list(self.pool),
            holds=list(self.holds),
            node_since=list(self.node_since),
            job_version=list(self.job_version),
            node_version=list(self.node_version),
            heap=list(self.heap),
            events=list(self.events),
            truths=list(self.truths),
            performed=dict(self.performed),
        )

    def schedule(self, after_s: float, kind: str, payload: Payload) -> None:
        """Put an event on the heap; those of one instant happen in the order they were put."""
        self.seq += 1
        heapq.heappush(self.heap, (self.now_s + after_s, self.seq, kind, payload))

    def tell(self, target: Target, kind: str, text: str, *, code: str = "") -> None:
        """Add an event as the kernel log or the scheduler would say it."""
        severity = _SEVERITY.get(kind, Severity.INFO)
        self.events.append(Event(target, self.now_s, kind, code, text, severity))

    def spec(self, job: int) -> JobSpec:
        """Return what the job was submitted as."""
        return self.scenario.jobs[job]

    def node_target(self, node: int) -> Target:
        """Return the node as a target."""
        return Target(node=self.shape.nodes[node])

    def job_on(self, node: int) -> int:
        """Return the index of the job the node is given to, or NO_JOB."""
        return next((j for j, nodes in enumerate(self.placement) if node in nodes), NO_JOB)

    def change_nodes(self, nodes: tuple[int, ...], **fields: object) -> Rows:
        """Start a new row for each node with what it has come to by now, and the fields given.

        Returns the rows. Clocks and temperature goals follow from them. A field is one value for
        all of the nodes or an array with one for each.
        """
        indices = np.array(nodes, dtype=np.int64)
        rows = self._carried(indices)
        for name, value in fields.items():
            rows[name] = value
        settle(rows, self.shape.resistance[indices])
        self.nodes.append(rows)
        for row in rows:
            self._watch_clocks(row)
        return rows

    def _carried(self, nodes: Ints) -> Rows:
        """Return the nodes' newest rows brought to now: lags and slopes followed until here."""
        rows = self.nodes.now(nodes)
        now = np.full(len(rows), self.now_s)
        moved: dict[str, Floats] = {
            "inlet": inlet_at(rows, now),
            "celsius": temperature_at(rows, now),
            "memory": memory_at(rows, now),
            "scratch": scratch_at(rows, now),
        }
        for name, value in moved.items():
            rows[name] = value
        rows["start_s"] = self.now_s
        return rows

    def _watch_clocks(self, row: Rows) -> None:
        """Look again at a node whose clocks may still move."""
        node = int(row["entity"])
        self.node_version[node] += 1
        wait_s = next_check_s(row)
        if wait_s is not None:
            self.schedule(wait_s, "clocks", (node, self.node_version[node]))


_SEVERITY = {
    "xid": Severity.CRITICAL,
    "pcie_error": Severity.WARNING,
    "oom_kill": Severity.CRITICAL,
    "volume_full": Severity.CRITICAL,
    "job_failed": Severity.CRITICAL,
}
