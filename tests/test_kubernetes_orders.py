"""Orders to a real Kubernetes control plane: what they do, what they leave alone, what outlives."""

import asyncio
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx2
import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.rbac_authorization_v1 import ClusterRole
from lightkube.types import PatchType

from agent.act.kubernetes.cluster import KubernetesCluster, KubernetesSettings
from agent.act.kubernetes.kinds import PYTORCH, at
from agent.act.programs import Programs
from agent.lab.kubernetes import KubernetesLab
from core.cluster import OWNER, ClusterState, JobPhase, JobState, NodeCondition
from core.errors import ActionFailed, SourceUnavailable
from core.target import Target
from core.types import Action
from tests.contract import Ward, order
from tests.kubernetes import (
    BUDGET,
    JOB,
    batch,
    close,
    cluster_of,
    mpi,
    pytorch,
    running,
    scene,
)

WITHIN_S = 60.0
TRAIN = Target(job=JOB)


def node(name: str) -> Target:
    return Target(node=name)


def the_job(state: ClusterState) -> JobState:
    found = state.job(JOB)
    assert found is not None
    return found


def phase(state: ClusterState) -> JobPhase:
    return the_job(state).phase


def owner(state: ClusterState, name: str) -> str:
    found = state.node(name)
    assert found is not None
    return found.owner


def runs_without(state: ClusterState, name: str) -> bool:
    return phase(state) is JobPhase.RUNNING and name not in the_job(state).nodes


async def job(ward: Ward) -> JobState:
    return the_job(await ward.cluster.state())


async def until(ward: Ward, so: Callable[[ClusterState], bool]) -> None:
    """Look again and again until something is so: each look asks the API server."""
    async with asyncio.timeout(WITHIN_S):
        while not so(await ward.cluster.state()):
            continue


async def shows(ward: Ward, action: Action) -> bool:
    return await ward.shows(action, within_s=WITHIN_S)


async def end(ward: Ward) -> None:
    """Let the next process act."""
    assert isinstance(ward.cluster, KubernetesCluster)
    await ward.cluster.close()


def uid_of(started: KubernetesLab, pod: str) -> str:
    meta = started.pods()[pod].metadata
    assert meta is not None
    return str(meta.uid)


async def test_a_node_is_ours_only_while_nobody_else_has_closed_it_since() -> None:
    async with scene() as (started, ward):
        assert await shows(ward, order("cordon", node("n1"), reason="xid 79"))
        found = await ward.node("n1")
        assert (found.condition, found.owner, found.reason) == (
            NodeCondition.DRAINED,
            OWNER,
            "xid 79",
        )

        close(started, "n1", closed=False)  # a person opens it and closes it again
        close(started, "n1")
        with pytest.raises(ActionFailed, match="ada keeps it out"):
            await ward.cluster.perform(order("uncordon", node("n1"), step=1))
        await until(ward, lambda state: owner(state, "n1") == "ada")


async def test_a_quarantined_node_is_marked_and_only_people_bring_it_back() -> None:
    async with scene() as (started, ward):
        assert await shows(ward, order("cordon", node("n3")))
        assert await shows(ward, order("quarantine", node("n3"), step=1))
        assert (await ward.node("n3")).mark == "lemon"
        with pytest.raises(ActionFailed, match="lemon"):
            await ward.cluster.perform(order("uncordon", node("n3"), step=2))

        close(started, "n3", closed=False)
        await until(ward, lambda state: owner(state, "n3") == "")


async def test_a_spare_takes_no_pods_until_it_is_released() -> None:
    async with scene() as (started, ward):
        for step, name in enumerate(("n2", "n3", "n4")):
            assert await shows(ward, order("keep_as_spare", node(name), step=step))
        started.create(pytorch("late", workers=1))
        started.wait_for(lambda: len(started.runs_on()) == 1, within_s=30)
        assert set(started.runs_on().values()) == {"n1"}
        late = (await ward.cluster.state()).job("default/late")
        assert late is not None
        assert late.phase in (JobPhase.STOPPED, JobPhase.STARTING)

        assert await shows(ward, order("release_spare", node("n3"), step=3))
        started.wait_for(lambda: len(started.runs_on()) == 2, within_s=30)
        assert "n3" in started.runs_on().values()


async def test_a_job_leaves_a_dead_node_for_the_spare_and_its_other_pods_stay() -> None:
    async with scene(pytorch()) as (started, ward):
        assert await shows(ward, order("keep_as_spare", node("n4")))
        had = started.runs_on()
        dead, kept = had["train-worker-0"], uid_of(started, "train-master-0")
        started.kill_node(dead)

        await until(ward, lambda state: phase(state) is JobPhase.STOPPED)
        assert (await ward.node(dead)).condition is NodeCondition.DOWN
        assert await shows(ward, order("cordon", node(dead), step=1))
        swap = order("swap_node", node(dead), step=2, job=JOB, spare="n4")
        assert await shows(ward, swap)

        assert started.runs_on() == {**had, "train-worker-0": "n4"}
        assert uid_of(started, "train-master-0") == kept
        assert (await ward.node(dead)).owner == OWNER
        assert not (await ward.node("n4")).spare


