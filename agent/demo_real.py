"""A real cluster is broken and healed by the real controller; its training's losses compared."""

import asyncio
import itertools
import json
import math
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.answer import in_short
from agent.assembly import Assembly, Inputs, assemble
from agent.config import Settings
from agent.lab.real import RealCluster, Step, end_after, steps
from agent.lab.slurm_training import SlurmTraining
from agent.lab.torchrun import TorchrunTraining
from agent.log import start_logging
from agent.start import discover, inputs_of
from core.choice import Choice
from core.clock import Clock, RealClock
from core.cluster import NodeCondition
from core.codec import to_json
from core.errors import InputError
from core.target import Target
from core.types import Diagnosis, Incident, JournalEntry, PlanRecord
from detectors.warm import warm
from remediation.deciding import decided
from remediation.running.stopgap import has_helped
from sim.checks import nearest

TRAINING = Path(__file__).parent / "lab" / "training.py"
SAME = 1e-6
# So many steps more, after the healing was verified.
AFTER_STEPS = 10
LOOK_S = 0.1
RETURNS = "node-returns"
ENDING = (signal.SIGTERM, signal.SIGINT)
_LOOP: Mapping[str, Any] = {
    "cluster": "demo",
    "autonomy": ({"mode": "auto"},),
    "cycle": {"interval": "1s", "refit": "1h"},
    "history": {"step": "1s", "span": "1h"},
    "verify": {"settle": "1s", "sustain": "3s", "deadline": "5m"},
    "server": {"listen": "127.0.0.1:0"},
    "host": {"enabled": False},
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an incident's journal; after_s: since the fault."""

    after_s: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class RealDemo:
    """What came of it; times are seconds since the fault.

    jobs:       that the incident touches
    verify:     how long it must have been well to count as verified
    detected_s: the incident was open; verified_s: what was done is known to have helped
    returned_s: the node that was lost is ready, and the job as wide as before; None but where the
                fault is one that passes
    stood_s:    the longest time without a step since the fault
    repeated:   steps that were done again
    done:       each action and who did it
    messages:   kinds of messages that the webhook's receiver got
    losses:     by step, the last time it was done; undisturbed: of a run with no fault, to the same
                step, in one process
    difference: the largest between the two
    """

    cluster: str
    fault: str
    what: str
    hit: str
    verify: Sequence[str]
    incident: str
    jobs: Sequence[str]
    cause: str
    detected_s: float | None
    verified_s: float | None
    returned_s: float | None
    stood_s: float
    repeated: int
    done: Sequence[str]
    journal: Sequence[Line]
    messages: Sequence[str]
    losses: Sequence[tuple[int, float]]
    undisturbed: Sequence[tuple[int, float]]
    difference: float
    healed: bool


@dataclass(slots=True)
class _Case:
    """What is known of the incident that the fault has made.

    before: incidents that were there; nodes: that the job had
    """

    fault_s: float
    hit: Target
    before: frozenset[str]
    nodes: frozenset[str]
    verify: Mapping[str, float] = field(default_factory=dict)
    incident: Incident | None = None
    plan: PlanRecord | None = None
    returned_s: float | None = None
    journal: tuple[JournalEntry, ...] = ()
    diagnosis: Diagnosis | None = None
    messages: list[str] = field(default_factory=list)


async def demo_real(
    cluster: RealCluster, fault: str, *, at: Path, limit_s: float, tell: Callable[[str], None]
) -> RealDemo:
    """Start it, break it, wait until the healing is verified, and compare its losses.

    at: an empty folder; limit_s: the longest wait for that; InputError where nothing starts,
    CancelledError where a signal has ended it
    """
    clock = RealClock()
    start_logging(level="warning", form="auto", clock=clock, stream=sys.stderr)
    _end_by_signal()
    await asyncio.to_thread(warm, tell)
    tell(f"Starting {cluster.name} and its training ...")
    starting = asyncio.create_task(asyncio.to_thread(cluster.start))
    try:
        await asyncio.shield(starting)
        async with _receiving() as (port, messages):
            settings = _settings(cluster, at, port)
            async with _controlled(settings, clock, tell) as app:
                await _until(lambda: app.controller.view().state is not None, limit_s)
                tell(f"Breaking it: {cluster.faults[fault]}.")
                case = _Case(
                    before=frozenset(app.controller.watch.incidents),
                    nodes=_nodes(app, cluster.job),
                    hit=await asyncio.to_thread(cluster.inject, fault),
                    fault_s=clock.now_s(),
                    messages=messages,
                )
                await _until_verified(app, case, cluster.job, limit_s)
                if fault == RETURNS:
                    await _until_returned(app, case, cluster.job, limit_s)
                await _take_down(app, case)
                await _some_steps_more(cluster)
        losses = steps(cluster.folder)
    finally:
        # A thread cannot be ended: what it still starts would be left behind.
        await asyncio.gather(starting, return_exceptions=True)
        await asyncio.to_thread(cluster.stop)
    tell("Running it undisturbed ...")
    undisturbed = await asyncio.to_thread(_undisturbed, at / "undisturbed", losses)
    case.verify = settings.verify.model_dump()
    return _result(cluster, fault, case, losses, undisturbed)


def cluster_of(name: str, fault: str, at: Path) -> RealCluster:
    """Return a real cluster, not yet started; InputError where it cannot be broken in that way."""
    made: RealCluster = (SlurmTraining if name == "slurm" else TorchrunTraining)(at, fault)
    if fault not in made.faults:
        meant = nearest(fault, made.faults)
        raise InputError(
            f"Breaking {name} by {fault!r}: there is no such fault; {meant} `--fault ?` says what "
            "each of them breaks."
        )
    return made


def scratch() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder for everything of a demonstration; sockets bear no long paths."""
    return tempfile.TemporaryDirectory(prefix="gm-demo-", dir="/tmp")


def _end_by_signal() -> None:
    """Have a signal cancel the task that asks for this; a second one ends the process."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def end() -> None:
        for number in ENDING:
            loop.remove_signal_handler(number)
        if task is not None:
            task.cancel()

    for number in ENDING:
        loop.add_signal_handler(number, end)


def _settings(cluster: RealCluster, at: Path, port: int) -> Settings:
    hook = {"name": "demo", "url": f"http://127.0.0.1:{port}/"}
    given = {**_LOOP, **cluster.settings(), "state_dir": at / "state", "webhooks": (hook,)}
    return Settings(**given)


@asynccontextmanager
async def _receiving() -> AsyncIterator[tuple[int, list[str]]]:
    """Receive messages as a site's own webhook does; return the port and the kinds that came."""
    got: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):  # the sender gave up; it sends it again
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            size = int(head.partition("content-length:")[2].split("\r\n")[0])
            got.append(str(json.loads(await reader.readexactly(size))["gpumedic"]["event"]))
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], got
    finally:
        server.close()


