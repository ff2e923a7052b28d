"""A twin is the cluster as it is known: laid out in the engine, it looks the same again."""

import numpy as np
import pytest

from core.cluster import ClusterState, JobPhase
from core.errors import InputError
from core.situation import Fact
from remediation.twin.incident import open_incident, ways_of
from remediation.twin.mirror import Mirror, Twin
from sim.engine import decisions
from sim.engine.progress import checkpoint_at
from sim.engine.words import NONE
from sim.observe import PHASES, conditions, nodes_of
from tests.twins import TERMS, lives


def seen_again(twin: Twin, state: ClusterState) -> list[str]:
    """Return what of the nodes and jobs is not in the twin as the state has it."""
    wrong, tables = [], twin.tables
    found = conditions(tables.nodes)
    for node in state.nodes:
        at = twin.nodes[node.name]
        is_spare = bool(tables.nodes[at]["pool"] and (tables.nodes[at]["job"] == NONE).all())
        if (found[at], is_spare) != (node.condition, node.spare):
            wrong.append(node.name)
    for job in state.jobs:
        if job.phase is JobPhase.COMPLETED:
            continue
        slot = twin.jobs[job.id]
        names = tuple(state.nodes[at].name for at in nodes_of(tables, slot))
        row = tables.jobs[slot]
        same = (names, PHASES[int(row["phase"])], int(row["restarts"]))
        if same != (job.nodes, job.phase, job.restarts):
            wrong.append(job.id)
    return wrong


def test_a_twin_looks_like_the_cluster_it_was_made_of() -> None:
    mirror, moments = Mirror(), 0
    for lane in lives(range(3)):
        moment = lane.moment()
        moments += 1
        assert seen_again(mirror.of(moment), moment.state) == []
    assert moments > 60


def test_a_twin_would_lose_the_same_work_by_a_crash() -> None:
    mirror, compared = Mirror(), 0
    for lane in lives(range(2)):
        moment = lane.moment()
        twin = mirror.of(moment)
        now_s = float(twin.tables.core[0]["now_s"])
        for job in moment.state.jobs:
            row = twin.tables.jobs[twin.jobs[job.id]]
            later = job.checkpoint_s is not None and job.checkpoint_s > job.since_s
            if job.phase is not JobPhase.RUNNING or not later or job.checkpoint_s is None:
                continue
            saved_s = checkpoint_at(row, float(row["row_s"]), now_s)[0] + float(row["save_s"])
            assert saved_s == pytest.approx(job.checkpoint_s, abs=0.01)
            compared += 1
    assert compared > 20


# What a twin cannot know or has from its own settings: it is left out of the comparison.
OWN = {
    *(Fact.OTHERS_OPEN, Fact.BREACH, Fact.PACE, Fact.FALSE_SHARE, Fact.FAULTS_A_DAY),
    *(Fact.UNSAVED_S, Fact.NODES_OUT, Fact.OUT_ROOM, Fact.PHASE_S),
}


def test_in_the_twin_the_incident_is_known_by_the_same_facts() -> None:
    mirror, compared = Mirror(), 0
    for lane in lives(range(2)):
        moment = lane.moment()
        try:
            scene = open_incident(twin := mirror.of(moment), moment)
        except InputError:
            continue  # it touches no job
        facts, opened = np.zeros(len(Fact)), np.zeros(len(moment.situation.open), dtype=bool)
        decisions.look(twin.tables, *ways_of(TERMS, scene), facts, opened)
        for fact in Fact:
            if fact not in OWN:
                expected = moment.situation.facts[fact]
                assert facts[fact] == pytest.approx(expected, rel=2e-3, abs=2e-3), fact.name
        compared += 1
    assert compared > 40


def test_only_clusters_of_equal_nodes_have_a_twin() -> None:
    lane = next(lives(range(1)))
    moment = lane.moment()
    shape = moment.state.topology
    shape.gpu_node[0] = shape.gpu_node[-1]

    with pytest.raises(InputError, match="equally many"):
        Mirror().of(moment)
