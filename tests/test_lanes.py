"""Short lives of one cluster: functions of scenario, seed and choices; copied, priced, seen."""

from dataclasses import replace

import numpy as np
import pytest

from core.choice import Choice
from core.errors import InputError
from core.site import SiteFigures
from core.situation import Fact
from core.target import Target
from core.types import Floats
from sim.deciding import Account
from sim.lanes import Lane
from sim.library import scenario
from sim.scenario import XID_79, FaultSpec, JobSpec, Scenario, Site
from sim.terms import Shield, Terms, even_remedies

DAY_S = 86400.0
SCRIPT = Scenario(
    name="lives",
    nodes=10,
    racks=2,
    spares=2,
    jobs=(
        JobSpec("large", nodes=5, priority=10, kind="elastic", least_nodes=2),
        JobSpec("small", nodes=3, kind="elastic", least_nodes=1),
    ),
    history_s=0.0,
    telemetry="surrogate",
    site=Site(blame=0.8, false_alarms=1.0),
    profile="rsc1",
    rate_scale=400.0,
)
TERMS = Terms(even_remedies())


def lane_of(script: Scenario = SCRIPT, terms: Terms = TERMS) -> Lane:
    return Lane(script, terms)


def lived(lane: Lane, seed: int, *, luck: int = 0, days: float = 1.0) -> list[tuple[float, Floats]]:
    """Live a life by choices of chance; return when each was due and what was known."""
    random, known = np.random.default_rng(luck), []
    alive = lane.reset(seed, duration_s=days * DAY_S)
    while alive:
        known.append((float(lane.tables.core[0]["now_s"]), lane.facts.copy()))
        choices = np.flatnonzero(lane.open)
        alive = lane.step(int(choices[random.integers(len(choices))]))
    return known


def same(one: list[tuple[float, Floats]], other: list[tuple[float, Floats]]) -> bool:
    if len(one) != len(other):
        return False
    return all(a == b and np.array_equal(x, y) for (a, x), (b, y) in zip(one, other, strict=True))


def test_a_life_is_a_function_of_its_seed_and_the_choices() -> None:
    lane = lane_of()
    first, account = lived(lane, 1), lane.account()
    lived(lane, 2)

    again = lived(lane, 1)
    assert len(first) > 20
    assert same(first, again)
    assert lane.account() == account
    assert not same(first, lived(lane, 1, luck=5))


def test_lives_side_by_side_do_not_touch_each_other() -> None:
    alone = lived(lane_of(), 3)
    one, other = lane_of(), lane_of()
    other.reset(4, duration_s=DAY_S)
    random, known = np.random.default_rng(0), []
    alive = one.reset(3, duration_s=DAY_S)
    while alive:
        known.append((float(one.tables.core[0]["now_s"]), one.facts.copy()))
        choices = np.flatnonzero(one.open)
        alive = one.step(int(choices[random.integers(len(choices))]))
        other.step(Choice.WAIT)

    assert same(alone, known)


def test_faults_come_whatever_is_chosen() -> None:
    lane, onsets = lane_of(), []
    for luck in (0, 1):
        lived(lane, 7, luck=luck)
        count = int(lane.tables.core[0]["faults_n"])
        rows = lane.tables.faults[:count]
        own = rows[(rows["index"] < 2**29) & (rows["parent"] < 0)]
        onsets.append({(int(r["class"]), int(r["entity"]), float(r["onset_s"])) for r in own})

    assert onsets[0] == onsets[1]


def test_what_was_lost_can_be_asked_without_changing_what_comes() -> None:
    lanes = [lane_of() for _ in range(2)]
    for lane in lanes:
        lane.reset(3, duration_s=DAY_S)
    for _ in range(4):
        assert lanes[0].priced_gpu_s >= lanes[0].lost_gpu_s >= 0
        assert isinstance(lanes[0].account(), Account)
        for lane in lanes:
            lane.step(Choice.WAIT)

    assert lanes[0].lost_gpu_s == lanes[1].lost_gpu_s


