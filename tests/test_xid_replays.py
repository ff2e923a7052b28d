"""Reports of others' users, played from lines of the kernel's log to the guards: no false alarm.

Each goes through the reader of the log, detection, diagnosis, the policy and the guards, on a
cluster where gpumedic may do everything by itself.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent.assembly import Assembly
from agent.kernel.following import Following
from agent.kernel.kmsg import Kmsg
from agent.kernel.log import KernelLog
from core.clock import ManualClock
from core.ports import MetricSource
from core.target import Target
from core.types import Incident, IncidentState
from tests.fakes import GPUS_PER_NODE, FakeCluster
from tests.kmsg import Buffer
from tests.loop import CYCLE_S, ScriptedSource, loop

XID_45 = "NVRM: Xid (PCI:{}): 45, pid=12542, name=python3, channel 0x00000002"
XID_31 = (
    "NVRM: Xid (PCI:{}): 31, pid=7194, name=python3, Ch 00000008, intr 00000000. MMU Fault: ENGINE "
    "GRAPHICS GPCCLIENT_T1_0 faulted @ 0x7f2a_c2000000. Fault is of type FAULT_PDE ACCESS_TYPE_READ"
)
XID_13 = "NVRM: Xid (PCI:{}): 13, pid=7194, name=python3, Graphics Exception: ESR 0x50df30=0x107"
XID_79 = "NVRM: Xid (PCI:{}): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
ROOMY = {"max_nodes_out": 4, "max_ratio_out": 0.5, "max_nodes_out_per_rack": 4}
# What takes a node or a GPU from its work.
TAKES = {"cordon", "drain", "swap_node", "quarantine", "reboot_node", "reset_gpu", "validate_node"}


def address(place: int) -> str:
    return f"0000:{0x10 + place:02x}:00"


def gpus_of(node: int) -> dict[str, str]:
    first = node * GPUS_PER_NODE
    return {address(place): f"GPU-{first + place}" for place in range(GPUS_PER_NODE)}


@dataclass
class Site:
    """Some nodes' kernels, the controller that hears them, and the cluster it acts on."""

    app: Assembly
    cluster: FakeCluster
    clock: ManualClock
    buffers: list[Buffer]
    number: int = 0

    def says(self, node: int, line: str, *places: int) -> None:
        """Have a node's kernel say a line of each of these GPUs."""
        for place in places:
            self.number += 1
            text = line.format(address(place))
            self.buffers[node].write(text, first=self.number, boot_s=self.clock.monotonic_s())

    async def passes(self, seconds: float, *, cycles: int = 1) -> None:
        """Let time pass, with so many cycles at even distances."""
        for _ in range(cycles):
            await self.app.controller.cycle()
            await self.clock.advance(seconds / cycles)

    @property
    def orders(self) -> set[str]:
        return {order.kind for order in self.cluster.orders}

    @property
    def incidents(self) -> list[Incident]:
        return list(self.app.controller.watch.recent())


@asynccontextmanager
async def site(
    folder: Path,
    clock: ManualClock,
    *,
    nodes: int = 3,
    sources: Sequence[MetricSource] = (),
) -> AsyncIterator[Site]:
    cluster, buffers, logs = FakeCluster(clock), [], []
    for node in range(nodes):
        (folder / str(node)).mkdir()
        buffers.append(Buffer(folder / str(node)))
        following = Following(clock, None, (Kmsg(buffers[node].path),))
        logs.append(KernelLog(f"node-{node}", following, gpus=partial(gpus_of, node)))
    app = await loop(
        *(folder / "state", clock),
        events=logs,
        sources=sources,
        cluster=cluster,
        autonomy=[{"mode": "auto"}],
        guards=ROOMY,
    )
    yield Site(app, cluster, clock, buffers)
    await app.close()
    for buffer in buffers:
        buffer.close()


