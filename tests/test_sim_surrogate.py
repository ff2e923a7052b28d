"""Incidents that are drawn: late, sometimes wrong, never sure, and the same for every policy."""

from dataclasses import replace

import numpy as np

from core.target import Target
from core.types import Action
from sim.catalogue import CAUSES, CLASSES
from sim.engine import surrogate
from sim.engine.tables import Table
from sim.engine.words import Back, Phase
from sim.scenario import COOLING, FILLING, LEAK, XID_79, FaultSpec, JobSpec, Scenario, Site
from sim.world import World
from tests.deciding import lane_with
from tests.deciding import on as lasting

HOUR_S = 3600.0
SCRIPT = Scenario(
    name="drawn",
    nodes=6,
    racks=2,
    spares=1,
    jobs=(JobSpec("train", nodes=5),),
    history_s=0.0,
    telemetry="surrogate",
)


def world(*faults: FaultSpec, seed: int = 1, site: Site = SCRIPT.site) -> World:
    return World.build(replace(SCRIPT, faults=faults, site=site), seed=seed)


def on(node: int, fault: str = XID_79, onset_s: float = 60.0) -> FaultSpec:
    return FaultSpec(fault, Target(node=f"node-0{node}"), onset_s=onset_s)


def due(it: World, hours: float = 6.0) -> Table:
    """Let time pass to the next decision and return what is known of it."""
    assert it.advance(it.now_s + hours * HOUR_S)
    number = int(it.inner.core[0]["decision"])
    found: Table = it.inner.troubles[number]
    return found


def test_a_fault_is_noticed_within_the_time_of_its_class() -> None:
    for name in (XID_79, COOLING, LEAK, FILLING):
        for seed in range(4):
            it = world(on(2, name), seed=seed)
            said = due(it)
            low_s, high_s = CLASSES[name].parameters["notice_s"].value
            delay_s = it.now_s - it.truth[0].onset_s
            assert low_s <= delay_s <= high_s + 0.001
            assert CAUSES[said["cause"]] == CLASSES[name].cause


def told(share: float, seeds: int) -> list[tuple[float, bool]]:
    """Return how sure each of many diagnoses of a fault on node 1 is, and whether it is right."""
    lane, found = lane_with(lasting(1, XID_79), blame=share), []
    for seed in range(seeds):
        assert lane.reset(seed, duration_s=48 * HOUR_S)
        said, it = lane.tables.troubles[0], lane.tables
        cause = it.classes[it.faults[0]["class"]]["cause"]
        is_right = bool(said["node"] == 1 and said["cause"] == cause)
        found.append((float(said["probability"]), is_right))
        assert float(said["probability"] + said["other_probability"] + said["no_fault"]) <= 1
    return found


def test_a_diagnosis_is_as_often_right_as_it_is_sure_and_as_the_site_says() -> None:
    rows = sorted(told(0.7, 400))
    sure = np.array([row[0] for row in rows])
    right = np.array([row[1] for row in rows])

    assert abs(right.mean() - 0.7) < 0.07
    for part in np.array_split(np.arange(len(rows)), 4):
        assert abs(right[part].mean() - sure[part].mean()) < 0.13  # 2.8 standard errors of 100


def test_no_number_of_a_diagnosis_gives_away_whether_it_is_right() -> None:
    rows = told(0.7, 200)
    right = [sure for sure, is_right in rows if is_right]
    wrong = [sure for sure, is_right in rows if not is_right]

    assert min(right) < np.quantile(wrong, 0.5) < max(wrong)
    assert max(wrong) > np.quantile(right, 0.5)


def test_what_is_said_of_a_fault_does_not_depend_on_what_was_done_before() -> None:
    told = []
    for act in (False, True):
        it = world(on(1, COOLING), on(3, XID_79, onset_s=2 * HOUR_S), seed=5)
        due(it)
        if act:
            it.perform(Action("k", "restart_job", Target(job="train"), (), 900.0, ""))
        surrogate.rest(it.inner, 0, 5 * HOUR_S)
        said = due(it)
        told.append((it.now_s, said["node"].item(), said["probability"].item()))

    assert told[0] == told[1]


def test_nothing_is_asked_while_a_job_starts() -> None:
    it = world(on(2, COOLING))
    due(it)
    it.perform(Action("k", "restart_job", Target(job="train"), (), 900.0, ""))
    surrogate.rest(it.inner, 0, surrogate.LOOK_S)
    due(it)

    assert it.inner.jobs[0]["phase"] == Phase.RUNNING


def test_a_trouble_is_over_when_its_job_runs_without_what_broke() -> None:
    it = world(on(2), site=Site(blame=1.0))
    due(it)
    it.cordon("node-02", by="gpumedic", reason="test")
    it.perform(Action("k", "swap_node", Target(node="node-02"), (), 1200.0, ""))
    surrogate.rest(it.inner, 0, surrogate.LOOK_S)

    assert not it.advance(it.now_s + 6 * HOUR_S)
    assert not it.inner.troubles[0]["open"]


def test_the_second_cause_is_blamed_when_the_first_is_no_longer_there() -> None:
    seed, it, said = 0, world(on(2), site=Site(blame=0.0)), None
    while said is None or said["node"] == 2 or said["other_node"] != 2:
        seed += 1
        it = world(on(2), seed=seed, site=Site(blame=0.0))
        said = due(it)
    wrong = f"node-0{said['node']}"
    it.cordon(wrong, by="gpumedic", reason="test")
    it.perform(Action("k", "swap_node", Target(node=wrong), (), 1200.0, ""))
    surrogate.rest(it.inner, 0, surrogate.LOOK_S)

    assert due(it)["node"] == 2


def test_a_false_alarm_is_told_as_a_fault_is_but_mostly_with_less_confidence() -> None:
    alarms = []
    for seed in range(40):
        said = due(world(site=Site(false_alarms=24.0), seed=seed), hours=24.0)
        assert said["fault"] == -1
        assert said["other_probability"] > 0
        alarms.append(float(said["probability"]))
    faults = [sure for sure, _ in told(0.9, 40)]

    assert np.mean(alarms) < np.mean(faults) - 0.1
    assert max(alarms) > min(faults)


def test_what_was_noticed_in_the_history_is_asked_at_the_start() -> None:
    script = replace(SCRIPT, history_s=HOUR_S, faults=(on(2, COOLING, onset_s=-3000.0),))
    it = World.build(script, seed=1)
    assert it.now_s == script.start_s

    due(it)
    assert it.now_s == script.start_s + surrogate.LOOK_S


def test_a_node_that_reboots_comes_back_into_service() -> None:
    it = world()
    it.cordon("node-05", by="gpumedic", reason="test")
    it.perform(Action("k", "reboot_node", Target(node="node-05"), (), 1500.0, ""))
    it.inner.nodes[5]["back"] = Back.AS_UP
    it.advance(it.now_s + HOUR_S)

    assert it.state().nodes[5].condition == "ready"
