"""What holds of the guards whatever the cluster, the plan and the past."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.clock import ManualClock
from core.cluster import ClusterState, JobPhase, JobState, NodeCondition
from core.target import Target
from core.types import (
    Action,
    IncidentState,
    Outcome,
    OutcomeStatus,
    Plan,
    PlanRecord,
    PlanState,
    Refusal,
    Scalar,
)
from remediation.catalogue import CATALOG
from remediation.guards import (
    GuardContext,
    GuardSettings,
    Maintenance,
    check,
    check_action,
    nodes_out,
    nodes_out_limit,
)
from tests.fakes import FakeCluster
from tests.healing import NOW_S, cordon, incident, plan_of, record_of, seen_now, swap

Step = tuple[str, Target, dict[str, Scalar]]
MOSTLY_DONE = (OutcomeStatus.SUCCEEDED,) * 6 + tuple(OutcomeStatus)
NODES = [f"node-{number}" for number in range(12)]
TRAIN = Target(job="train")
node_names = st.sampled_from(NODES)

steps = st.one_of(
    st.builds(cordon, node_names),
    st.builds(swap, node_names, st.sampled_from(["node-10", "node-11", ""])),
    st.builds(lambda node: ("reboot_node", Target(node=node), {}), node_names),
    st.builds(lambda node: ("uncordon", Target(node=node), {}), node_names),
    st.just(("restart_job", TRAIN, {})),
    st.just(("checkpoint_now", TRAIN, {})),
)

bounds = st.builds(
    GuardSettings,
    max_nodes_out=st.integers(0, 6),
    max_ratio_out=st.floats(0, 1),
    max_nodes_out_per_rack=st.integers(0, 4),
    max_nodes_out_per_switch=st.integers(0, 6),
    min_spares_left=st.integers(0, 2),
    priority_spares=st.integers(0, 2),
    max_job_gpus=st.sampled_from([0, 8, 32, 64]),
    max_job_share=st.floats(0.01, 1),
    max_unsaved_gpu_s=st.sampled_from([0.0, 3600.0, 32 * 600.0, 1e9]),
    cooldown_s=st.sampled_from([0.0, 600.0, 1800.0]),
    max_actions_per_hour=st.integers(0, 8),
    min_probability=st.floats(0, 1),
    probation_s=st.sampled_from([0.0, 3600.0, 86_400.0]),
    lemon_after=st.integers(1, 4),
    maintenance=st.lists(
        st.builds(
            Maintenance,
            st.frozensets(node_names, min_size=1, max_size=2),
            st.floats(NOW_S - 3600, NOW_S),
            st.floats(NOW_S, NOW_S + 3600),
            st.just("ada"),
        ),
        max_size=2,
    ).map(tuple),
)


@st.composite
def pasts(draw: st.DrawFn) -> tuple[PlanRecord, ...]:
    """Draw plans of the last hours, in any state, with what came of some of their steps."""
    records = []
    for number in range(draw(st.integers(0, 4))):
        plan = plan_of(
            *draw(st.lists(steps, min_size=1, max_size=3)),
            id=f"past-{number}",
            incident_id=draw(st.sampled_from(["i1", "i0"])),
        )
        ended_s = NOW_S - draw(st.integers(1, 100_000))
        outcomes = tuple(
            Outcome(action, draw(st.sampled_from(MOSTLY_DONE)), ended_s - 60, ended_s, "drawn")
            for action in plan.actions[: draw(st.integers(0, len(plan.actions)))]
        )
        state = draw(st.sampled_from(PlanState))
        records.append(record_of(plan, state, *outcomes, since_s=ended_s))
    return tuple(records)


@st.composite
def states(draw: st.DrawFn) -> ClusterState:
    """Draw a cluster with nodes out by us and by others, and jobs of two priorities."""
    cluster = FakeCluster(ManualClock(NOW_S))
    for node in draw(st.lists(node_names, max_size=5, unique=True)):
        owner = draw(st.sampled_from(["gpumedic", "ada", "site"]))
        cluster.by_hand(node, NodeCondition.CORDONED, owner=owner)
    train = replace(
        cluster.jobs["train"],
        phase=draw(st.sampled_from([JobPhase.RUNNING, JobPhase.STOPPED, JobPhase.PENDING])),
        priority=draw(st.integers(0, 1)),
        checkpoint_s=draw(st.sampled_from([None, NOW_S - 60, NOW_S - 7200])),
    )
    other = JobState("other", JobPhase.RUNNING, ("node-7",), 8, NOW_S - 60, priority=1)
    nodes, topology = tuple(cluster.nodes.values()), cluster._topology()
    return ClusterState(NOW_S, topology, nodes, (train, other))


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A question to the guards."""

    plan: Plan
    context: GuardContext
    settings: GuardSettings

    def refusals(self) -> tuple[Refusal, ...]:
        return check(self.plan, self.context, self.settings)

    def guards(self) -> set[str]:
        return {refusal.guard for refusal in self.refusals()}

    def at(self, now_s: float) -> "Asked":
        """Return the same question later, with the cluster and its trouble seen just then."""
        context = replace(
            self.context,
            now_s=now_s,
            state=replace(self.context.state, observed_s=now_s),
            incident=seen_now(self.context.incident, now_s),
        )
        return replace(self, context=context)


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    plan = plan_of(
        *draw(st.lists(steps, min_size=1, max_size=3)), id="now", probability=draw(st.floats(0, 1))
    )
    context = GuardContext(
        draw(states()),
        incident(),
        NOW_S,
        records=draw(pasts()),
        paused=draw(st.booleans()),
        attended=draw(st.booleans()),
    )
    return Asked(plan, context, draw(bounds))


often = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@often
@given(asked=questions())
def test_the_same_question_has_the_same_answer_and_nothing_is_changed(asked: Asked) -> None:
    seen = (repr(asked.plan), repr(asked.context.records), repr(asked.context.state.nodes))

    first, again = asked.refusals(), asked.refusals()

    assert first == again
    assert seen == (
        repr(asked.plan),
        repr(asked.context.records),
        repr(asked.context.state.nodes),
    )


@often
@given(asked=questions(), luck=st.randoms())
def test_the_order_of_the_records_does_not_matter(asked: Asked, luck: Random) -> None:
    mixed = list(asked.context.records)
    luck.shuffle(mixed)

    other = replace(asked, context=replace(asked.context, records=tuple(mixed)))

    assert other.refusals() == asked.refusals()


@often
@given(asked=questions())
def test_every_refusal_says_what_was_found_and_what_would_allow_it(asked: Asked) -> None:
    for refusal in asked.refusals():
        assert refusal.reason.startswith(("Not ", "Not doing"))
        assert refusal.reason.endswith(".")
        assert refusal.remedy.endswith(".")
        assert refusal.allowed_s is None or refusal.allowed_s > NOW_S


@often
@given(asked=questions())
def test_waiting_until_the_time_that_is_named_makes_that_guard_say_yes(asked: Asked) -> None:
    """And a second before it still says no: the time is the earliest, not a safe guess."""
    for refusal in asked.refusals():
        if refusal.allowed_s is not None:
            assert refusal.guard in asked.at(refusal.allowed_s - 1).guards()
            later = [
                again
                for again in asked.at(refusal.allowed_s).refusals()
                if again.guard == refusal.guard
            ]
            # Another window, node or action may be next; never the one that was waited for.
            assert all(again.allowed_s != refusal.allowed_s for again in later)


Fix = Callable[[Asked, Refusal], Asked]


def _set(**changes: object) -> Fix:
    return lambda asked, _: replace(
        asked,
        settings=replace(asked.settings, **changes),  # type: ignore[arg-type]
    )


def _unpaused(asked: Asked, _: Refusal) -> Asked:
    return replace(asked, context=replace(asked.context, paused=False))


def _approved(asked: Asked, _: Refusal) -> Asked:
    return replace(asked, context=replace(asked.context, attended=True))


def _spares_as_told(asked: Asked, refusal: Refusal) -> Asked:
    """Lower the key that is named to the number that is named."""
    told = refusal.remedy.split("guards.")[1].split(" and")[0]
    key, least = told.split(" to ")
    fixed = replace(asked.settings, **{key: int(least)})  # type: ignore[arg-type]
    return replace(asked, settings=fixed)


def _others_done(asked: Asked, _: Refusal) -> Asked:
    over = tuple(
        replace(record, state=PlanState.DONE) if not record.state.final else record
        for record in asked.context.records
    )
    return replace(asked, context=replace(asked.context, records=over))


