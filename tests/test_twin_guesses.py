"""What a twin supposes: what fits the nodes as seen, what was tried and what has passed."""

from dataclasses import replace

import numpy as np
import pytest

from core.choice import Choice
from core.cluster import JobPhase, NodeCondition
from core.situation import Fact
from core.target import Target
from core.types import Cause
from remediation.twin.guesses import Scene, guesses_of
from remediation.twin.incident import open_incident, to_come, ways_of
from remediation.twin.kinds import NAMES, kinds
from remediation.twin.mirror import Mirror
from remediation.twin.oracle import RUNBOOK
from remediation.twin.rolling import OVER, copy, live_on
from remediation.twin.supposing import suppose
from sim.engine.room import with_room
from sim.engine.tables import Table, Tables
from sim.engine.words import NONE, Effect, Hold
from tests.twins import TERMS, Told, struck, told

HOUR_S = 3600.0
COUNT = 200


def scene_of(moment: Told) -> Scene:
    return open_incident(Mirror().of(moment), moment)


def supposed(scene: Scene) -> Table:
    return guesses_of(scene, COUNT, seed=3)


def with_fact(moment: Told, fact: Fact, value: float) -> Told:
    moment.situation.facts[fact] = value
    return moment


def with_node_down(moment: Told, name: str, *, since_s: float) -> Told:
    """Return the moment with a node that does not answer."""
    nodes = tuple(
        replace(node, condition=NodeCondition.DOWN, since_s=since_s) if node.name == name else node
        for node in moment.state.nodes
    )
    return replace(moment, state=replace(moment.state, nodes=nodes))


def test_where_a_node_of_the_job_is_down_that_is_supposed_whatever_is_said() -> None:
    moment = told(struck(spares=0), "data_loading_slow", stays=0.5)
    second = Cause(Target(node="node-05"), "node_taken_down", 0.2, persistent=0.9)
    first = replace(moment.diagnosis.causes[0], probability=0.7)
    said = replace(moment.diagnosis, causes=(first, second))
    down = with_node_down(replace(moment, diagnosis=said), "node-05", since_s=moment.now_s - 60.0)

    scene = scene_of(down)
    guesses = supposed(scene)

    fits = kinds().table["effect"][guesses["kind"]] == Effect.NODE_DOWN
    there = guesses["home"] == down.state.topology.node_index["node-05"]
    assert (fits & there).mean() > 0.9


def test_what_would_have_passed_by_now_is_not_supposed_any_more() -> None:
    moment = told(struck(spares=0), "software_error", stays=0.5)
    soon = supposed(scene_of(with_fact(moment, Fact.AGE_S, 60.0)))
    late = supposed(scene_of(with_fact(moment, Fact.AGE_S, 48 * HOUR_S)))

    assert (soon["kind"] == NONE).mean() < 0.1
    assert (late["kind"] == NONE).mean() > 0.8  # the job stands, and nothing is broken any more


def test_a_reboot_in_vain_speaks_against_what_a_reboot_ends() -> None:
    moment = told(struck(spares=0), "gpu_ecc_uncorrectable", stays=0.95)
    opened_s = moment.now_s - 1800.0
    with_fact(moment, Fact.AGE_S, 1800.0)
    before = supposed(scene_of(moment))
    nodes = tuple(
        replace(node, since_s=opened_s + 900.0) if node.name == "node-03" else node
        for node in moment.state.nodes
    )
    after = supposed(scene_of(replace(moment, state=replace(moment.state, nodes=nodes))))

    assert before["reboot_mends"].mean() > 0.6
    assert after["reboot_mends"].mean() < 0.5 * before["reboot_mends"].mean()


def test_nothing_is_supposed_that_a_cause_never_is_in_the_simulator() -> None:
    guesses = supposed(scene_of(told(struck(spares=0), "gpu_fallen_off_bus", stays=0.9)))

    named = [NAMES[kind % len(NAMES)] for kind in guesses["kind"].tolist() if kind != NONE]
    assert named.count("gpu_fallen_off_bus") > 0.9 * COUNT


