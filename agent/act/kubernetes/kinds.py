"""The kinds of jobs that are known, and where each keeps what is read and changed of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightkube.generic_resource import create_namespaced_resource
from lightkube.resources.batch_v1 import Job

INDEX_LABELS = ("training.kubeflow.org/replica-index", "batch.kubernetes.io/job-completion-index")
ROLE_LABEL = "training.kubeflow.org/replica-type"
ROLE_OF_MPI = "training.kubeflow.org/job-role"


@dataclass(frozen=True, slots=True)
class JobKind:
    """A kind of job.

    resource: as the client knows it
    replicas: where its roles are, each with ``replicas`` and a pod ``template``; (): it has one
        role, whose number is ``spec.parallelism``
    roles: in the order of their ranks; the last is the one whose number may change
    suspend: where it is held back
    template_may_change: whether a later pod may be given other wishes than the first ones
    """

    name: str
    resource: type[Any]
    replicas: tuple[str, ...]
    roles: tuple[str, ...]
    suspend: tuple[str, ...]
    template_may_change: bool

    def role_path(self, role: str) -> tuple[str, ...]:
        """Return where a role's replicas and template are."""
        return (*self.replicas, role) if self.replicas else ("spec",)

    def count_path(self, role: str) -> tuple[str, ...]:
        """Return where the number of a role's pods is."""
        return (*self.role_path(role), "replicas" if self.replicas else "parallelism")


def _mpi(version: str) -> JobKind:
    return JobKind(
        "MPIJob",
        create_namespaced_resource("kubeflow.org", version, "MPIJob", "mpijobs"),
        ("spec", "mpiReplicaSpecs"),
        ("Launcher", "Worker"),
        ("spec", "runPolicy", "suspend"),
        template_may_change=True,
    )


PYTORCH = JobKind(
    "PyTorchJob",
    create_namespaced_resource("kubeflow.org", "v1", "PyTorchJob", "pytorchjobs"),
    ("spec", "pytorchReplicaSpecs"),
    ("Master", "Worker"),
    ("spec", "runPolicy", "suspend"),
    template_may_change=True,
)
BATCH = JobKind("Job", Job, (), ("",), ("spec", "suspend"), template_may_change=False)
# v2beta1 is the MPI operator's own, v1 the training operator's.
KINDS = (PYTORCH, _mpi("v2beta1"), _mpi("v1"), BATCH)


def at(row: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """Return what is at a path of names; None where there is nothing."""
    found: Any = row
    for name in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return what has a value at a path of names and nothing else."""
    found: Any = value
    for name in reversed(path):
        found = {name: found}
    return dict(found)
