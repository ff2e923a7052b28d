"""Whether an order about a node shows in the cluster, the state expected after it, what was."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.cluster import OWNER, ClusterState, NodeCondition, NodeState
from core.types import Action, Scalar
from remediation.catalogue.asked import jobs_on
from remediation.catalogue.kind import Project

LEMON = "lemon"
READY = {"condition": NodeCondition.READY, "owner": "", "finding": ""}
OUT = {"condition": NodeCondition.CORDONED, "owner": OWNER}


def out_before(action: Action, state: ClusterState) -> Mapping[str, Scalar]:
    """Say as ``prior_out`` where the node takes no jobs already, whoever keeps them off."""
    node = state.node(action.target.node)
    out = node is not None and node.condition is not NodeCondition.READY
    return {"prior_out": True} if out else {}


def cordon_done(action: Action, state: ClusterState, _: float) -> bool:
    """Say whether the node takes no jobs; the guards look at who keeps them off."""
    node = state.node(action.target.node)
    return node is not None and node.condition is not NodeCondition.READY


def uncordon_done(action: Action, state: ClusterState, _: float) -> bool:
    """Say whether the node takes jobs."""
    node = state.node(action.target.node)
    return node is not None and node.condition is NodeCondition.READY


def drain_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether the node takes no jobs and has none."""
    out = cordon_done(action, state, started_s)
    return out and not jobs_on(state, action.target.node)


def validate_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether checks that were begun since the order have ended, whatever they found."""
    node = state.node(action.target.node)
    return node is not None and node.checked_s is not None and node.checked_s >= started_s


def reboot_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether the node has come up since the order."""
    node = state.node(action.target.node)
    up = node is not None and node.condition is not NodeCondition.DOWN
    return up and node is not None and node.since_s >= started_s


def reset_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether a GPU of the node was reset since the order."""
    node = state.node(action.target.node)
    return node is not None and node.reset_s is not None and node.reset_s >= started_s


def quarantine_done(action: Action, state: ClusterState, _: float) -> bool:
    """Say whether the node is out and marked."""
    node = state.node(action.target.node)
    return node is not None and node.condition is not NodeCondition.READY and node.mark != ""


def spare_done(action: Action, state: ClusterState, _: float) -> bool:
    """Say whether the node is kept as a spare."""
    node = state.node(action.target.node)
    return node is not None and node.spare


def release_done(action: Action, state: ClusterState, _: float) -> bool:
    """Say whether the node is no spare."""
    node = state.node(action.target.node)
    return node is not None and not node.spare


def paged(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether a person was called to the node or the job since the order."""
    subject = state.node(action.target.node) or state.job(action.target.job)
    return subject is not None and subject.paged_s is not None and subject.paged_s >= started_s


def changed(**fields: Any) -> Project:
    """Return what gives the state with these fields of the action's node."""

    def project(action: Action, state: ClusterState) -> ClusterState:
        return with_node(state, action.target.node, **fields)

    return project


def validated(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with checks that found nothing."""
    return with_node(state, action.target.node, checked_s=state.observed_s, finding="")


def cordoned(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with the node out: by our hand, unless somebody keeps it out already."""
    node = state.node(action.target.node)
    if node is not None and node.condition is not NodeCondition.READY and node.owner:
        return state
    return with_node(state, action.target.node, **OUT)


def drained(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with the node out and its jobs elsewhere: where, the queue decides."""
    name = action.target.node
    jobs = tuple(
        replace(job, nodes=tuple(other for other in job.nodes if other != name))
        if name in job.nodes
        else job
        for job in state.jobs
    )
    return cordoned(action, replace(state, jobs=jobs))


def unchanged(_: Action, state: ClusterState) -> ClusterState:
    """Return the state as it is."""
    return state


def with_node(state: ClusterState, name: str, **fields: Any) -> ClusterState:
    """Return the state with these fields of one of its nodes."""

    def own(node: NodeState) -> NodeState:
        return replace(node, **fields) if node.name == name else node

    return replace(state, nodes=tuple(own(node) for node in state.nodes))
