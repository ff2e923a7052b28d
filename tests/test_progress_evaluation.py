"""What the evaluation of progress makes and counts: slow ranks, other rules, hangs."""

import numpy as np
import pytest

from agent.evaluations import late_services, peer_rules, slow_ranks
from agent.evaluations.job_worlds import hangs
from agent.evaluations.slow_ranks import COLLECTIVE, HISTORY, OWN, Case
from core.types import Floats, Window
from sim.telemetry import readings
from tests.job_readings import of_ranks

LENGTH = HISTORY + slow_ranks.STRETCH


def healthy() -> dict[str, Window]:
    own = of_ranks(OWN, np.full((32, LENGTH), 2.0), job="llm-8b")
    return {OWN: own, COLLECTIVE: of_ranks(COLLECTIVE, np.full((32, LENGTH), 0.3), job="llm-8b")}


@pytest.mark.parametrize(("rule", "least"), [("megatron", 1.11), ("nvrx", 1.34), ("dlrover", 2.01)])
def test_another_rule_finds_what_its_source_says(rule: str, least: float) -> None:
    def said(slowdown: float) -> list[int]:
        value: Floats = np.array([1.0] * 31 + [slowdown])
        return np.flatnonzero(peer_rules.RULES[rule](value)).tolist()

    assert said(least) == [31]
    assert said(0.97 * least) == []


def test_a_slow_rank_is_as_slow_as_it_says_and_the_others_wait_for_it() -> None:
    windows, (slow,) = slow_ranks.made(Case(3, "llm-8b", "simulator", magnitude=0.2), healthy())

    own, waits = windows[OWN].value, windows[COLLECTIVE].value

    assert own[slow, HISTORY - 1] == 2.0
    assert own[slow, HISTORY:].tolist() == [2.4] * slow_ranks.STRETCH
    assert waits[slow, -1] == 0.3
    assert np.delete(waits, slow, axis=0)[:, -1] == pytest.approx(0.7)


def test_a_slow_node_is_all_of_its_ranks() -> None:
    windows, slow = slow_ranks.made(
        Case(3, "llm-8b", "simulator", magnitude=0.2, whole_node=True), healthy()
    )

    assert len({windows[OWN].targets[row].node for row in slow}) == 1
    assert len(slow) == 8


def test_cases_of_every_kind_are_made() -> None:
    every = list(slow_ranks.cases(0))

    assert {(c.magnitude, c.manner, c.noise) for c in every if c.magnitude} == {
        (size, manner, noise)
        for size in slow_ranks.MAGNITUDES
        for manner in slow_ranks.MANNERS
        for noise in slow_ranks.NOISES
    }
    assert any(case.role for case in every)
    assert any(case.lengths for case in every)


def test_every_job_of_a_world_hangs_once() -> None:
    world, made = hangs(seed=5)
    (steps,) = readings(world, ["job_steps_total"], world.scenario.start_s + np.arange(0, 1000.0))
    count = dict(zip([target.job for target in steps.targets], steps.value, strict=True))

    assert {hang.job for hang in made} == {job.id for job in world.scenario.jobs}
    for hang in made:
        hung = steps.time_s > hang.onset_s + 1
        assert len(np.unique(count[hang.job][hung & np.isfinite(count[hang.job])])) == 1
        assert len(np.unique(count[hang.job][~hung])) > 1


def test_late_services_are_found_and_their_noise_is_not() -> None:
    rows = list(late_services.rows(quick=True, progress=lambda *_: None))

    value = {row.metric: row.value for row in rows}
    assert value['late_service_recall{scenario="inference-surge"}'] == 1
    assert value['late_service_false_per_day{set="noise"}'] == 0
    assert all(row.ok for row in rows if row.goal)
