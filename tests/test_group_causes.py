"""One cause is one incident: a job follows its nodes, and nodes follow the place they share."""

import pytest

from core.target import Target
from core.types import Event, IncidentState, Severity
from detectors.related import Symptom
from tests.fleet import anomaly, event, topology
from tests.test_group import CLUSTER, GPU, NODE, Story, held, record

JOB = Target(job="88")
FAILED = event(JOB, "job_failed", "cuda_error")
SLOW = anomaly(JOB, "job_step_time_s")
HOT = anomaly(NODE[2], "node_inlet_temperature_celsius")


def rank(node: int, metric: str = "rank_step_time_s", job: str = "88") -> Symptom:
    at = Target(node=f"node-{node}", gpu=f"GPU-{node}-0", job=job, rank=str(4 * node))
    return anomaly(at, metric)


def sizes(story: Story) -> list[int]:
    return sorted(len(record(incident)) for incident in story.incidents)


def test_what_a_job_shows_does_not_merge_what_is_wrong_on_two_of_its_nodes() -> None:
    story = Story()

    story.look(event(GPU[0]), HOT, FAILED, SLOW)

    assert sizes(story) == [1, 3]
    assert {"node-2"} in held(story.incidents)


def test_a_jobs_symptoms_on_its_other_nodes_belong_to_the_broken_one() -> None:
    idle = anomaly(NODE[1], "node_cpu_used_ratio")

    story = Story()
    story.look(event(GPU[0]), idle, rank(2, "rank_collective_time_s"), rank(1), FAILED)

    assert sizes(story) == [5]


def test_a_slow_rank_is_no_consequence_of_mild_trouble_elsewhere() -> None:
    assert len(Story().look(HOT, rank(0))) == 2


@pytest.mark.parametrize("first", [FAILED, SLOW, rank(0)])
def test_a_fault_found_after_what_its_job_showed_joins_it(first: Symptom) -> None:
    story = Story()
    story.look(first)
    story.look(event(GPU[0], "silent", ""), after_s=120)

    assert sizes(story) == [2]


def test_only_the_first_of_two_faults_explains_a_job() -> None:
    story = Story()
    story.look(FAILED)
    story.look(event(GPU[0]))
    story.look(event(GPU[2], code="48"))

    assert sizes(story) == [1, 2]


def test_after_a_swap_what_the_job_shows_stays_with_its_incident() -> None:
    story = Story()
    story.look(event(GPU[0]))
    story.on = topology(12, jobs={"88": [1, 2, 9], "99": [5]})
    story.look(SLOW, rank(9, "rank_collective_time_s"), after_s=200)

    assert sizes(story) == [3]


def test_clocks_that_idle_while_a_job_starts_again_are_no_fault() -> None:
    story = Story()
    story.look(event(GPU[0]))
    story.on = topology(12, jobs={"88": [1, 2, 9], "99": [5]})
    story.look(anomaly(GPU[9], "gpu_sm_clock_hz"), after_s=100)

    assert sizes(story) == [2]
    assert len(Story().look(anomaly(GPU[1], "gpu_sm_clock_hz"), anomaly(GPU[2]))) == 2


def test_a_new_fault_on_the_spare_is_a_new_incident() -> None:
    story = Story()
    story.look(event(GPU[0]), FAILED)
    story.on = topology(12, jobs={"88": [1, 2, 9], "99": [5]})
    story.look(event(GPU[9], code="48"), after_s=200)

    assert len(story.incidents) == 2


def test_what_a_job_shows_long_after_it_left_a_node_is_its_own() -> None:
    story = Story()
    for _ in range(8):
        story.look(anomaly(NODE[0]), after_s=200)
    story.on = topology(12, jobs={"88": [1, 2, 9], "99": [5]})
    story.look(anomaly(NODE[0]), SLOW, after_s=200)

    assert len(story.incidents) == 2


def test_a_jobs_unexplained_trouble_that_returns_opens_its_incident_again() -> None:
    story = Story()
    story.look(SLOW)
    story.look(after_s=400)
    (incident,) = story.look(FAILED, after_s=300)

    assert (incident.state, incident.reopened) == (IncidentState.OPEN, 1)


