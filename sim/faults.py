"""The fault catalogue: what each fault does, what shows of it, what repairs it, and the source.

A fault comes at its time whatever has been done before, so every policy meets the same ones. One
that finds nothing to break (a leak on an idle node, a GPU that is gone already) is over at once.
No repair crew comes unless the scenario says how long a fault lasts.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from core.target import Target
from sim.cluster import BUSY_MEMORY, IDLE_MEMORY, NO_JOB, SCRATCH_USED
from sim.draws import Purpose, generator
from sim.jobs import FULL, Stage, fail, hang, retime, running_on, stage
from sim.scenario import COOLING, FAULTS, FILLING, GPUS_PER_NODE, LEAK, SCRATCH, XID_79, FaultSpec
from sim.state import FaultRecord, State

_DAY_S = 86400.0
# Between ByteRobust's inspection period for GPUs, 10 s, and the 60 s an explicit error takes to be
# seen by its log (SOSP'25).
_DETECT_S = (10.0, 60.0)
_PCIE_WITH_XID_79 = 0.43  # share seen together on RSC-1 (Kokolis et al., HPCA 2025)
_REBOOT_REPAIRS = 0.74  # failures that a restart cures: 73-75 % (Unicron, DLRover)
_INLET_RISE_CELSIUS = 13.0
_HEAT_RISE = 1.0  # a healthy cooler's resistance is doubled: assumption, holds clocks near 0.8
_LEAK_S = 4500.0  # from a busy node's memory to full in 75 minutes
_FILLING_S = 5400.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One class of fault, for people and for diagnosis to be measured against.

    cause: what a diagnosis calls it
    """

    name: str
    cause: str
    symptoms: str
    repaired_by: str
    source: str


CATALOGUE: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault(
            XID_79,
            "gpu_fallen_off_bus",
            "kernel log says Xid 79, in 43 % with a PCIe error; the GPU's readings vanish; the "
            "job hangs, then fails",
            "reboot_node in 74 %, else the GPU is replaced; swap_node brings the job back",
            "NVIDIA Xid catalogue; co-occurrence: Kokolis et al., HPCA 2025",
        ),
        Fault(
            COOLING,
            "cooling_degraded",
            "air at the node's inlet and its GPUs warm up over minutes; at 87 degC clocks fall "
            "and every rank of the job waits for this node's",
            "by hand only; swap_node takes the job away from it",
            "limits: H100 SXM by nvidia-smi -q; thermal lag and size: assumption",
        ),
        Fault(
            LEAK,
            "memory_leak",
            "memory of the node rises in a straight line until the kernel kills the loader and "
            "the job fails",
            "restart_job or swap_node before it is full; the failure itself",
            "CPU out of memory is 10 % of ByteRobust's incidents (SOSP'25, table 1); 1-2 h: "
            "assumption",
        ),
        Fault(
            FILLING,
            "volume_filling",
            "the scratch volume fills in a straight line; when it is full the job fails and "
            "cannot start on this node again",
            "reboot_node, which empties scratch",
            "insufficient disk is 5 % of ByteRobust's incidents (SOSP'25, table 1)",
        ),
    )
}


def schedule_faults(state: State) -> None:
    """Put the scenario's faults and the first arrival of each drawn kind on the heap."""
    for index, spec in enumerate(state.scenario.faults):
        after_s = state.scenario.start_s + spec.onset_s - state.now_s
        state.schedule(max(after_s, 0.0), "fault", (index,))
    for fault, per_day in state.scenario.rates:
        if per_day > 0:
            for node in range(state.scenario.nodes):
                _schedule_arrival(state, fault, node, per_day, index=0)


def on_arrival(state: State, fault: str, node: int, per_day: float, index: int) -> None:
    """Let a drawn fault happen, and draw when the next of its kind comes to this node."""
    strike(state, FaultSpec(fault, state.node_target(node), onset_s=0.0))
    _schedule_arrival(state, fault, node, per_day, index=index + 1)


