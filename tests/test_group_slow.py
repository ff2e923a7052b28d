"""Slow ranks and nodes of a job are one incident, unless what makes them slow is known apart."""

from core.target import Target
from core.types import Severity
from detectors.related import Symptom
from tests.fleet import anomaly, event, topology
from tests.test_group import CLUSTER, GPU, NODE, Story, held, record

SLOW = "rank_step_time_s"
# Job 88 has two racks of four nodes behind two switches; the last three nodes have a job each.
WIDE = topology(12, jobs={"88": range(8), "7": [8], "8": [9], "9": [10]}, a_switch=4)
RACK = topology(12, jobs={"7": [8], "8": [9], "9": [10]}, a_switch=4)


def slow(node: int, *, at_s: float) -> Symptom:
    return anomaly(NODE[node], SLOW, at_s=at_s)


def rank(node: int, *, at_s: float) -> Symptom:
    at = Target(node=f"node-{node}", gpu=f"GPU-{node}-0", job="88", rank=str(4 * node))
    return anomaly(at, SLOW, at_s=at_s)


def one_after_another(nodes: int, *, every_s: float) -> Story:
    """All that were slow stay slow."""
    story, found = Story(on=WIDE), list[Symptom]()
    for node in range(nodes):
        found.append(slow(node, at_s=story.now_s + every_s))
        for _ in range(int(every_s / 100)):
            story.look(*found, after_s=100.0)
    return story


def test_nodes_of_a_job_that_turn_slow_one_after_another_are_one_incident() -> None:
    (incident,) = one_after_another(5, every_s=300.0).incidents

    assert held([incident]) == [{f"node-{n}" for n in range(5)}]


def test_nodes_of_a_job_that_turn_slow_hours_apart_are_two() -> None:
    assert len(one_after_another(2, every_s=3600.0).incidents) == 2


def test_a_slow_node_is_one_incident_whether_its_ranks_are_told_of_or_all_at_once() -> None:
    for on in (WIDE, None):
        story = Story(on=on)
        at_s = story.now_s
        story.look(rank(1, at_s=at_s), slow(1, at_s=at_s))
        story.look(slow(1, at_s=at_s + 1200), rank(1, at_s=at_s + 1200), after_s=300.0)

        assert held(story.incidents) == [{"node-1", "job 88/rank 4"}]


def test_slow_nodes_with_trouble_of_their_own_stay_apart() -> None:
    story = Story(on=CLUSTER)
    at_s = story.now_s
    hot = anomaly(NODE[0], "node_inlet_temperature_celsius")
    leak = anomaly(NODE[1])
    story.look(hot, slow(0, at_s=at_s), rank(0, at_s=at_s), leak, slow(1, at_s=at_s))

    assert sorted(len(record(incident)) for incident in story.incidents) == [2, 3]

    story.look(event(GPU[2]), slow(2, at_s=at_s))
    assert len(story.incidents) == 3


def test_a_slow_node_is_not_explained_by_mild_trouble_on_another() -> None:
    story = Story(on=CLUSTER)
    story.look(slow(0, at_s=story.now_s))
    story.look(anomaly(NODE[1]))
    assert len(story.incidents) == 2

    story = Story(on=CLUSTER)
    story.look(slow(0, at_s=story.now_s))
    story.look(event(GPU[1]))
    assert len(story.incidents) == 1


def test_what_explains_two_slow_nodes_alike_is_one_cause() -> None:
    held_back, hot = "gpu_throttle_ratio", "gpu_temperature_celsius"
    for second, incidents in ((hot, 1), ("gpu_memory_used_ratio", 2)):
        story = Story(on=CLUSTER)
        found = [slow(n, at_s=story.now_s) for n in (0, 1)]
        story.look(*found)
        story.look(*found, anomaly(GPU[0], held_back))
        story.look(*found, anomaly(GPU[1], second))

        assert len(story.incidents) == incidents


def test_slow_nodes_of_several_jobs_in_one_place_are_the_places() -> None:
    story, found = Story(on=RACK), list[Symptom]()
    for node in (8, 9, 10):
        found.append(slow(node, at_s=story.now_s))
        story.look(*found, after_s=60.0)

    first, *others = story.incidents
    assert held([first]) == [{"node-8", "node-9", "node-10"}]
    assert all(incident.title.startswith("Part of") for incident in others)


def test_a_slow_node_that_its_job_has_left_still_stands_for_the_job() -> None:
    story = Story(on=CLUSTER)
    first = slow(0, at_s=story.now_s)
    story.look(first)
    story.on = topology(12, jobs={"88": [1, 2, 9], "99": [5]})
    story.look(slow(1, at_s=story.now_s), after_s=120.0)

    assert len(story.incidents) == 1


def test_information_joins_an_incident_that_opens_again() -> None:
    story = Story(on=CLUSTER)
    odd = anomaly(NODE[0], "node_swap_used_ratio", severity=Severity.INFO)
    job = Target(job="88")
    story.look(odd, anomaly(job))
    story.look(after_s=400.0)
    (incident,) = story.look(odd, anomaly(job, "job_step_time_s"))

    assert len(record(incident)) == 3
