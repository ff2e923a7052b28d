"""What ``gpumedic doctor`` says of a Kubernetes: what there is, and what stands in the way."""

from collections.abc import Iterator

from agent.act.kubernetes.cluster import KubernetesCluster
from core.cluster import ClusterState
from core.errors import SourceUnavailable


async def examined(cluster: KubernetesCluster) -> tuple[str, tuple[str, ...]]:
    """Return what was found, and what would make it better; the cluster is closed afterwards.

    SourceUnavailable where its API server does not answer.
    """
    try:
        state = await cluster.state()
        held, trouble = await _lease(cluster)
    finally:
        await cluster.close()
    gpus = len(state.topology.gpus)
    found = f"{len(state.nodes)} nodes with {gpus} GPUs, {len(state.jobs)} jobs; {held}"
    return found, (*trouble, *_advice(state, cluster))


async def _lease(cluster: KubernetesCluster) -> tuple[str, tuple[str, ...]]:
    """Return who may act, and what keeps this gpumedic from knowing."""
    try:
        return await cluster.lease.found(), ()
    except SourceUnavailable as error:
        return "nothing can be ordered", (str(error),)


def _advice(state: ClusterState, cluster: KubernetesCluster) -> Iterator[str]:
    settings = cluster.settings
    if not state.nodes:
        yield (
            f"no node has {settings.gpu}: install the GPUs' device plugin, or name the resource as "
            "kubernetes.gpu"
        )
    elif not any(node.spare for node in state.nodes):
        yield (
            f"no node is kept as a spare: `kubectl taint nodes NODE {settings.spares}=:NoSchedule` "
            "keeps one"
        )
    if "reboot_node" not in settings.programs:
        yield "kubernetes.programs has no reboot_node: nodes cannot be rebooted"
