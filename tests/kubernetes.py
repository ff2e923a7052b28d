"""Real Kubernetes control planes for tests: small, on loopback, gone afterwards.

They need programs that no package of Debian has, so CI does without: these tests are skipped where
one is missing, also where GPUMEDIC_REQUIRE_REAL demands every other real part.
"""

import atexit
import contextlib
import functools
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
from lightkube import AsyncClient, KubeConfig
from lightkube.generic_resource import create_namespaced_resource
from lightkube.resources.core_v1 import Node
from lightkube.types import PatchType

from agent.act.kubernetes.calls import KubernetesAccess
from agent.act.kubernetes.cluster import KubernetesCluster, KubernetesSettings
from agent.lab.kubelets import GPU
from agent.lab.kubernetes import KubernetesLab
from core.clock import Clock, RealClock
from core.cluster import OWNER
from tests.contract import Ward
from tests.real import missing

MANIFEST = Path(__file__).parents[1] / "deploy" / "kubernetes.yaml"
JOB = "default/train"
# Of the version that 1.20 knows; newer ones know policy/v1.
BUDGET = create_namespaced_resource(
    "policy", "v1beta1", "PodDisruptionBudget", "poddisruptionbudgets"
)


@functools.cache
def shared() -> KubernetesLab:
    """Return the control plane of all tests of this process; it ends with the process."""
    folder = tempfile.TemporaryDirectory(prefix="gpumedic-kubernetes-")
    started = KubernetesLab(Path(folder.name))
    atexit.register(folder.cleanup)
    atexit.register(started.stop)  # before its folder goes
    started.start()
    started.allow(MANIFEST)
    return started


@contextlib.contextmanager
def lab() -> Iterator[KubernetesLab]:
    """Have a control plane as if it were new, or skip where its programs are not on PATH."""
    if found := KubernetesLab(Path()).missing():
        said = f"{', '.join(found)} not on PATH: docs/kubernetes.md says how to build them"
        missing(said, in_ci=False)
    started = shared()
    try:
        yield started
    finally:
        started.clear()


def cluster_of(
    started: KubernetesLab,
    settings: KubernetesSettings | None = None,
    *,
    timeout_s: float = 5.0,
    clock: Clock | None = None,
    cut: type[httpx2.AsyncHTTPTransport] | None = None,
) -> KubernetesCluster:
    """Return the backend of a cluster, with no more rights than the manifest gives.

    cut: the network between them, where it is not a good one
    """
    access = KubernetesAccess(kubeconfig=started.kubeconfig, timeout_s=timeout_s)
    client = None
    if cut is not None:
        trust = ssl.create_default_context(cafile=started.folder / "certs" / "apiserver.crt")
        config = KubeConfig.from_file(started.kubeconfig)
        client = AsyncClient(
            config, transport=cut(verify=trust), trust_env=False, field_manager=OWNER
        )
    site = settings or KubernetesSettings()
    return KubernetesCluster(access, clock=clock or RealClock(), settings=site, client=client)


def pods_of(gpus: int = 8, **spec: Any) -> dict[str, Any]:
    """Return the template of pods that take a node each."""
    limits = {"limits": {GPU: str(gpus)}}
    container = {"name": "t", "image": "x", "resources": limits}
    return {"spec": {"containers": [container], "restartPolicy": "Never", **spec}}


def pytorch(
    name: str = "train", *, workers: int = 1, says: str = "", **spec: Any
) -> Mapping[str, Any]:
    """Return a PyTorchJob with a master and so many workers."""
    roles = {"Master": 1, "Worker": workers}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {
            "name": name,
            "namespace": "default",
            "annotations": {"gpumedic/job": says},
        },
        "spec": {
            "pytorchReplicaSpecs": {
                role: {"replicas": count, "template": pods_of()} for role, count in roles.items()
            },
            **spec,
        },
    }


def mpi(*, workers: int = 2) -> Mapping[str, Any]:
    """Return an MPIJob with a launcher that has no GPUs and so many workers."""
    launcher = {"spec": {"containers": [{"name": "t", "image": "x"}]}}
    return {
        "apiVersion": "kubeflow.org/v2beta1",
        "kind": "MPIJob",
        "metadata": {"name": "train", "namespace": "default"},
        "spec": {
            "mpiReplicaSpecs": {
                "Launcher": {"replicas": 1, "template": launcher},
                "Worker": {"replicas": workers, "template": pods_of()},
            }
        },
    }


def batch(name: str = "train", *, pods: int = 2) -> Mapping[str, Any]:
    """Return a batch Job of so many pods at once."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"parallelism": pods, "completions": pods, "template": pods_of()},
    }


def running(started: KubernetesLab, thing: Mapping[str, Any], pods: int = 2) -> None:
    """Submit a job and wait until its pods run."""
    started.create(thing)
    name = thing["metadata"]["name"]

    def all_run() -> bool:
        return sum(pod.startswith(name) for pod in started.runs_on()) == pods

    started.wait_for(all_run, within_s=60)


def taint(started: KubernetesLab, node: str, key: str = "gpumedic/spare") -> None:
    """Taint a node as a person does, by default to keep it as a spare."""
    body = {"spec": {"taints": [{"key": key, "effect": "NoSchedule"}]}}
    started.client.patch(Node, node, body, patch_type=PatchType.MERGE, field_manager="ada")


def close(started: KubernetesLab, node: str, *, closed: bool = True) -> None:
    """Close a node to new pods, or open it, as a person called ada does."""
    body = {"spec": {"unschedulable": closed or None}}
    started.client.patch(Node, node, body, patch_type=PatchType.MERGE, field_manager="ada")


@contextlib.contextmanager
def real_kubernetes() -> Iterator[Ward]:
    """Return a cluster of four nodes: a training on the first two, a spare at the end."""
    with lab() as started:
        for node in ("n3", "n4"):
            taint(started, node)
        running(started, pytorch(says="nodes=1-4"))
        open_again = {"spec": {"taints": None}}
        started.client.patch(Node, "n3", open_again, patch_type=PatchType.MERGE)

        def person(node: str) -> None:
            close(started, node)

        yield Ward(cluster_of(started), RealClock(), person)


@contextlib.asynccontextmanager
async def scene(
    *jobs: Mapping[str, Any], settings: KubernetesSettings | None = None
) -> AsyncIterator[tuple[KubernetesLab, Ward]]:
    """Start a cluster of four nodes with jobs that run, on the first nodes."""
    with lab() as started:
        for node in started.nodes[2:]:
            taint(started, node, "lab/later")
        for thing in jobs:
            running(started, thing)
        for node in started.nodes[2:]:
            started.client.patch(Node, node, {"spec": {"taints": None}}, patch_type=PatchType.MERGE)
        cluster = cluster_of(started, settings)

        def person(node: str) -> None:
            close(started, node)

        try:
            yield started, Ward(cluster, RealClock(), person)
        finally:
            await cluster.close()
