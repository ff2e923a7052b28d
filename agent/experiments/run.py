"""One run from its spec to its result: the same wherever and in whatever order it is computed."""

import asyncio
import math
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.experiments.accounts import Accounts, accounts
from agent.experiments.results import (
    NONE,
    FaultSeen,
    Order,
    Outcome,
    RunFailed,
    RunResult,
    RunSpec,
)
from agent.experiments.sampling import Sampler
from agent.experiments.spans import spans
from agent.staging import Stage, StageSettings, drive, stage
from core.choice import Choice
from core.clock import ManualClock
from core.errors import GpumedicError
from core.site import SiteFigures
from core.types import Diagnosis, Incident, OutcomeStatus, PlanRecord
from remediation.deciding import remedies
from remediation.deciding.chooser import Chooser
from remediation.deciding.choosing import ChoosingPolicy
from remediation.policies.learned import LearnedChooser
from remediation.policies.rulebook import Runbook
from remediation.running.stopgap import has_helped
from sim.catalogue import CAUSES
from sim.deciding import Decided
from sim.engine.words import NONE as NOTHING
from sim.terms import Terms
from sim.truth import FaultRecord
from sim.world import World

Tell = Callable[[str], None]
# What a choice is about is a node for these, and a job for the others.
MOVES = (Choice.SWAP, Choice.SWAP_AND_REPAIR, Choice.SWAP_BOTH, Choice.SHRINK, Choice.BORROW)


@dataclass(frozen=True, slots=True)
class Healing:
    """What a policy did; times are seconds after the start."""

    incidents: int = 0
    diagnosed: int = 0
    verified: int = 0
    first_verified_s: float | None = None
    orders: tuple[Order, ...] = ()
    plans: tuple[str, ...] = ()


def attempt(spec: RunSpec) -> Outcome:
    """Run; whatever goes wrong comes back as a value, so that the other runs are not lost."""
    try:
        return run(spec)
    except GpumedicError as error:
        return RunFailed(spec.label, str(error))
    except Exception as error:
        found = f"{type(error).__name__}: {error}".replace("\n", " ")
        return RunFailed(spec.label, found, traceback.format_exc())


def run(spec: RunSpec, *, tell: Tell = lambda line: None) -> RunResult:
    """Return what came of the run; it depends on the spec only, but for the time it took.

    tell: is given the controller's sentence of each cycle
    """
    began_s, began_cpu_s = time.perf_counter(), _cpu_s()
    if spec.policy == NONE:
        sampler, healing = _alone(spec), Healing()
    elif spec.telemetry == "surrogate":
        sampler, healing = _decided(spec)
    else:
        sampler, healing = asyncio.run(_controlled(spec, tell))
    took = (time.perf_counter() - began_s, _cpu_s() - began_cpu_s)
    own = accounts(sampler.world)
    baseline = own if spec.policy == NONE else accounts(_left_alone(spec, sampler.world))
    return _result(spec, sampler, healing, took=took, books=(own, baseline))


def _alone(spec: RunSpec) -> Sampler:
    """Let the world run with what its site does by itself."""
    script = replace(spec.scenario, telemetry="none")  # nobody reads: no row need be kept
    world = World.build(script, seed=spec.seed)
    world.inner.core[0]["said"] = True  # what jobs did is drawn from what was said of them
    sampler = Sampler(world, spec.duration_s)
    sampler.advance(world.scenario.start_s + spec.duration_s)
    return sampler


def _left_alone(spec: RunSpec, world: World) -> World:
    """Return the same world at the same time where nobody heals."""
    alone = World.build(replace(world.scenario, telemetry="none"), seed=spec.seed)
    alone.advance(world.now_s)
    return alone


def _decided(spec: RunSpec) -> tuple[Sampler, Healing]:
    """Let the policy decide at incidents that are drawn, not detected."""
    world = World.build(replace(spec.scenario, telemetry="surrogate"), seed=spec.seed)
    world.inner.core[0]["said"] = True  # what jobs did is drawn from what was said of them
    end_s = world.scenario.start_s + spec.duration_s
    chooser, sampler = chooser_of(spec), Sampler(world, spec.duration_s)
    decided, choice = Decided(world, _terms(spec)), NOTHING
    while world.now_s < end_s:
        if decided.go(choice, min(sampler.due_s, end_s)):
            choice = int(chooser.choose(decided.moment()))
        else:
            choice = NOTHING
            sampler.look()
    return sampler, _healed(decided)


def _terms(spec: RunSpec) -> Terms:
    """Return what decisions go by where nothing is told of a site but its scenario."""
    site = spec.scenario.site
    figures = SiteFigures(validate_s=site.validate_s, people_s=site.people_s)
    return Terms(remedies.table(CAUSES), site=figures)


def _healed(decided: Decided) -> Healing:
    account = decided.account()
    orders = tuple(_ordered(decided, row) for row in decided.orders)
    ends = [order.ended_s for order in orders if order.worked]
    return Healing(
        incidents=account.incidents,
        diagnosed=account.incidents,
        verified=len(ends),
        first_verified_s=min(ends, default=None),
        orders=orders,
        plans=tuple(f"{order.kind} {order.target}" for order in orders),
    )


