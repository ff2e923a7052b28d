"""What a cycle costs on a large Kubernetes: the first look, one in quiet, one after changes.

The API server is made up, in this process; its answers are as long as real ones (a pod 4 KB, a node
7 KB with its managed fields), so reading them costs what it costs.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx2
from lightkube import AsyncClient, KubeConfig
from lightkube.config.models import Cluster, User

from agent.act.kubernetes.calls import KubernetesAccess
from agent.act.kubernetes.cluster import KubernetesCluster
from core.clock import RealClock
from core.figures import Row, at_most

GPU = "nvidia.com/gpu"
PODS_A_NODE, NODES_A_JOB, CHANGES = 5, 8, 200
_STAMP = "2026-01-01T00:00:00Z"


def kubernetes_rows(*, quick: bool = False, nodes: int | None = None) -> tuple[Row, ...]:
    """Measure at 2,000 nodes and 10,000 pods, of which one a node is a training's."""
    return asyncio.run(_measured(nodes or (256 if quick else 2000), runs=5 if quick else 9))


async def _measured(nodes: int, *, runs: int) -> tuple[Row, ...]:
    made = MadeUp(nodes)
    config = KubeConfig.from_one(cluster=Cluster(server="http://made.up"), user=User()).get()
    access = KubernetesAccess(timeout_s=120.0)
    client = AsyncClient(config, transport=made, trust_env=False)
    cluster = KubernetesCluster(access, clock=RealClock(), client=client)
    try:
        first_s = await _spent(cluster)
        quiet = [await _spent(cluster) for _ in range(runs)]
        changed = []
        for run in range(runs):
            made.change(CHANGES, run)
            changed.append(await _spent(cluster, made))
    finally:
        await cluster.close()
    size = f"{nodes:,} nodes, {PODS_A_NODE * nodes:,} pods; CPU of this process"
    quiet_ms = min(quiet) * 1e3
    added_ms = max(min(changed) * 1e3 - quiet_ms, 0.0)
    note = f"what {CHANGES} changed pods add to a cycle; {size}"
    return (
        Row("kubernetes_first_look_cpu_s", first_s, "s", n=1, note=size),
        at_most("kubernetes_quiet_cycle_cpu_ms", quiet_ms, 250.0, unit="ms", n=runs, note=size),
        Row("kubernetes_changes_cpu_ms", added_ms, "ms", n=runs, note=note),
    )


async def _spent(cluster: KubernetesCluster, made: "MadeUp | None" = None) -> float:
    """Return the CPU seconds of a look and what happened since the last one."""
    began_s = time.process_time()
    if made is not None:
        made.let_go()
        await made.heard()
    await cluster.state()
    await cluster.events()
    return time.process_time() - began_s


