"""Incidents are counted against the causes they show, on made-up ones and a simulated cluster."""

from agent.evaluations.grouping_truth import belongs, causes_of, score
from agent.evaluations.play import Play
from core.target import Target
from core.types import Incident, IncidentState, Severity
from sim.library import scenario
from sim.truth import FaultRecord
from sim.world import World
from tests.fleet import NOW_S, topology

CLUSTER = topology(12, jobs={"88": [0, 1, 2], "99": [5]})
BROKEN = FaultRecord("gpu_hbm", Target(node="node-0", gpu="GPU-0-0"), NOW_S)
FULL = FaultRecord("volume_filling", Target(node="node-0", volume="/scratch"), NOW_S)
HOT = FaultRecord("cooling_degraded", Target(node="node-5"), NOW_S)
SLOW = FaultRecord("storage_slow", Target(), NOW_S)


def incident(*targets: Target, at_s: float = NOW_S + 60, jobs: tuple[str, ...] = ()) -> Incident:
    return Incident("a", IncidentState.OPEN, Severity.WARNING, at_s, at_s, None, "", targets, jobs)


def test_an_incident_belongs_to_the_place_that_it_shows() -> None:
    causes = causes_of([BROKEN, HOT], CLUSTER)

    assert belongs(incident(Target(node="node-5")), causes) == (1,)
    assert belongs(incident(Target(job="88")), causes) == (0,)
    assert belongs(incident(Target(node="node-7")), causes) == ()
    assert belongs(incident(Target(node="node-5"), at_s=NOW_S - 3600), causes) == ()


def test_a_volume_that_fills_is_shown_by_the_volume() -> None:
    causes = causes_of([FULL, BROKEN], CLUSTER)

    assert belongs(incident(Target(node="node-0")), causes) == (1,)
    assert belongs(incident(Target(node="node-0", volume="/scratch")), causes) == (0, 1)


def test_what_all_share_is_shown_by_its_jobs_and_volumes() -> None:
    causes = causes_of([SLOW], CLUSTER)

    assert belongs(incident(Target(volume="/lustre")), causes) == (0,)
    assert belongs(incident(Target(job="99")), causes) == (0,)


def test_what_followed_from_a_fault_counts_as_that_fault() -> None:
    follows = FaultRecord("gpu_hang", Target(node="node-1"), NOW_S + 30, parent=0)

    (cause,) = causes_of([BROKEN, follows], CLUSTER)

    assert cause.nodes == {"node-0", "node-1"}


def test_a_score_counts_too_many_and_too_few() -> None:
    causes = causes_of([BROKEN, HOT], CLUSTER)
    twice = [incident(Target(node="node-0")), incident(Target(job="88"))]
    both = incident(Target(node="node-0"), Target(node="node-5"))

    assert score(causes, twice)["incidents"] == 2
    assert score(causes, twice)["seen"] == 1
    assert score(causes, [both])["merged"] == 1
    assert score(causes, [incident(Target(node="node-9"))])["without"] == 1


def test_a_rack_without_power_is_one_incident() -> None:
    world = World.build(scenario("rack-power"), seed=0)
    play, at_first = Play(world), world.topology()

    play.run(1200.0)

    (seen,) = play.seen.values()
    assert {f"node-{n:02d}" for n in range(4, 8)} <= {target.node for target in seen.targets}
    assert belongs(seen, causes_of(world.truth, at_first)) == (0,)