def _ordered(decided: Decided, row: Any) -> Order:
    world = decided.world
    start_s = world.scenario.start_s
    kind = Choice(int(row["choice"]))
    of_job = kind not in MOVES and row["job"] >= 0
    target = world.names.job(int(row["job"])) if of_job else world.names.nodes[int(row["node"])]
    ended_s = world.now_s if math.isnan(row["ended_s"]) else float(row["ended_s"])
    return Order(
        kind=kind.name.lower(),
        target=target,
        started_s=float(row["time_s"]) - start_s,
        ended_s=ended_s - start_s,
        worked=bool(row["worked"]),
        plan=f"t{row['trouble']}",
    )


async def _controlled(spec: RunSpec, tell: Tell) -> tuple[Sampler, Healing]:
    """Put the whole controller before the world, on a clock that the cycles move."""
    clock = ManualClock()
    script = replace(spec.scenario, telemetry="full").starting_at(clock.now_s())
    with tempfile.TemporaryDirectory(prefix="gpumedic-simulate-") as folder:
        settings = StageSettings(folder=Path(folder), seed=spec.seed)
        staged = await stage(script, settings, clock=clock)
        staged.app.controller.heal.policy = policy_of(spec)
        staged.app.controller.tell_person = tell
        sampler = Sampler(staged.world, spec.duration_s)
        try:
            await drive(staged.app, clock, spec.duration_s, each=sampler.look)
            # A cycle looks before its interval passes: the last interval is still to come.
            sampler.advance(script.start_s + spec.duration_s)
            return sampler, await _healing(staged)
        finally:
            await staged.app.close()


def chooser_of(spec: RunSpec) -> Chooser:
    """Return what chooses at incidents that are drawn."""
    if spec.learned is None:
        return Runbook.tuned(name="runbook")
    return LearnedChooser(spec.learned, fallback=Runbook.tuned())


def policy_of(spec: RunSpec) -> ChoosingPolicy:
    """Return the policy that a spec names."""
    return ChoosingPolicy(chooser_of(spec))


async def _healing(staged: Stage) -> Healing:
    """Take what was done from the store: the controller forgets what is long over."""
    store, start_s = staged.app.controller.watch.store, staged.world.scenario.start_s
    found = await store.find(PlanRecord)
    plans = sorted(found, key=lambda record: (record.plan.made_at_s, record.plan.rationale))
    helped = [record for record in plans if has_helped(record)]
    return Healing(
        incidents=len(await store.find(Incident)),
        diagnosed=len(await store.find(Diagnosis)),
        verified=len(helped),
        first_verified_s=min((r.since_s - start_s for r in helped), default=None),
        orders=tuple(
            order
            for number, record in enumerate(plans, 1)
            for order in _orders(record, f"plan {number}", start_s)
        ),
        plans=tuple(f"{record.state}: {record.plan.rationale}" for record in plans),
    )


def _orders(record: PlanRecord, plan: str, start_s: float) -> list[Order]:
    """Plans are numbered: their ids are drawn anew each time, and a result repeats exactly."""
    return [
        Order(
            kind=outcome.action.kind,
            target=str(outcome.action.target),
            started_s=outcome.started_s - start_s,
            ended_s=outcome.ended_s - start_s,
            worked=outcome.status is OutcomeStatus.SUCCEEDED,
            plan=plan,
        )
        for outcome in record.outcomes
    ]


def _result(
    spec: RunSpec,
    sampler: Sampler,
    healing: Healing,
    *,
    took: tuple[float, float],
    books: tuple[Accounts, Accounts],
) -> RunResult:
    world, (own, baseline) = sampler.world, books
    script = world.scenario
    faults = tuple(_fault(record, script.start_s) for record in world.truth)
    return RunResult(
        scenario=script.name,
        seed=spec.seed,
        policy=spec.policy,
        telemetry=spec.telemetry,
        settings=spec.settings,
        nodes=script.nodes,
        gpus=own.gpus,
        simulated_s=world.now_s - script.start_s,
        wall_s=took[0],
        cpu_s=took[1],
        goodput_ratio=own.goodput_ratio,
        ettr_ratio=own.ettr_ratio,
        baseline_goodput_ratio=baseline.goodput_ratio,
        lost_gpu_s=own.lost_gpu_s,
        baseline_lost_gpu_s=baseline.lost_gpu_s,
        interruptions=own.interruptions,
        faults_struck=len(faults),
        faults_mended=sum(fault.mended_s is not None for fault in faults),
        incidents=healing.incidents,
        diagnosed=healing.diagnosed,
        actions=sum(order.worked for order in healing.orders),
        verified=healing.verified,
        first_verified_s=healing.first_verified_s,
        jobs_done=own.jobs_done,
        jobs_waiting=own.jobs_waiting,
        uses_gpu_s=own.uses_gpu_s,
        losses_gpu_s=own.losses_gpu_s,
        faults=faults,
        orders=healing.orders,
        plans=healing.plans,
        timeline=sampler.timeline(),
        spans=spans(world),
    )


def _fault(record: FaultRecord, start_s: float) -> FaultSeen:
    mended_s = None if record.repaired_s is None else record.repaired_s - start_s
    return FaultSeen(
        fault=record.fault,
        target=str(record.target),
        onset_s=record.onset_s - start_s,
        mended_s=mended_s,
        severity=record.severity,
        interrupted=record.interrupted,
    )


def _cpu_s() -> float:
    """Return the processor time of this process and of its workers that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