def on_fault(state: State, index: int) -> None:
    """Let a fault of the scenario happen."""
    strike(state, state.scenario.faults[index])


def strike(state: State, spec: FaultSpec) -> None:
    """Break something now, and note it in the ground truth."""
    node = state.shape.node_index[spec.target.node]
    gpu = _gpu_index(state, node, spec.target.gpu)
    target = state.node_target(node)
    if spec.fault == XID_79:
        target = replace(target, gpu=state.shape.gpus[node * GPUS_PER_NODE + gpu])
    elif spec.fault == FILLING:
        target = replace(target, volume=SCRATCH)
    record = len(state.truths)
    state.truths.append(FaultRecord(spec.fault, target, state.now_s))
    if not _BREAK[spec.fault](state, node, gpu, spec.severity):
        _close(state, record)
    elif math.isfinite(spec.lasts_s):
        state.schedule(spec.lasts_s, "repaired", (record,))


def on_repaired(state: State, record: int) -> None:
    """Let a repair crew's work show: the fault is gone, the job is not started for that."""
    if state.truths[record].repaired_s is None:
        _mend(state, record)


def on_clocks(state: State, node: int, version: int) -> None:
    """Follow a warming or cooling node's clocks, and with them its job's pace."""
    if version != state.node_version[node]:
        return
    state.change_nodes((node,))
    retime(state, running_on(state, node))


def on_memory_full(state: State, node: int, record: int) -> None:
    """Let the kernel kill the loader of a node whose memory has leaked away."""
    job = running_on(state, node)
    if state.truths[record].repaired_s is not None or job == NO_JOB:
        return
    kills = state.nodes.now(np.array([node]))["oom_kills"] + 1
    name = state.shape.nodes[node]
    text = "Out of memory: Killed process (data loader)"
    state.tell(state.node_target(node), "oom_kill", text)
    state.change_nodes((node,), oom_kills=kills)
    fail(state, job, text=f"a rank on {name} was killed, exit status 137", code="oom")


def on_volume_full(state: State, node: int, record: int) -> None:
    """Let the next write to a full scratch volume fail, and with it the job."""
    if state.truths[record].repaired_s is not None:
        return
    name = state.shape.nodes[node]
    target = Target(node=name, volume=SCRATCH)
    state.tell(target, "volume_full", f"{SCRATCH}: no space left on device")
    job = running_on(state, node)
    if job != NO_JOB:
        fail(state, job, text=f"no space left on device on {name}", code="no_space")


def mend_by_reboot(state: State, node: int) -> None:
    """Repair what a reboot repairs on a node: a full scratch, a leak, most GPUs off the bus."""
    name = state.shape.nodes[node]
    for record, truth in enumerate(state.truths):
        if truth.repaired_s is not None or truth.target.node != name:
            continue
        if truth.fault in (FILLING, LEAK) or (truth.fault == XID_79 and _transient(state, record)):
            _mend(state, record)


def _break_gpu(state: State, node: int, gpu: int, _: float) -> bool:
    alive = state.nodes.now(np.array([node]))["alive"]
    if not alive[0, gpu]:
        return False
    alive[0, gpu] = False
    state.change_nodes((node,), alive=alive)
    name = state.shape.nodes[node]
    target = Target(node=name, gpu=state.shape.gpus[node * GPUS_PER_NODE + gpu])
    text = f"NVRM: Xid (PCI:0000:{0x1A + 16 * gpu:02x}:00): 79, GPU has fallen off the bus."
    state.tell(target, "xid", text, code="79")
    random = generator(state.seed, entity=len(state.truths), purpose=Purpose.DETECTION)
    detect_s = random.uniform(*_DETECT_S)
    if random.random() < _PCIE_WITH_XID_79:
        state.tell(target, "pcie_error", "pcieport: AER: uncorrected (fatal) error, link lost")
    job = running_on(state, node)
    if job != NO_JOB and stage(state, job) in (Stage.STEPPING, Stage.CAPTURING):
        hang(state, job)
        text = f"CUDA error on {name}: unspecified launch failure, NCCL remote error"
        version = state.job_version[job]
        state.schedule(detect_s, "crash", (job, version, text, "cuda_error"))
    return True