@dataclass(slots=True)
class MadeUp(httpx2.AsyncBaseTransport):
    """An API server's answers: lists in pages, and watches that tell of changes."""

    nodes: int
    _rows: dict[str, list[bytes]] = field(default_factory=dict)
    _tell: dict[str, "asyncio.Queue[bytes]"] = field(default_factory=dict)
    _next: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rows = {
            "nodes": [_bytes(_node(number)) for number in range(self.nodes)],
            "pods": [_bytes(pod) for number in range(self.nodes) for pod in _pods(number)],
            "pytorchjobs": [
                _bytes(_job(n, self.nodes)) for n in range(-(-self.nodes // NODES_A_JOB))
            ],
        }
        self._tell = {part: asyncio.Queue() for part in self._rows}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a list or a watch; what is not installed is not there."""
        part, asked = request.url.path.rpartition("/")[2], parse_qs(request.url.query.decode())
        if part not in self._rows:
            status = {"kind": "Status", "status": "Failure", "code": 404, "message": "not found"}
            return httpx2.Response(404, json=status, request=request)
        if "watch" in asked:
            return httpx2.Response(200, stream=_Told(self._tell[part]), request=request)
        first, limit = int(asked.get("continue", ["0"])[0]), int(asked.get("limit", ["500"])[0])
        rows = self._rows[part]
        more = f',"continue":"{first + limit}"' if first + limit < len(rows) else ""
        head = b'{"metadata":{"resourceVersion":"1000"' + more.encode() + b'},"items":['
        body = head + b",".join(rows[first : first + limit]) + b"]}"
        kind = {"content-type": "application/json"}
        return httpx2.Response(200, content=body, headers=kind, request=request)

    def change(self, count: int, run: int) -> None:
        """Have so many pods be other than they were; ``let_go`` tells of them."""
        self._next = []
        for number in range(count):
            pod = next(iter(_pods(number % self.nodes)))
            pod["metadata"]["resourceVersion"] = str(2000 + run)
            pod["status"]["containerStatuses"][0]["restartCount"] = run
            self._next.append(_bytes({"type": "MODIFIED", "object": pod}) + b"\n")

    def let_go(self) -> None:
        """Tell of the changes."""
        for line in self._next:
            self._tell["pods"].put_nowait(line)
        self._next = []

    async def heard(self) -> None:
        """Return once everything told was taken."""
        await self._tell["pods"].join()


class _Told(httpx2.AsyncByteStream):
    def __init__(self, told: "asyncio.Queue[bytes]") -> None:
        self._told = told

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield await self._told.get()
            self._told.task_done()  # it was read by who asks for the next


def _bytes(thing: Mapping[str, Any]) -> bytes:
    return json.dumps(thing, separators=(",", ":")).encode()


def _meta(name: str, *, fields: int, **more: Any) -> dict[str, Any]:
    """Return an object's metadata with so many managed fields, of about 80 bytes each."""
    managed: dict[str, Any] = {
        f"f:example.com/some-rather-long-field-{n}": {".": {}, "f:value": {}} for n in range(fields)
    }
    return {
        "name": name,
        "uid": name,
        "resourceVersion": "1000",
        "creationTimestamp": _STAMP,
        "managedFields": [
            {"manager": "kubelet", "operation": "Update", "time": _STAMP, "fieldsV1": managed}
        ],
        **more,
    }


def _node(number: int) -> dict[str, Any]:
    labels = {f"example.com/label-{n}": "some value of it" for n in range(40)}
    images = [
        {"names": [f"registry.example.com/team/image-{n}:v1"], "sizeBytes": 1} for n in range(40)
    ]
    return {
        "metadata": _meta(f"node-{number:04d}", fields=30, labels=labels),
        "spec": {"podCIDR": "10.0.0.0/24"},
        "status": {
            "capacity": {GPU: "8", "cpu": "192", "memory": "2Ti", "pods": "110"},
            "allocatable": {GPU: "8", "cpu": "190", "memory": "2Ti", "pods": "110"},
            "conditions": [
                {"type": kind, "status": status, "lastTransitionTime": _STAMP, "message": "x" * 60}
                for kind, status in (("Ready", "True"), ("DiskPressure", "False"))
            ],
            "images": images,
        },
    }


def _pods(node: int) -> Iterator[dict[str, Any]]:
    """Yield a node's pods: a training's, and those of daemons."""
    job, place = divmod(node, NODES_A_JOB)
    for number in range(PODS_A_NODE):
        trains = number == 0
        name = f"job-{job}-worker-{place}" if trains else f"daemon-{number}-{node}"
        kind = "PyTorchJob" if trains else "DaemonSet"
        owner = {"apiVersion": "v1", "kind": kind, "name": "x", "controller": True}
        labels = {
            "training.kubeflow.org/replica-type": "worker",
            "training.kubeflow.org/replica-index": str(place),
        }
        environ = [{"name": f"SOME_VARIABLE_{n}", "value": "and its value"} for n in range(40)]
        limits = {"limits": {GPU: "8"} if trains else {"cpu": "1"}}
        running = {"running": {"startedAt": _STAMP}}
        yield {
            "metadata": _meta(
                name,
                fields=25,
                namespace="default",
                labels=labels,
                ownerReferences=[{**owner, "uid": f"job-{job}" if trains else "daemon"}],
            ),
            "spec": {
                "nodeName": f"node-{node:04d}",
                "containers": [{"name": "t", "image": "x", "env": environ, "resources": limits}],
            },
            "status": {
                "phase": "Running",
                "startTime": _STAMP,
                "containerStatuses": [
                    {
                        "name": "t",
                        "image": "x",
                        "imageID": "x",
                        "ready": True,
                        "restartCount": 0,
                        "state": running,
                    }
                ],
            },
        }


def _job(number: int, nodes: int) -> dict[str, Any]:
    count = min(NODES_A_JOB, nodes - number * NODES_A_JOB)
    container = {"name": "t", "image": "x", "resources": {"limits": {GPU: "8"}}}
    worker = {"replicas": count, "template": {"spec": {"containers": [container]}}}
    return {
        "metadata": _meta(f"job-{number}", fields=20, namespace="default"),
        "spec": {"pytorchReplicaSpecs": {"Worker": worker}},
    }