def back_after_s(scene: Scene, node: int, guesses: Table) -> list[float]:
    """Return after how long a node that is out or down is back, guess by guess, at most 48 h."""
    come, shares = to_come(scene, hours=48.0)
    come["faults_a_s"] = 1e-12
    scene.tables.site["false_alarms"] = 0.0
    w = with_room(Tables(*(part.copy() for part in scene.tables)))
    ways = (RUNBOOK.numbers, *ways_of(TERMS, scene), np.zeros(47), np.zeros(12, dtype=bool))
    now_s, found = float(scene.tables.core[0]["now_s"]), []
    for at in range(len(guesses)):
        copy(scene.tables, w)
        suppose(w, guesses, at, come, shares)
        passed_s = 0.0
        while passed_s < 48 * HOUR_S:
            row = w.nodes[node]
            if row["up"] and row["hold"] == Hold.NOBODY:
                break
            passed_s += 600.0
            choice = Choice.WAIT.value if w.core[0]["stop"] else NONE
            assert live_on(w, choice, now_s + passed_s, int(RUNBOOK.inner), ways) == OVER
        found.append(passed_s)
    return found


def test_a_node_that_has_been_out_for_long_is_supposed_to_stay_out_longer() -> None:
    moment = told(struck(spares=1), "gpu_hang", stays=0.5)
    with_fact(moment, Fact.REPAIR_S, 8 * HOUR_S)
    spare = next(node.name for node in moment.state.nodes if node.spare)
    medians = []
    for hours in (0.1, 10.0):
        out = with_node_down(moment, spare, since_s=moment.now_s - hours * HOUR_S)
        scene = scene_of(out)
        index = out.state.topology.node_index[spare]
        medians.append(np.median(back_after_s(scene, index, supposed(scene)[:40])))

    assert medians[1] > 3 * medians[0]


def test_a_node_that_is_down_is_up_again_when_what_took_it_down_is_over() -> None:
    moment = told(struck(spares=0), "node_taken_down", stays=0.9)
    down = with_node_down(moment, "node-03", since_s=moment.now_s - 60.0)
    scene = scene_of(down)
    index = down.state.topology.node_index["node-03"]
    guesses = supposed(scene)
    guesses = guesses[(guesses["home"] == index) & (guesses["kind"] != NONE)][:8]
    guesses["lasts_s"] = 5 * HOUR_S

    assert back_after_s(scene, index, guesses) == pytest.approx([5 * HOUR_S] * 8, abs=900.0)


def test_a_job_that_has_long_been_starting_on_a_broken_node_is_lived_through_to_the_end() -> None:
    moment = told(struck(spares=0), "gpu_fallen_off_bus", stays=0.95)
    jobs = tuple(
        replace(job, phase=JobPhase.STARTING, since_s=moment.now_s - 5000.0)
        for job in moment.state.jobs
    )
    starting = replace(moment, state=replace(moment.state, jobs=jobs))
    facts = starting.situation.facts
    facts[Fact.JOB_STOPPED], facts[Fact.JOB_STARTS] = 0.0, 1.0
    scene = scene_of(starting)
    come, shares = to_come(scene, hours=12.0)
    ways = (RUNBOOK.numbers, *ways_of(TERMS, scene), np.zeros(47), np.zeros(12, dtype=bool))
    w, guesses = with_room(Tables(*(part.copy() for part in scene.tables))), supposed(scene)[:16]
    until_s = float(come["until_s"][0])

    for at in range(len(guesses)):
        copy(scene.tables, w)
        suppose(w, guesses, at, come, shares)
        choice = Choice.WAIT.value
        while (choice := live_on(w, choice, until_s, int(RUNBOOK.inner), ways)) != OVER:
            w = with_room(w)
        assert float(w.core[0]["now_s"]) == until_s