REMEDIES: dict[str, Fix] = {
    "pause": _unpaused,
    "max_job": _approved,
    "min_probability": _set(min_probability=0.0),
    "max_nodes_out": _set(max_nodes_out=99, max_ratio_out=1.0),
    "max_nodes_out_per_rack": _set(max_nodes_out_per_rack=99),
    "max_nodes_out_per_switch": _set(max_nodes_out_per_switch=99),
    "max_actions_per_hour": _set(max_actions_per_hour=99),
    "cooldown": _set(cooldown_s=0.0),
    "unsaved_work": _set(max_unsaved_gpu_s=1e12),
    "probation": _set(probation_s=0.0),
    "lemon": _set(lemon_after=99),
    "priority_spares": _spares_as_told,
    "min_spares_left": _spares_as_told,
    "live_plan": _others_done,
}


# What is told of only where no other guard has taken the node from the count before.
OUT_AT_ONCE = {"max_nodes_out", "max_nodes_out_per_rack", "max_nodes_out_per_switch"}


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(asked=questions())
def test_a_remedy_makes_its_own_guard_pass_and_no_other_fail(asked: Asked) -> None:
    """All of the plan's refusals of that guard go, as the sentence says, and none is added."""
    before = asked.guards()
    for refusal in asked.refusals():
        if refusal.guard in REMEDIES:
            after = REMEDIES[refusal.guard](asked, refusal).guards()
            others = {"probation", "min_spares_left", "priority_spares", *OUT_AT_ONCE}
            assert refusal.guard not in after
            assert after <= before | others


@often
@given(
    out=st.dictionaries(node_names, st.just("gpumedic"), min_size=1, max_size=12),
    held=st.dictionaries(node_names, st.sampled_from(["ada", "site"]), max_size=4),
    wide=bounds,
    past=pasts(),
    paused=st.booleans(),
)
def test_only_people_hold_up_what_is_put_back(
    out: dict[str, str],
    held: dict[str, str],
    wide: GuardSettings,
    past: tuple[PlanRecord, ...],
    paused: bool,
) -> None:
    cluster = FakeCluster(ManualClock(NOW_S))
    for node, owner in {**out, **held}.items():
        cluster.by_hand(node, NodeCondition.CORDONED, owner=owner)
    state = ClusterState(NOW_S, cluster._topology(), tuple(cluster.nodes.values()), ())
    over = replace(incident(now_s=0.0), state=IncidentState.RESOLVED)
    context = GuardContext(state, over, NOW_S, records=past, paused=paused)

    for node in out:
        back = plan_of(("uncordon", Target(node=node), {}), id="back", probability=0.0)
        found = {refusal.guard for refusal in check(back, context, wide)}
        at_work = any(window.covers(node) for window in wide.maintenance)
        assert found <= {"ownership", "maintenance"}
        assert ("ownership" in found) == (node in held)
        assert "maintenance" not in found or at_work


@often
@given(
    state=states(),
    wide=bounds,
    plans=st.lists(st.lists(steps, min_size=1, max_size=3), min_size=1, max_size=8),
)
def test_no_accepted_sequence_has_more_out_than_the_bound(
    state: ClusterState, wide: GuardSettings, plans: list[list[Step]]
) -> None:
    """Each plan that passes is carried out step by step, asking again; the bound always holds."""
    records: list[PlanRecord] = []
    wide = replace(wide, maintenance=(), cooldown_s=0.0, max_actions_per_hour=1000)
    for number, chosen in enumerate(plans):
        plan = plan_of(*chosen, id=f"p{number}", incident_id=f"i{number}")
        context = GuardContext(state, incident(), NOW_S, tuple(records), attended=True)
        if check(plan, context, wide):
            continue
        done: list[Outcome] = []
        for action in plan.actions:
            before = nodes_out(replace(context, state=state), wide)
            if check_action(action, plan, replace(context, state=state), wide):
                break
            state = CATALOG[action.kind].project(action, state)
            done.append(_succeeded(action))
            after = nodes_out(replace(context, state=state), wide)
            # A node that others hold already does not go out by our hand.
            assert after <= before or len(after) <= nodes_out_limit(state, wide)
        records.append(record_of(plan, PlanState.DONE, *done))


def _succeeded(action: Action) -> Outcome:
    return Outcome(action, OutcomeStatus.SUCCEEDED, NOW_S, NOW_S, "done")