async def test_programs_that_come_and_go_all_day_are_no_fault(
    tmp_path: Path, clock: ManualClock
) -> None:
    """NVSentinel#1710: 672 times Xid 45 on 3 nodes in 3 hours were 672 fatal events."""
    async with site(tmp_path, clock) as at:
        for _ in range(28):
            for node in range(3):
                at.says(node, XID_45, *range(GPUS_PER_NODE))
            await at.passes(3 * 3600.0 / 28)

        assert at.number == 672
        assert at.incidents == []
        assert at.orders == set()

        # The same ears hear what is a fault.
        at.says(1, XID_79, 3)
        await at.passes(2 * CYCLE_S, cycles=2)
        assert "cordon" in at.orders


async def test_a_fault_that_asks_for_nothing_takes_no_node_out(
    tmp_path: Path, clock: ManualClock
) -> None:
    """NVSentinel#911: an Xid 31, whose action is none, cordoned a node for people to put back."""
    async with site(tmp_path, clock) as at:
        at.says(1, XID_31, 4)
        await at.passes(30 * CYCLE_S, cycles=30)
        (incident,) = at.incidents
        await at.passes(3600.0, cycles=20)

        assert incident.state is IncidentState.RESOLVED
        assert at.orders & TAKES == set()
        assert at.cluster.out_by_us() == set()
        assert not at.app.controller.heal.live()


async def test_an_error_that_goes_from_gpu_to_gpu_is_the_programs(
    tmp_path: Path, clock: ManualClock
) -> None:
    """NVSentinel#345: Xid 31 on different GPUs is the application's, however often."""
    async with site(tmp_path, clock) as at:
        for turn in range(6):
            at.says(1, XID_31, turn % 3)
            await at.passes(3600.0, cycles=4)

        assert suspects(at) == set()
        assert at.orders & TAKES == set()


async def test_an_error_on_most_ranks_at_once_is_the_programs(
    tmp_path: Path, clock: ManualClock
) -> None:
    """NVSentinel#345: a burst of Xid 13 over a job's GPUs says nothing against any of them."""
    async with site(tmp_path, clock) as at:
        for node in range(3):
            at.says(node, XID_13, *range(GPUS_PER_NODE))
        await at.passes(4 * CYCLE_S, cycles=4)

        assert [str(incident.targets[0]) for incident in at.incidents] == ["job train"]
        assert at.orders & TAKES == set()


async def test_an_error_that_stays_with_one_gpu_makes_it_suspect(
    tmp_path: Path, clock: ManualClock
) -> None:
    """NVSentinel#345: Xid 31 again and again on one GPU and not on its peers is hardware."""
    async with site(tmp_path, clock) as at:
        for _ in range(3):
            at.says(1, XID_31, 5)
            await at.passes(3600.0, cycles=4)

        assert suspects(at) == {f"GPU-{GPUS_PER_NODE + 5}"}


async def test_a_fault_that_gauge_and_log_tell_is_one_incident_and_one_plan(
    tmp_path: Path, clock: ManualClock
) -> None:
    fell_s = clock.now_s() + 4 * CYCLE_S
    gpu = Target(node="node-1", gpu=f"GPU-{GPUS_PER_NODE + 3}")
    gauge = ScriptedSource({("gpu_xid_code", gpu): lambda at_s: 79.0 if at_s >= fell_s else 0.0})
    async with site(tmp_path, clock, sources=[gauge]) as at:
        await at.passes(4 * CYCLE_S, cycles=4)
        at.says(1, XID_79, 3)
        await at.passes(4 * CYCLE_S, cycles=4)

        (incident,) = at.incidents
        assert {event.code for event in incident.events} == {"79"}
        assert len(at.app.controller.heal.plans) == 1


def suspects(at: Site) -> set[str]:
    """Return the GPUs that were said to be suspect."""
    events = (event for incident in at.incidents for event in incident.events)
    return {event.target.gpu for event in events if event.kind == "gpu_suspect"}