async def test_a_job_of_its_own_size_grows_and_shrinks_off_the_named_node() -> None:
    async with scene(pytorch(says="nodes=2-4")) as (started, ward):
        assert await shows(ward, order("grow_job", TRAIN, nodes=3))
        grown = await job(ward)
        assert (len(grown.nodes), grown.asked_nodes, grown.kind) == (3, 3, "elastic")

        leave = started.runs_on()["train-master-0"]
        assert await shows(ward, order("shrink_job", TRAIN, step=1, nodes=2, leave=leave))
        assert leave not in (await job(ward)).nodes
        assert sorted(started.runs_on()) == ["train-master-0", "train-worker-0"]


async def test_an_elastic_jobs_pods_go_on_while_others_come() -> None:
    elastic = pytorch(elasticPolicy={"minReplicas": 1, "maxReplicas": 3})
    async with scene(elastic) as (started, ward):
        found = await job(ward)
        assert (found.least_nodes, found.most_nodes) == (2, 4)
        kept = uid_of(started, "train-worker-0")

        assert await shows(ward, order("grow_job", TRAIN, nodes=3))
        assert uid_of(started, "train-worker-0") == kept


async def test_a_batch_jobs_pod_leaves_for_where_the_scheduler_puts_it() -> None:
    async with scene(batch()) as (_, ward):
        before = await job(ward)
        bad = before.nodes[0]
        assert await shows(ward, order("keep_as_spare", node("n4")))
        assert await shows(ward, order("cordon", node(bad), step=1))
        assert await shows(ward, order("swap_node", node(bad), step=2, job=JOB, spare="n4"))
        assert bad not in (await job(ward)).nodes
        with pytest.raises(ActionFailed, match="not on Kubernetes"):
            await ward.cluster.perform(order("restart_in_place", TRAIN, step=3))


async def test_a_drain_waits_for_a_disruption_budget() -> None:
    async with scene(pytorch()) as (started, ward):
        chosen = {"matchLabels": {"training.kubeflow.org/job-name": "train"}}
        budget = BUDGET(
            metadata=ObjectMeta(name="all", namespace="default"),
            spec={"minAvailable": 2, "selector": chosen},
        )
        started.client.create(budget)

        def counted() -> bool:
            found = started.client.get(BUDGET, "all", namespace="default")
            return bool(at(found, ("status", "currentHealthy")) == 2)

        started.wait_for(counted, within_s=30)
        bad = (await job(ward)).nodes[1]
        await ward.cluster.perform(order("drain", node(bad)))
        found = await ward.node(bad)
        assert (found.condition, found.owner) == (NodeCondition.CORDONED, OWNER)
        assert bad in started.runs_on().values()

        started.client.delete(BUDGET, "all", namespace="default")
        await until(ward, lambda state: runs_without(state, bad))