def test_what_is_priced_is_what_was_lost_and_the_pages() -> None:
    terms = Terms(even_remedies(), site=SiteFigures(page_gpu_s=1000.0))
    lane = lane_of(terms=terms)
    lived(lane, 1)
    account = lane.account()

    assert account.pages > 0
    assert account.priced_gpu_s == pytest.approx(account.lost_gpu_s + 1000.0 * account.pages)
    assert sum(account.losses_gpu_s.values()) == pytest.approx(account.lost_gpu_s)
    assert lane.lost_gpu_s == pytest.approx(account.lost_gpu_s)


def test_a_fork_goes_its_own_way() -> None:
    lane = lane_of()
    lane.reset(1, duration_s=DAY_S)
    twin, other = lane.fork(), lane.fork()
    twin.step(Choice.ESCALATE)
    for _ in range(5):
        twin.step(Choice.WAIT)
    lane.step(Choice.WAIT)
    other.step(Choice.WAIT)
    assert other.priced_gpu_s == lane.priced_gpu_s != twin.priced_gpu_s

    twin.take_over(lane)
    assert np.array_equal(twin.facts, lane.facts)
    for _ in range(3):
        lane.step(Choice.WAIT)
        twin.step(Choice.WAIT)
    assert twin.priced_gpu_s == lane.priced_gpu_s
    assert np.array_equal(twin.facts, lane.facts)


def test_a_moment_shows_what_the_facts_say() -> None:
    lane = lane_of()
    lane.reset(2, duration_s=DAY_S)
    for _ in range(30):
        moment, facts = lane.moment(), lane.facts.copy()
        state, diagnosis = moment.state, moment.diagnosis
        total = sum(cause.probability for cause in diagnosis.causes)
        assert total + diagnosis.unknown + diagnosis.no_fault == pytest.approx(1.0)
        assert facts[: Fact.UNKNOWN].sum() == pytest.approx(total)
        assert facts[Fact.NO_FAULT] == pytest.approx(diagnosis.no_fault)
        ready = [node for node in state.nodes if node.condition == "ready"]
        assert facts[Fact.SPARES] == sum(node.spare for node in ready)
        assert facts[Fact.NODES_OUT] == len(state.out_by("gpumedic"))
        assert facts[Fact.AGE_S] == moment.now_s - moment.incident.opened_s
        job = next(iter(state.jobs_touched(moment.incident.targets[0])), None)
        if job is not None and facts[Fact.JOB_NODES]:
            assert facts[Fact.JOB_NODES] == len(job.nodes)
            assert facts[Fact.RESTARTS] == job.restarts
        choices = np.flatnonzero(lane.open)
        if not lane.step(int(choices[len(choices) // 2])):
            break


def test_a_library_scenario_lives_in_a_lane_with_faults_of_each_seed() -> None:
    script = replace(scenario("lemon-nodes"), telemetry="surrogate", rate_scale=20.0)
    lane = Lane(script, TERMS)

    asked = []
    for seed in (1, 2, 1):
        decided = lane.reset(seed, duration_s=DAY_S)
        asked.append((decided, float(lane.tables.core[0]["now_s"])))
    assert asked[0] == asked[2] != asked[1]


def test_a_lane_needs_incidents_that_are_drawn() -> None:
    with pytest.raises(InputError, match="set its telemetry to surrogate"):
        Lane(scenario("quiet"), TERMS)


def test_terms_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        Terms(even_remedies()[1:])
    with pytest.raises(InputError, match="100 actions an hour"):
        Shield(max_actions_per_hour=100)


def test_faults_that_a_lane_cannot_place_are_refused() -> None:
    spec = FaultSpec(XID_79, Target(node="node-01"), onset_s=60.0)
    lane = Lane(SCRIPT, TERMS, draw=lambda seed: [spec] * 90, classes=(XID_79,))
    with pytest.raises(InputError, match="at most 64"):
        lane.reset(1, duration_s=DAY_S)
