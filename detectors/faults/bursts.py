"""Several Xids at once are one fault: the one that explains the others, or the job's program."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from core.target import Target
from core.topology import Topology
from core.types import Event, Severity
from detectors.faults.catalogue import xid
from detectors.faults.ladder import explains, explains_beside, of_program
from detectors.faults.memory import FaultMemory
from detectors.faults.xids import KIND, code_of

# Xids of one GPU this close belong to one fault (assumed: a driver is through within seconds).
BURST_S = 60.0
# NVSentinel's longest burst window, that of 31: a program's error reaches its ranks within it.
PROGRAM_S = 180.0
# The least GPUs of a job, and share of them, that make the same error the program's. Assumed.
PROGRAM_GPUS, PROGRAM_SHARE = 2, 0.5

_REMAPPED, _REMAP_FAILED, _DOUBLE_BIT = 63, 64, 48


class _Seen(NamedTuple):
    target: Target
    code: int
    time_s: float


def causes_only(
    events: Sequence[Event], memory: FaultMemory, topology: Topology | None
) -> tuple[Event, ...]:
    """Return the faults without the Xids that others explain.

    memory: has seen ``events`` already
    One that stays names those it explains. The same program error on most GPUs of a job becomes one
    event of the job: the GPUs do what they are told. The order does not matter.
    """
    others = [event for event in events if event.kind != KIND or code_of(event) is None]
    of_gpus = [event for event in events if event.kind == KIND and code_of(event) is not None]
    if not of_gpus:
        return tuple(others)
    first_s = min(event.time_s for event in of_gpus)
    seen = list(_recent(memory, first_s - PROGRAM_S))
    kept = list(_causes(of_gpus, seen))
    return (*others, *_of_programs(kept, seen, topology))


def _recent(memory: FaultMemory, since_s: float) -> Iterator[_Seen]:
    for target, code, time_s in memory.recent(KIND, since_s):
        if code.isdecimal():
            yield _Seen(target, int(code), time_s)


def _causes(events: Iterable[Event], seen: Sequence[_Seen]) -> Iterator[Event]:
    beside: dict[str, list[_Seen]] = {}
    for one in seen:
        beside.setdefault(one.target.node, []).append(one)
    for event in events:
        code, target = int(event.code), event.target
        near = [
            one for one in beside.get(target.node, ()) if abs(one.time_s - event.time_s) <= BURST_S
        ]
        own = [one.code for one in near if one.target == target]
        others = [one.code for one in near if one.target != target and target.node]
        explained = any(explains(cause, code) for cause in own)
        if not (explained or any(explains_beside(cause, code) for cause in others)):
            effects = {effect for effect in own if explains(code, effect)}
            effects |= {effect for effect in others if explains_beside(code, effect)}
            yield _naming(event, code, effects)


def _naming(event: Event, code: int, effects: set[int]) -> Event:
    """Return the event with what it explains, and with what a double-bit error came to."""
    text = event.text
    if code == _DOUBLE_BIT and _REMAP_FAILED in effects:
        text = f"{text.split(';')[0]}; the row could not be remapped: replace the GPU"
    elif code == _DOUBLE_BIT and _REMAPPED in effects:
        text = f"{text.split(';')[0]}; the row is remapped at a reset: drain and reset the GPU"
    if effects:
        text += f" (with Xid {', '.join(map(str, sorted(effects)))})"
    return event if text == event.text else replace(event, text=text)


def _of_programs(
    events: Sequence[Event], seen: Sequence[_Seen], topology: Topology | None
) -> Iterator[Event]:
    """Yield the events, those of a program's error on most of its job's GPUs as one of the job."""
    if topology is None or not any(of_program(int(event.code)) for event in events):
        yield from events
        return
    job_of = jobs_of_gpus(topology)
    size: dict[str, int] = {}
    for job in job_of.values():
        size[job] = size.get(job, 0) + 1
    hit: dict[tuple[str, int], set[str]] = {}
    told: set[tuple[str, int]] = set()
    for one in seen:
        if one.target.job:
            told.add((one.target.job, one.code))
        elif one.target.gpu in job_of:
            hit.setdefault((job_of[one.target.gpu], one.code), set()).add(one.target.gpu)
    first: dict[tuple[str, int], Event] = {}
    for event in sorted(events, key=lambda event: (event.time_s, event.target)):
        job, code = job_of.get(event.target.gpu, ""), int(event.code)
        gpus = len(hit.get((job, code), ()))
        many = gpus >= max(PROGRAM_GPUS, PROGRAM_SHARE * size.get(job, 0))
        if not (job and of_program(code) and (many or (job, code) in told)):
            yield event
        elif (job, code) not in first:
            first[job, code] = event
            yield _of_job(job, code, event.time_s, (gpus, size[job]))


def _of_job(job: str, code: int, time_s: float, gpus: tuple[int, int]) -> Event:
    text = (
        f"Xid {code} on {gpus[0]} of the {gpus[1]} GPUs of job {job}: {xid(code).meaning}; "
        "the program's error: check the application"
    )
    return Event(Target(job=job), time_s, KIND, str(code), text, Severity.WARNING)


def jobs_of_gpus(topology: Topology) -> dict[str, str]:
    """Return the job that runs on each GPU."""
    pairs = zip(topology.rank_gpu.tolist(), topology.rank_job.tolist(), strict=True)
    return {topology.gpus[gpu]: topology.jobs[job] for gpu, job in pairs}