class Cut(httpx2.AsyncHTTPTransport):
    """A network that fails when a pod is to go."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "DELETE" or request.url.path.endswith("/eviction"):
            raise httpx2.ConnectError("the cable is out", request=request)
        return await super().handle_async_request(request)


async def test_an_order_half_done_is_finished_by_the_next_process_and_never_done_again() -> None:
    async with scene(pytorch()) as (started, ward):
        first = uid_of(started, "train-worker-0")
        restart = order("restart_job", TRAIN)
        half = cluster_of(started, cut=Cut)
        with pytest.raises(SourceUnavailable, match="the cable is out"):
            await half.perform(restart)
        await half.close()
        assert uid_of(started, "train-worker-0") == first

        assert await shows(ward, restart)
        second = uid_of(started, "train-worker-0")
        assert second != first
        await end(ward)

        later = cluster_of(started)
        await later.perform(restart)
        await later.close()
        meta = started.pods()["train-worker-0"].metadata
        assert meta is not None
        assert (meta.uid, meta.deletionTimestamp) == (second, None)


async def test_a_drain_half_done_is_finished_by_the_next_process_unless_a_person_opens_it() -> None:
    async with scene(pytorch()) as (started, ward):
        bad = (await job(ward)).nodes[1]
        drain = order("drain", node(bad))
        half = cluster_of(started, cut=Cut)
        with pytest.raises(SourceUnavailable, match="the cable is out"):
            await half.perform(drain)
        await half.close()
        assert owner(await ward.cluster.state(), bad) == OWNER
        assert bad in started.runs_on().values()

        close(started, bad, closed=False)
        await until(ward, lambda state: owner(state, bad) == "")
        await ward.cluster.perform(drain)
        assert bad in started.runs_on().values()
        await end(ward)

        close(started, bad)
        later = cluster_of(started)
        await later.perform(drain)
        await later.close()
        started.wait_for(lambda: bad not in started.runs_on().values(), within_s=30)


async def test_an_mpi_jobs_worker_goes_to_the_spare_and_its_launcher_needs_no_gpus() -> None:
    async with scene() as (started, ward):
        running(started, mpi(), pods=3)
        had = started.runs_on()
        stays, bad = had["train-worker-0"], had["train-worker-1"]
        spare = next(name for name in started.nodes if name not in (stays, bad))
        assert (await job(ward)).nodes == (stays, bad)

        assert await shows(ward, order("keep_as_spare", node(spare)))
        assert await shows(ward, order("cordon", node(bad), step=1))
        assert await shows(ward, order("swap_node", node(bad), step=2, job=JOB, spare=spare))
        assert (await job(ward)).nodes == (stays, spare)


async def test_a_job_is_asked_to_save_only_where_its_owner_says_how(tmp_path: Path) -> None:
    class Saves(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (tmp_path / "step-7.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Saves)
    Thread(target=server.serve_forever, daemon=True).start()
    says = f"save={server.server_port}/save checkpoint={tmp_path}"
    try:
        async with scene(pytorch(says=says)) as (started, ward):
            assert await shows(ward, order("checkpoint_now", TRAIN))
            assert (await job(ward)).checkpoint_s is not None

            nothing = {"metadata": {"annotations": {"gpumedic/job": None}}}
            started.client.patch(
                PYTORCH.resource,
                "train",
                nothing,
                namespace="default",
                patch_type=PatchType.MERGE,
            )
            await until(ward, lambda state: the_job(state).checkpoint_s is None)
            with pytest.raises(ActionFailed, match="nobody has said how it is told to save"):
                await ward.cluster.perform(order("checkpoint_now", TRAIN, step=1))
    finally:
        server.shutdown()
        server.server_close()


async def test_the_sites_programs_do_what_kubernetes_cannot_and_leave_their_findings() -> None:
    programs = Programs({"validate_node": ("echo", "{node}: bad")}, setting="kubernetes.programs")
    async with scene(settings=KubernetesSettings(programs=programs)) as (_, ward):
        assert await shows(ward, order("cordon", node("n1")))
        assert await shows(ward, order("validate_node", node("n1"), step=1))
        assert (await ward.node("n1")).finding == ""
        reset = order("reset_gpu", Target(node="n2", gpu="n2/gpu0"), step=2)
        with pytest.raises(ActionFailed, match=r"kubernetes\.programs\.reset_gpu"):
            await ward.cluster.perform(reset)


async def test_a_dead_or_standing_api_server_is_said_and_outlived() -> None:
    async with scene(pytorch()) as (started, _):
        quick = cluster_of(started, timeout_s=1.0)
        try:
            await quick.state()
            started.pause_api(paused=True)
            try:
                with pytest.raises(SourceUnavailable, match=r"within 1 s.*What is known is"):
                    await quick.state()
                with pytest.raises(SourceUnavailable):
                    await quick.perform(order("cordon", node("n1")))
            finally:
                started.pause_api(paused=False)

            started.kill_api()
            with pytest.raises(SourceUnavailable, match="What is known is"):
                await quick.state()
            started.start_api()
            async with asyncio.timeout(WITHIN_S):
                while not await answers(quick):
                    continue
            await quick.perform(order("cordon", node("n1")))
            assert owner(await quick.state(), "n1") == OWNER
        finally:
            await quick.close()


async def answers(cluster: KubernetesCluster) -> bool:
    try:
        await cluster.state()
    except SourceUnavailable:
        return False
    return True


async def test_what_the_manifest_does_not_allow_is_said_so() -> None:
    async with scene(pytorch()) as (started, ward):
        found = await job(ward)
        role = started.client.get(ClusterRole, "gpumedic")
        reading = [rule for rule in role.rules or () if "list" in rule.verbs]
        less = {"rules": [rule.to_dict() for rule in reading]}
        whole = {"rules": [rule.to_dict() for rule in role.rules or ()]}
        started.client.patch(ClusterRole, "gpumedic", less, patch_type=PatchType.MERGE)
        try:
            with pytest.raises(ActionFailed, match=r"not allowed: .* deploy/kubernetes\.yaml"):
                await ward.cluster.perform(order("cordon", node(found.nodes[0])))
            assert owner(await ward.cluster.state(), found.nodes[0]) == ""
        finally:
            started.client.patch(ClusterRole, "gpumedic", whole, patch_type=PatchType.MERGE)