async def _inputs(settings: Settings, clock: Clock) -> Inputs:
    """Return what the controller reads: the scheduler, and a Prometheus of the cluster's own."""
    if not settings.prometheus.url:
        return inputs_of(settings, (), clock=clock)
    found = await discover(settings, clock=clock, with_host=False)
    return inputs_of(settings, found.sources, clock=clock, events=found.event_sources)


@asynccontextmanager
async def _controlled(
    settings: Settings, clock: Clock, tell: Callable[[str], None]
) -> AsyncIterator[Assembly]:
    """Run a controller as a process of its own would be."""
    app = await assemble(settings, await _inputs(settings, clock), clock=clock)
    app.controller.tell_person = tell
    service = app.service()
    service.ended_by = ()
    running = asyncio.create_task(service.run())
    try:
        yield app
    finally:
        service.stop()
        await running


async def _until(true: Callable[[], bool], limit_s: float) -> None:
    """Look until something is so, or the time is over."""
    try:
        async with asyncio.timeout(limit_s):
            while not true():  # noqa: ASYNC110 - what is looked at tells nobody
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        return


async def _until_verified(app: Assembly, case: _Case, job: str, limit_s: float) -> None:
    """Wait until a plan against the incident is known to have helped."""

    def verified() -> bool:
        mine = {
            each.id: each
            for each in app.controller.watch.recent()
            if each.id not in case.before and _is_about(each, job, case.nodes)
        }
        plans = [p for p in app.controller.heal.recent() if p.plan.incident_id in mine]
        case.plan = next((plan for plan in plans if has_helped(plan)), None)
        if case.plan is not None:
            case.incident = mine[case.plan.plan.incident_id]
        else:
            case.incident = next(iter(mine.values()), None)
        return case.plan is not None

    await _until(verified, limit_s)


async def _until_returned(app: Assembly, case: _Case, job: str, limit_s: float) -> None:
    """Wait until the node that was hit takes jobs again, and the job has its width back."""

    def returned() -> bool:
        state = app.controller.view().state
        node = None if state is None else state.node(case.hit.node)
        is_ready = node is not None and node.condition is NodeCondition.READY
        if state is not None and is_ready and len(_nodes(app, job)) >= len(case.nodes):
            case.returned_s = state.observed_s
        return case.returned_s is not None

    await _until(returned, limit_s)


async def _take_down(app: Assembly, case: _Case) -> None:
    """Keep what was written of the incident so far."""
    if case.incident is not None:
        case.journal = await app.controller.timeline(case.incident.id)
        case.diagnosis = app.controller.watch.diagnoses.get(case.incident.id)


def _nodes(app: Assembly, job: str) -> frozenset[str]:
    state = app.controller.view().state
    found = None if state is None else state.job(job)
    return frozenset() if found is None else frozenset(found.nodes)


