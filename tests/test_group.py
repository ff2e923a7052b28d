"""Symptoms that belong together are one incident, once, for as long as they last."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from core.codec import from_json, to_json
from core.target import Target
from core.topology import Topology
from core.types import Anomaly, Breach, Event, Incident, IncidentState, Severity
from detectors.detector import Symptoms
from detectors.group import GroupSettings, group
from detectors.related import Symptom, key_of
from tests.fleet import NOW_S, anomaly, breach, event, topology

SETTINGS = GroupSettings()
CLUSTER = topology(12, jobs={"88": [0, 1, 2], "99": [5]})
NODE = [Target(node=f"node-{n}") for n in range(12)]
GPU = [Target(node=f"node-{n}", gpu=f"GPU-{n}-0") for n in range(12)]


def symptoms(*found: Symptom) -> Symptoms:
    return Symptoms(
        anomalies=tuple(one for one in found if isinstance(one, Anomaly)),
        events=tuple(one for one in found if isinstance(one, Event)),
        breaches=tuple(one for one in found if isinstance(one, Breach)),
    )


@dataclass
class Story:
    """Looks one after the other; ``incidents`` is what came of them so far."""

    on: Topology | None = CLUSTER
    incidents: tuple[Incident, ...] = ()
    now_s: float = NOW_S
    ids: "itertools.count[int]" = field(default_factory=itertools.count)

    def look(self, *found: Symptom, after_s: float = 15.0) -> tuple[Incident, ...]:
        self.now_s += after_s
        self.incidents = group(
            self.incidents,
            symptoms(*found),
            topology=self.on,
            now_s=self.now_s,
            settings=SETTINGS,
            new_id=lambda: f"incident-{next(self.ids)}",
        )
        return self.incidents


def record(incident: Incident) -> list[Symptom]:
    return [*incident.anomalies, *incident.events, *incident.breaches]


def held(incidents: Sequence[Incident]) -> list[set[str]]:
    return [{str(target) for target in incident.targets} for incident in incidents]


def test_trouble_on_one_node_is_one_incident() -> None:
    (incident,) = Story().look(anomaly(NODE[1]), event(GPU[1]), breach(NODE[1]))

    assert incident.state is IncidentState.OPEN
    assert incident.severity is Severity.CRITICAL
    assert incident.jobs == ("88",)
    assert (len(incident.anomalies), len(incident.events), len(incident.breaches)) == (1, 1, 1)
    assert incident.title == "Xid 79 on node-1/GPU-1-0, and 2 more symptoms"


def test_trouble_on_two_nodes_is_two_incidents() -> None:
    assert held(Story().look(anomaly(NODE[5]), anomaly(NODE[7]))) == [{"node-5"}, {"node-7"}]


def test_two_faults_in_one_job_stay_apart() -> None:
    assert len(Story().look(anomaly(NODE[0]), event(GPU[2]))) == 2


def test_a_slow_job_belongs_to_what_is_wrong_on_its_node() -> None:
    slow = anomaly(Target(job="88"), "job_step_time_s")

    (incident,) = Story().look(slow, anomaly(NODE[2], "node_pressure_memory_ratio"))

    assert held([incident]) == [{"job 88", "node-2"}]


def test_a_slow_rank_joins_an_incident_of_its_node() -> None:
    story = Story()
    story.look(event(GPU[1]))
    rank = Target(node="node-1", gpu="GPU-1-0", job="88", rank="4")

    (incident,) = story.look(anomaly(rank, "rank_step_time_s"))

    assert held([incident]) == [{"node-1/GPU-1-0", "job 88/rank 4"}]


def test_the_same_on_many_nodes_of_a_switch_is_one_incident() -> None:
    down = [event(NODE[n], "link_down", "") for n in (4, 6, 7)]

    assert len(Story().look(*down)) == 1
    assert len(Story().look(*down[:2])) == 2
    assert len(Story(on=None).look(*down)) == 3


def test_different_trouble_under_one_switch_stays_apart() -> None:
    found = (event(NODE[4]), anomaly(NODE[6]), event(NODE[7], "oom_kill", ""))

    assert len(Story().look(*found)) == 3


def test_a_shared_volume_has_an_incident_of_its_own() -> None:
    lake = Target(volume="/lustre")

    assert len(Story().look(anomaly(lake, "volume_used_ratio"), anomaly(NODE[7]))) == 2


def test_a_symptom_seen_again_is_the_same_symptom() -> None:
    story = Story()
    (opened,) = story.look(anomaly(NODE[1], at_s=NOW_S))
    (later,) = story.look(anomaly(NODE[1], at_s=NOW_S + 300), after_s=60)

    assert later.id == opened.id
    (one,) = later.anomalies
    assert (one.start_s, one.end_s) == (NOW_S - 60, NOW_S + 300)
    assert later.opened_s == opened.opened_s
    assert later.updated_s == story.now_s


def test_the_job_that_a_log_names_stays_named_when_a_gauge_tells_the_same() -> None:
    log = replace(event(GPU[1]), text="off the bus; it hits Slurm job 88 of ann")
    gauge = replace(log, text="off the bus", time_s=log.time_s + 1)
    later = replace(gauge, time_s=log.time_s + 3600)
    story = Story()

    (told,) = story.look(gauge, log)
    (again,) = story.look(later)

    assert [each.text for each in told.events] == [log.text]
    assert [each.text for each in again.events] == ["off the bus"]


def test_related_trouble_joins_within_the_window() -> None:
    story = Story()
    story.look(anomaly(NODE[1]))
    (incident,) = story.look(event(GPU[1]), after_s=120)

    assert len(incident.anomalies) + len(incident.events) == 2


def test_an_incident_without_symptoms_is_resolved() -> None:
    story = Story()
    story.look(anomaly(NODE[1]))

    (before,) = story.look(after_s=290)
    (after,) = story.look(after_s=15)

    assert before.state is IncidentState.OPEN
    assert (after.state, after.resolved_s) == (IncidentState.RESOLVED, story.now_s)
    assert after.anomalies


def test_a_symptom_that_flaps_keeps_its_incident_open() -> None:
    story = Story()
    for _ in range(20):
        story.look(anomaly(NODE[1]), after_s=120)
        (incident,) = story.look(after_s=120)

    assert incident.id == "incident-0"
    assert incident.state is IncidentState.OPEN
    assert incident.reopened == 0


def test_a_symptom_that_returns_soon_reopens_its_incident() -> None:
    story = Story()
    story.look(anomaly(NODE[1]))
    story.look(after_s=400)

    (incident,) = story.look(anomaly(NODE[1]), after_s=900)

    assert (incident.id, incident.state) == ("incident-0", IncidentState.OPEN)
    assert (incident.reopened, incident.resolved_s) == (1, None)


def test_what_reopens_an_incident_takes_the_rest_along() -> None:
    story = Story()
    story.look(anomaly(NODE[1]))
    story.look(after_s=400)

    (incident,) = story.look(anomaly(NODE[1]), event(GPU[1]), after_s=60)

    assert (len(incident.anomalies), len(incident.events)) == (1, 1)


def test_a_symptom_that_returns_much_later_is_a_new_incident() -> None:
    story = Story()
    story.look(anomaly(NODE[1]))
    story.look(after_s=400)

    (incident,) = story.look(anomaly(NODE[1]), after_s=3600)

    assert (incident.id, incident.reopened) == ("incident-1", 0)


def test_a_breach_is_refreshed_then_cleared() -> None:
    story = Story()
    (first,) = story.look(breach(NODE[1], in_s=3000))
    (second,) = story.look(breach(NODE[1], at_s=NOW_S + 60, in_s=1500))
    (third,) = story.look()

    assert first.title == (
        "Memory not available to programs of node-1 is expected to cross 95 % in 50 min "
        "(probability 90%)"
    )
    assert [b.expected_s for b in second.breaches] == [NOW_S + 1560]
    assert third.breaches == ()
    assert third.state is IncidentState.OPEN


def test_a_breach_that_comes_back_reopens_its_incident() -> None:
    story = Story()
    story.look(breach(NODE[1]))
    story.look(after_s=15)
    story.look(after_s=400)

    (incident,) = story.look(breach(NODE[1]), after_s=60)

    assert (incident.id, incident.reopened) == ("incident-0", 1)


def test_severity_is_the_worst_there_was() -> None:
    story = Story()
    story.look(event(GPU[1], severity=Severity.CRITICAL))
    (incident,) = story.look(anomaly(NODE[1], severity=Severity.WARNING))

    assert incident.severity is Severity.CRITICAL


def test_a_job_that_has_moved_on_was_touched_all_the_same() -> None:
    story = Story()
    story.look(anomaly(NODE[5]))
    story.on = topology(12)
    (incident,) = story.look(anomaly(NODE[5]))

    assert incident.jobs == ("99",)


SOME_TARGETS = [
    *NODE[:8],
    *GPU[:4],
    Target(job="88"),
    Target(job="88", rank="3"),
    Target(node="node-1", gpu="GPU-1-0", job="88", rank="4"),
    Target(switch="leaf-1"),
    Target(rack="rack-0"),
    Target(volume="/lustre"),
    Target(),
]
targets = st.sampled_from(SOME_TARGETS)
severities = st.sampled_from(list(Severity))
offsets = st.sampled_from([-120.0, -15.0, 0.0])
some_symptom = st.one_of(
    st.builds(
        lambda t, m, s, o: anomaly(t, m, severity=s, at_s=NOW_S + o),
        targets,
        st.sampled_from(["node_memory_used_ratio", "gpu_temperature_celsius"]),
        severities,
        offsets,
    ),
    st.builds(
        lambda t, k, s, o: event(t, k, "", severity=s, at_s=NOW_S + o),
        targets,
        st.sampled_from(["link_down", "silent"]),
        severities,
        offsets,
    ),
    st.builds(lambda t, o: breach(t, in_s=3000 + o), targets, offsets),
)
looks = st.lists(
    st.tuples(st.lists(some_symptom, max_size=8), st.sampled_from([15.0, 200.0, 400.0, 2500.0])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(looks=looks, order=st.randoms(use_true_random=False))
def test_the_order_of_symptoms_does_not_matter(
    looks: list[tuple[list[Symptom], float]], order: Random
) -> None:
    straight, mixed = Story(), Story()
    for found, after_s in looks:
        shuffled = list(found)
        order.shuffle(shuffled)
        straight.look(*found, after_s=after_s)
        mixed.look(*shuffled, after_s=after_s)

    assert straight.incidents == mixed.incidents


@settings(max_examples=150, deadline=None)
@given(looks=looks)
def test_every_symptom_is_in_exactly_one_open_incident(
    looks: list[tuple[list[Symptom], float]],
) -> None:
    story = Story()
    for found, after_s in looks:
        incidents = story.look(*found, after_s=after_s)
        open_now = [i for i in incidents if i.state is IncidentState.OPEN]
        keys = [key_of(symptom) for incident in open_now for symptom in record(incident)]
        assert len(keys) == len(set(keys))
        loud = {key_of(symptom) for symptom in found if symptom.severity is not Severity.INFO}
        assert loud <= set(keys)
        assert len({incident.id for incident in incidents}) == len(incidents)


@settings(max_examples=150, deadline=None)
@given(looks=looks)
def test_the_same_look_twice_changes_nothing(looks: list[tuple[list[Symptom], float]]) -> None:
    story = Story()
    for found, after_s in looks:
        once = story.look(*found, after_s=after_s)
        twice = story.look(*found, after_s=0.0)
        assert once == twice


@settings(max_examples=50, deadline=None)
@given(looks=looks)
def test_an_incident_is_json_and_back_at_every_turn(
    looks: list[tuple[list[Symptom], float]],
) -> None:
    """A restart of the controller between two looks does not change what comes of them."""
    story, restarted = Story(), Story()
    for found, after_s in looks:
        story.look(*found, after_s=after_s)
        restarted.look(*found, after_s=after_s)
        restarted.incidents = tuple(
            from_json(Incident, to_json(incident)) for incident in restarted.incidents
        )

    assert story.incidents == restarted.incidents
    assert all(incident.title and incident.targets for incident in story.incidents)


def test_titles_name_the_worst_first() -> None:
    mild = replace(anomaly(NODE[1]), severity=Severity.INFO)

    (incident,) = Story().look(mild, event(GPU[1], severity=Severity.WARNING))

    assert incident.title == "Xid 79 on node-1/GPU-1-0, and 1 more symptom"
