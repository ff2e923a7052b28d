"""What a real API server said is read for what it is: recorded from 1.20.2."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from lightkube import ApiError
from lightkube.core.decoders import decode_list
from lightkube.resources.core_v1 import Node, Pod

from agent.act.kubernetes.calls import NotNow
from agent.act.kubernetes.happenings import happenings
from agent.act.kubernetes.kinds import KINDS, JobKind
from agent.act.kubernetes.picture import Look, look_at, picture
from agent.act.kubernetes.records import KubeJob, KubePod, job_in, node_in, pod_in
from core.cluster import OWNER, ClusterState, JobPhase, NodeCondition
from core.errors import ActionFailed
from tests.test_kubernetes_parts import Server, calls_to, close_it, gives

GOLDEN = Path(__file__).parent / "golden" / "kubernetes" / "1.20"
GPU = "nvidia.com/gpu"
LISTS = {
    "PyTorchJob": "pytorchjobs",
    "MPIJob": "mpijobs",
    "Job": "jobs",
}
Change = Callable[[KubePod], KubePod]


def said(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes()


def jobs_of(kind: JobKind) -> list[KubeJob]:
    rows = json.loads(said(LISTS[kind.name]))["items"]
    wanted = "kubeflow.org" if kind.replicas else "batch"
    assert all(row["apiVersion"].startswith(wanted) for row in rows if "apiVersion" in row)
    return [job_in(row, kind, gpu=GPU) for row in rows]


def look(change: Change = lambda pod: pod) -> Look:
    """Return the scene as it was recorded, or with some pods other than they were."""
    nodes = [
        node_in(node, gpu=GPU, group_label="kubernetes.io/hostname")
        for node in decode_list(said("nodes"), Node)[2]
    ]
    pods = [change(pod_in(pod, gpu=GPU)) for pod in decode_list(said("pods"), Pod)[2]]
    jobs = [job for kind in (KINDS[0], KINDS[1], KINDS[3]) for job in jobs_of(kind)]
    return look_at(1.8e9, nodes, pods, jobs, spare="gpumedic/spare", had={})


def seen(at: Look) -> ClusterState:
    return picture(at, saved_at=lambda folder: None)


def test_nodes_are_read_with_who_holds_them() -> None:
    state = seen(look())

    assert [node.name for node in state.nodes] == ["n1", "n2", "n3", "n4"]
    assert all(len(state.topology.gpus_of_node(node.name)) == 8 for node in state.nodes)
    found = {(node.condition, node.owner, node.reason): node for node in state.nodes}
    ours = found[NodeCondition.CORDONED, OWNER, "xid 79"]
    theirs = found[NodeCondition.CORDONED, "ada", "closed to new pods"]
    assert theirs.name == "n3"
    assert ours.name in ("n1", "n2")
    assert [node.name for node in state.nodes if node.spare] == ["n4"]
    down = next(node for node in state.nodes if node.condition is NodeCondition.DOWN)
    assert (down.owner, down.reason) == ("", "its kubelet is not ready or does not answer")
    assert all(node.since_s > 1.79e9 for node in (ours, theirs, down))


def test_jobs_are_read_with_where_they_are_and_what_they_can_do_with() -> None:
    state = seen(look())
    jobs = {job.id: job for job in state.jobs}

    assert set(jobs) == {f"default/{name}" for name in ("train", "late", "sweep", "held")}
    train, sweep = jobs["default/train"], jobs["default/sweep"]
    assert (train.phase, set(train.nodes), train.gpus) == (JobPhase.STOPPED, {"n1", "n2"}, 16)
    assert (train.kind, train.least_nodes, train.most_nodes) == ("elastic", 1, 4)
    assert (sweep.phase, sweep.nodes, sweep.kind) == (JobPhase.RUNNING, ("n3",), "training")
    assert (sweep.least_nodes, sweep.asked_nodes) == (0, 1)
    for name in ("late", "held"):
        assert (jobs[f"default/{name}"].phase, jobs[f"default/{name}"].nodes) == (
            JobPhase.PENDING,
            (),
        )
    assert len(state.topology.rank_gpu) == 24
    assert state.topology.nodes_of_job("default/sweep") == ("n3",)


def test_what_happened_between_two_looks_is_told_once() -> None:
    before = look()
    down = next(node for node in before.nodes.values() if not node.ready)
    up = replace(before, nodes={**before.nodes, down.name: replace(down, ready=True)})

    told = [(event.kind, event.code) for event in happenings(up, before)]
    assert told == [("node_down", ""), ("job_failed", "node_down")]
    assert [event.kind for event in happenings(before, up)] == ["node_returned", "job_started"]
    assert happenings(before, before) == ()


@pytest.mark.parametrize(
    ("changes", "phase", "code"),
    [
        ({"stuck": "CrashLoopBackOff"}, JobPhase.STOPPED, "software"),
        ({"phase": "Failed"}, JobPhase.STOPPED, "user_bug"),
        ({"phase": "Pending", "begun_s": 0.0}, JobPhase.STARTING, ""),
        ({"leaving": True}, JobPhase.STARTING, ""),
        ({"node": "", "phase": "Pending", "no_place": "0/4 nodes"}, JobPhase.PENDING, ""),
    ],
    ids=str,
)
def test_a_job_is_where_its_pods_are(changes: Any, phase: JobPhase, code: str) -> None:
    def change(pod: KubePod) -> KubePod:
        return replace(pod, **changes) if pod.name.startswith("sweep") else pod

    now = look(change)
    found = seen(now).job("default/sweep")
    assert found is not None
    assert found.phase is phase
    events = [event.code for event in happenings(look(), now) if event.kind == "job_failed"]
    assert events == ([code] if code else [])


def test_gpus_that_no_known_training_has_are_not_free() -> None:
    def change(pod: KubePod) -> KubePod:
        if not pod.name.startswith("sweep"):
            return pod
        return replace(pod, owner="x", owner_kind="ReplicaSet", owner_name="chat-7f")

    found = seen(look(change)).job("default/chat-7f")
    assert found is not None
    assert (found.kind, found.nodes, found.least_nodes) == ("interactive", ("n3",), 0)


def test_an_mpi_jobs_launcher_is_its_own_although_a_job_of_its_own_makes_it() -> None:
    held = next(job for job in jobs_of(KINDS[1]) if job.name == "held")
    launcher = replace(jobs_of(KINDS[3])[0], name="held-launcher", uid="launcher", owner=held.uid)

    def change(pod: KubePod) -> KubePod:
        return replace(pod, owner="launcher") if pod.name.startswith("sweep") else pod

    at = look(change)
    now = look_at(
        at.at_s,
        at.nodes.values(),
        at.others,
        [replace(held, held=False), launcher],
        spare=at.spare,
        had={},
    )
    assert set(now.jobs) == {"default/held"}
    assert [pod.owner for pod in now.pods_of["default/held"]] == ["launcher"]


def test_a_list_that_is_cut_short_or_of_another_form_is_no_list() -> None:
    for body in (said("nodes")[:-100], b'{"items": [{"metadata": 3}]}'):
        with pytest.raises(msgspec.MsgspecError):
            decode_list(body, Node)


@pytest.mark.parametrize(
    ("name", "code", "error", "words"),
    [
        ("not_allowed", 403, ActionFailed, r"not allowed: .*deploy/kubernetes\.yaml"),
        ("missing", 404, ActionFailed, "not found"),
        ("changed", 409, ActionFailed, "changed by others 5 times"),
        ("invalid", 422, ActionFailed, "refused"),
    ],
)
async def test_refusals_are_told_apart(
    name: str, code: int, error: type[Exception], words: str
) -> None:
    node = gives(metadata={"name": "n1", "resourceVersion": "7"})
    answer = httpx2.Response(code, json=json.loads(said("refusals"))[name])

    with pytest.raises(error, match=words):
        await calls_to(Server([node, answer] * 5)).change(Node, "n1", close_it, why="cordon n1")


async def test_an_eviction_that_a_budget_forbids_is_one_for_later() -> None:
    refusals = json.loads(said("refusals"))
    form = httpx2.Response(400, json=refusals["eviction_form"])
    budget = httpx2.Response(429, json=refusals["eviction_budget"])

    with pytest.raises(NotNow, match="disruption budget"):
        await calls_to(Server([form, budget])).evict("p", "default", why="drain n1")
    assert isinstance(ApiError(response=budget).status.code, int)