def _is_about(incident: Incident, job: str, nodes: frozenset[str]) -> bool:
    """Say whether the incident is the job's, or one of a node that the job had."""
    return job in incident.jobs or any(
        target.job == job or target.node in nodes for target in incident.targets
    )


async def _some_steps_more(cluster: RealCluster) -> None:
    """Let the training go on a little, and end by itself."""
    end = max((each.step for each in steps(cluster.folder)), default=0) + AFTER_STEPS
    await asyncio.to_thread(end_after, cluster.folder, end)
    await _until(lambda: max(s.step for s in steps(cluster.folder)) >= end - 1, 30.0)


def _undisturbed(folder: Path, disturbed: Sequence[Step]) -> tuple[Step, ...]:
    """Run the same training to the same step in one process, with no fault."""
    folder.mkdir()
    count = max((each.step for each in disturbed), default=-1) + 1
    words = [sys.executable, str(TRAINING), "--folder", str(folder), "--pace", "0"]
    done = subprocess.run(  # noqa: S603 - our own words
        [*words, "--save-every", "0", "--steps", str(count)], capture_output=True, check=False
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace")[-600:]
        raise InputError(
            f"Running the training undisturbed: it ended with {done.returncode}. It said: {said}"
        )
    return steps(folder)


def _result(
    cluster: RealCluster,
    fault: str,
    case: _Case,
    losses: Sequence[Step],
    undisturbed: Sequence[Step],
) -> RealDemo:
    known, plain = ({s.step: s.loss for s in each} for each in (losses, undisturbed))
    every = [abs(each.loss - plain[each.step]) for each in losses]
    difference = max(every, default=math.inf)
    after = [case.fault_s, *(each.at_s for each in losses if each.at_s > case.fault_s)]
    gaps = [b - a for a, b in itertools.pairwise(after)]
    goes_on = bool(gaps)
    plan, incident = case.plan, case.incident
    cause = "" if plan is None else f"{plan.plan.cause.fault} on {plan.plan.cause.target}"
    return RealDemo(
        cluster=cluster.name,
        fault=fault,
        what=cluster.faults[fault],
        hit=str(case.hit),
        verify=[f"{key} {value:g} s" for key, value in case.verify.items()],
        incident="" if incident is None else incident.title,
        jobs=() if incident is None else incident.jobs,
        cause=cause,
        detected_s=None if incident is None else _first(case) - case.fault_s,
        verified_s=None if plan is None else plan.since_s - case.fault_s,
        returned_s=None if case.returned_s is None else case.returned_s - case.fault_s,
        stood_s=max(gaps, default=math.inf),
        repeated=len(losses) - len(known),
        done=[] if plan is None else [_did(plan, at) for at in range(len(plan.outcomes))],
        journal=_story(case),
        messages=case.messages,
        losses=sorted(known.items()),
        undisturbed=sorted(plain.items()),
        difference=difference,
        healed=plan is not None
        and goes_on
        and difference <= SAME
        and (fault != RETURNS or case.returned_s is not None),
    )


def _first(case: _Case) -> float:
    """Return when the incident was open."""
    return case.fault_s if case.incident is None else case.incident.opened_s


def _did(record: PlanRecord, at: int) -> str:
    outcome = record.outcomes[at]
    return f"{outcome.action.kind} {outcome.action.target}: {outcome.status} ({outcome.text})"


def _story(case: _Case) -> list[Line]:
    """Return what was seen, what was made of it, and what was done, in order of time."""
    found = [_line(entry, case.fault_s) for entry in case.journal]
    if case.diagnosis is not None:
        at_s = case.diagnosis.made_at_s - case.fault_s
        found.append(Line(at_s, "diagnosis", in_short(case.diagnosis)))
    if case.incident is not None:
        events, anomalies = case.incident.events, case.incident.anomalies
        found += [Line(e.time_s - case.fault_s, "symptom", e.text) for e in events]
        found += [Line(a.start_s - case.fault_s, "symptom", a.text) for a in anomalies]
    return sorted(found, key=lambda line: line.after_s)


def _line(entry: JournalEntry, fault_s: float) -> Line:
    text = entry.text
    if entry.kind == decided.KIND:
        (made,) = decided.read([entry])
        text = f"{made.policy} chose to {Choice(made.choice).name.lower()}"
    return Line(entry.time_s - fault_s, entry.kind, text)


def as_plain(result: RealDemo, *, short: bool = False) -> dict[str, Any]:
    """Return it as plain data; short: for people, without the curves."""
    found: dict[str, Any] = to_json(result)
    if short:
        found["losses"] = [f"step {step}: {loss:.6f}" for step, loss in result.losses[-3:]]
        del found["undisturbed"]
        found["journal"] = [f"{each.after_s:7.2f} s  {each.text}" for each in result.journal]
    return found