def test_many_jobs_that_fail_alike_at_once_have_one_cause() -> None:
    on = topology(12, jobs={"a": [0, 1], "b": [2, 3], "c": [8, 9]})
    fail = [event(Target(job=job), "job_failed", "cuda_error") for job in "abc"]

    assert len(Story(on=on).look(*fail)) == 1
    assert len(Story(on=on).look(*fail[:2])) == 2
    other = event(Target(job="b"), "job_failed", "oom")
    assert len(Story(on=on).look(fail[0], other, fail[2])) == 3


def test_a_switch_that_is_down_takes_the_links_and_silence_of_its_nodes() -> None:
    down = event(Target(switch="leaf-1"), "switch_down", "")
    lost = [event(NODE[4], "link_down", ""), event(NODE[5], "silent", "")]

    story = Story()
    story.look(down, *lost, anomaly(NODE[6]))

    assert sizes(story) == [1, 3]


def test_power_that_is_lost_takes_the_silence_of_nodes() -> None:
    lost = event(Target(), "power_lost", "")
    gone = [event(NODE[n], "silent", "") for n in (4, 5)]

    assert len(Story().look(lost, *gone)) == 1
    assert len(Story().look(*gone)) == 2


def test_a_place_is_one_incident_though_its_nodes_fall_one_after_another() -> None:
    story = Story()
    story.look(event(NODE[4], "silent", ""))
    story.look(event(NODE[5], "silent", ""))
    before = story.incidents
    story.look(event(NODE[6], "silent", ""))

    first, second = story.incidents
    assert len(before) == 2
    assert held([first]) == [{"node-4", "node-5", "node-6"}]
    assert first.title.startswith("Switch leaf-1: ")
    assert (second.state, second.title[:23]) == (
        IncidentState.RESOLVED,
        f"Part of incident {first.id}"[:23],
    )


def test_an_incident_with_trouble_of_another_kind_is_not_taken_over() -> None:
    story = Story()
    story.look(event(NODE[4], "silent", ""))
    story.look(event(NODE[5], "silent", ""), event(GPU[5]))
    story.look(event(NODE[6], "silent", ""))

    assert [i.state for i in story.incidents] == [IncidentState.OPEN] * 2


def test_slow_storage_is_one_incident_with_all_that_wait_for_it() -> None:
    lake = anomaly(Target(volume="/lustre"), "volume_read_latency_s")
    waits = [rank(n, "rank_data_wait_s") for n in (0, 1, 2)]
    waits.append(rank(5, "rank_data_wait_s", "99"))

    assert len(Story().look(lake, *waits)) == 1
    assert len(Story().look(*waits)) == 1
    assert len(Story().look(*waits[:2], waits[3])) == 1
    assert len(Story().look(waits[0], waits[3])) == 2


def test_jobs_that_wait_for_data_at_once_have_one_cause() -> None:
    waits = [anomaly(Target(job=job), "rank_data_wait_s") for job in ("88", "99")]

    assert len(Story().look(*waits)) == 1
    assert len(Story().look(waits[0], anomaly(Target(job="99"), "job_step_time_s"))) == 2


def test_the_same_on_most_nodes_of_a_job_is_the_jobs() -> None:
    wide = topology(12, jobs={"88": [0, 3, 4, 8]}, a_switch=1)
    full = [anomaly(GPU[n], "gpu_memory_used_ratio") for n in (0, 3)]
    full.append(anomaly(Target(node="node-8", gpu="GPU-8-0"), "gpu_memory_used_ratio"))

    assert len(Story(on=wide).look(*full)) == 1
    assert len(Story(on=topology(12, a_switch=1)).look(*full)) == 3


def test_information_opens_nothing_and_joins_what_is_there() -> None:
    odd = anomaly(NODE[1], "node_swap_used_ratio", severity=Severity.INFO)
    story = Story()
    assert story.look(odd) == ()

    (incident,) = story.look(odd, event(GPU[1]))

    assert len(record(incident)) == 2


def test_information_keeps_no_incident_open_and_opens_none_again() -> None:
    odd = anomaly(NODE[1], "node_swap_used_ratio", severity=Severity.INFO)
    story = Story()
    story.look(odd, event(GPU[1]))
    for _ in range(4):
        (incident,) = story.look(odd, after_s=100)

    assert (incident.state, incident.reopened) == (IncidentState.RESOLVED, 0)


def test_what_is_worse_than_information_once_opens_an_incident() -> None:
    told: list[Event] = [
        event(GPU[1], severity=Severity.WARNING),
        event(GPU[1], severity=Severity.INFO),
    ]
    assert len(Story(on=CLUSTER).look(*told)) == 1