def _break_cooling(state: State, node: int, _: int, severity: float) -> bool:
    row = state.nodes.now(np.array([node]))
    if row["heat"][0] != 1:
        return False
    goal = state.shape.inlet[node] + _INLET_RISE_CELSIUS * severity
    state.change_nodes((node,), heat=1 + _HEAT_RISE * severity, inlet_goal=goal)
    return True


def _break_memory(state: State, node: int, _: int, severity: float) -> bool:
    row = state.nodes.now(np.array([node]))
    if running_on(state, node) == NO_JOB or row["memory_slope"][0] > 0:
        return False
    slope = severity * (FULL - float(row["memory"][0])) / _LEAK_S
    state.change_nodes((node,), memory_slope=slope)
    state.schedule(_LEAK_S / severity, "memory_full", (node, len(state.truths) - 1))
    return True


def _break_volume(state: State, node: int, _: int, severity: float) -> bool:
    row = state.nodes.now(np.array([node]))
    if row["scratch_slope"][0] > 0:
        return False
    slope = severity * (1 - float(row["scratch"][0])) / _FILLING_S
    state.change_nodes((node,), scratch_slope=slope)
    state.schedule(_FILLING_S / severity, "volume_full", (node, len(state.truths) - 1))
    return True


_BREAK: Mapping[str, Callable[[State, int, int, float], bool]] = dict(
    zip(FAULTS, (_break_gpu, _break_cooling, _break_memory, _break_volume), strict=True)
)


def _mend(state: State, record: int) -> None:
    truth = state.truths[record]
    node = state.shape.node_index[truth.target.node]
    match truth.fault:
        case "gpu_fallen_off_bus":
            gpu = state.shape.gpus.index(truth.target.gpu) - node * GPUS_PER_NODE
            alive = state.nodes.now(np.array([node]))["alive"]
            alive[0, gpu] = True
            state.change_nodes((node,), alive=alive)
        case "cooling_degraded":
            state.change_nodes((node,), heat=1.0, inlet_goal=state.shape.inlet[node])
            retime(state, running_on(state, node))
        case "loader_memory_leak":
            idle = running_on(state, node) == NO_JOB
            memory = IDLE_MEMORY if idle else BUSY_MEMORY
            state.change_nodes((node,), memory_slope=0.0, memory=memory)
        case _:
            state.change_nodes((node,), scratch_slope=0.0, scratch=SCRATCH_USED)
    _close(state, record)


def _close(state: State, record: int) -> None:
    state.truths[record] = replace(state.truths[record], repaired_s=state.now_s)


def _transient(state: State, record: int) -> bool:
    """Say whether a reboot repairs this fault: the answer is the fault's own, not the try's."""
    random = generator(state.seed, entity=record, purpose=Purpose.REPAIR)
    return bool(random.random() < _REBOOT_REPAIRS)


def _gpu_index(state: State, node: int, gpu: str) -> int:
    """Return which of the node's GPUs a fault strikes: the one it names, else one drawn."""
    if gpu:
        return int(gpu)
    random = generator(state.seed, entity=node, purpose=Purpose.FAULT, index=len(state.truths))
    return int(random.integers(GPUS_PER_NODE))


def _schedule_arrival(state: State, fault: str, node: int, per_day: float, *, index: int) -> None:
    random = generator(
        state.seed,
        entity=node * len(FAULTS) + FAULTS.index(fault),
        purpose=Purpose.ARRIVAL,
        index=index,
    )
    before_s = max(state.scenario.start_s - state.now_s, 0.0)  # none comes in the history
    wait_s = before_s + random.exponential(_DAY_S / per_day)
    state.schedule(wait_s, "arrival", (fault, node, per_day, index))
