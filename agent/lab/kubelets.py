"""Stand-ins for what a control plane needs to have jobs that run: kubelets and an operator.

Nodes that are alive renew their leases, say of their pods that they run and let go of those that
are deleted. Of a PyTorchJob or MPIJob each wanted pod is there, made anew where one has gone, as
the training operator does it: named by its number, and never two of one name.
"""

import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx2
from lightkube import ApiError, Client, KubeConfig
from lightkube.codecs import from_dict
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node, Pod
from lightkube.types import PatchType

from agent.act.kubernetes.kinds import KINDS, JobKind, at
from core.clock import RealClock

STEP_S = 0.1
BEATS = 10  # a node is heard of every so many steps
GPU = "nvidia.com/gpu"
LEASES = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-node-lease"}}
_IN_LEASES = "kube-node-lease"
_LABELS = "training.kubeflow.org"


def crd(kind: str, plural: str, *versions: str) -> dict[str, Any]:
    """Return the definition of a kind of Kubeflow's, which takes whatever is in it."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served = [
        {
            "name": version,
            "served": True,
            "storage": number == 0,
            "schema": {"openAPIV3Schema": anything},
            "subresources": {"status": {}},
        }
        for number, version in enumerate(versions)
    ]
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.kubeflow.org"},
        "spec": {
            "group": "kubeflow.org",
            "names": names,
            "scope": "Namespaced",
            "versions": served,
        },
    }


CRDS = (crd("PyTorchJob", "pytorchjobs", "v1"), crd("MPIJob", "mpijobs", "v2beta1"))
_OPERATED = tuple(kind for kind in KINDS[:2])


class Kubelets(threading.Thread):
    """All nodes' kubelets and the operator in one thread; ``alive``: the nodes that are."""

    def __init__(self, config: KubeConfig, gpus: int) -> None:
        super().__init__(daemon=True, name="kubelets")
        self.alive: set[str] = set()
        self._client = Client(config, trust_env=False)
        self._gpus = gpus
        self._end = threading.Event()

    def run(self) -> None:
        """Go on until told to stop; where the API server is away, until it is back."""
        step = 0
        while not self._end.wait(STEP_S):
            try:
                for node in sorted(self.alive) if step % BEATS == 0 else ():
                    self._beat(node)
                pods = list(self._client.list(Pod, namespace="*"))
                for pod in pods:
                    self._tend(pod)
                for kind in _OPERATED:
                    self._operate(kind, pods)
                step += 1
            except (httpx2.HTTPError, OSError):
                continue

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        self.join()
        self._client.close()

    def _beat(self, node: str) -> None:
        has = {"cpu": "32", "memory": "64Gi", "pods": "110", GPU: str(self._gpus)}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        ready |= {"lastHeartbeatTime": _now(), "message": "made up"}
        found = self._node(node)
        before = next((c for c in found.status.conditions or () if c.type == "Ready"), None)
        if before is None or before.status != "True":
            ready["lastTransitionTime"] = _now()
        else:
            ready["lastTransitionTime"] = _text(before.lastTransitionTime)
        status = {"status": {"capacity": has, "allocatable": has, "conditions": [ready]}}
        self._client.patch(Node.Status, node, status, patch_type=PatchType.MERGE)
        renewed = {"spec": {"renewTime": _moment("%Y-%m-%dT%H:%M:%S.%fZ")}}
        try:
            self._client.patch(
                Lease, node, renewed, namespace=_IN_LEASES, patch_type=PatchType.MERGE
            )
        except ApiError:
            named = {"name": node, "namespace": _IN_LEASES}
            lease: dict[str, Any] = {"metadata": named, **renewed}
            lease["spec"] = {**renewed["spec"], "holderIdentity": node, "leaseDurationSeconds": 4}
            self._make("coordination.k8s.io/v1", "Lease", lease)

    def _node(self, name: str) -> Any:
        try:
            return self._client.get(Node, name)
        except ApiError:
            labels = {"kubernetes.io/hostname": name}
            return self._make("v1", "Node", {"metadata": {"name": name, "labels": labels}})

    def _tend(self, pod: Pod) -> None:
        """Let a pod on a living node run, or go."""
        meta, spec, status = pod.metadata, pod.spec, pod.status
        if not (meta and spec and status) or spec.nodeName not in self.alive:
            return
        where: Any = {"namespace": str(meta.namespace)}
        if meta.deletionTimestamp:
            self._gone(str(meta.name), str(meta.namespace))
        elif status.phase == "Pending":
            begun = {"running": {"startedAt": _now()}}
            container: dict[str, Any] = {"name": "t", "image": "x", "imageID": "x"}
            container |= {"ready": True, "restartCount": 0, "state": begun}
            runs = {
                "phase": "Running",
                "conditions": [
                    {"type": "PodScheduled", "status": "True", "lastTransitionTime": _now()},
                    {"type": "Ready", "status": "True", "lastTransitionTime": _now()},
                ],
                "podIP": "127.0.0.1",
                "startTime": _now(),
                "containerStatuses": [container],
            }
            self._client.patch(
                Pod.Status, str(meta.name), {"status": runs}, patch_type=PatchType.MERGE, **where
            )

    def _gone(self, name: str, namespace: str) -> None:
        try:
            self._client.delete(Pod, name, namespace=namespace, grace_period=0)
        except ApiError:
            return

    def _operate(self, kind: JobKind, pods: Iterable[Pod]) -> None:
        """Have as many pods of each job of a kind as it wants."""
        there = {str(pod.metadata.name): pod for pod in pods if pod.metadata}
        for job in self._client.list(kind.resource, namespace="*"):
            wanted = {} if at(job, kind.suspend) else dict(_wanted(kind, job))
            own = [name for name, pod in there.items() if _is_of(pod, job)]
            for name in own:
                if name not in wanted and not there[name].metadata.deletionTimestamp:  # type: ignore[union-attr]
                    self._client.delete(Pod, name, namespace=job["metadata"]["namespace"])
            for name, pod in wanted.items():
                if name not in there:
                    self._make("v1", "Pod", pod)

    def _make(self, version: str, kind: str, body: Mapping[str, Any]) -> Any:
        return self._client.create(from_dict({"apiVersion": version, "kind": kind, **body}))


def _wanted(kind: JobKind, job: Mapping[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    meta = job["metadata"]
    owner = {"apiVersion": job["apiVersion"], "kind": kind.name, "name": meta["name"]}
    owner |= {"uid": meta["uid"], "controller": True}
    for role in kind.roles:
        there = at(job, kind.role_path(role))
        if there is None:
            continue
        for number in range(int(at(job, kind.count_path(role)) or 0)):
            name = f"{meta['name']}-{role.lower()}-{number}"
            labels = {
                f"{_LABELS}/job-name": meta["name"],
                f"{_LABELS}/replica-type": role.lower(),
                f"{_LABELS}/replica-index": str(number),
            }
            made = {"name": name, "namespace": meta["namespace"], "labels": labels}
            made |= {"ownerReferences": [owner]}
            spec = {"terminationGracePeriodSeconds": 1, **at(there, ("template", "spec"))}
            yield name, {"metadata": made, "spec": spec}


def _is_of(pod: Pod, job: Mapping[str, Any]) -> bool:
    owners = (pod.metadata.ownerReferences if pod.metadata else None) or ()
    return any(owner.uid == job["metadata"]["uid"] for owner in owners)


def _moment(form: str) -> str:
    return datetime.fromtimestamp(RealClock().now_s(), UTC).strftime(form)


def _now() -> str:
    return _moment("%Y-%m-%dT%H:%M:%SZ")


def _text(moment: Any) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(moment, datetime) else _now()
