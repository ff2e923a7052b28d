"""What ``gpumedic doctor`` says of a Kubernetes: what there is, and what stands in the way."""

from collections.abc import Iterator

from agent.act.kubernetes.cluster import KubernetesCluster
from core.cluster import ClusterState


async def examined(cluster: KubernetesCluster) -> tuple[str, tuple[str, ...]]:
    """Return what was found, and what would make it better; the cluster is closed afterwards.

    SourceUnavailable where its API server does not answer.
    """
    try:
        state = await cluster.state()
    finally:
        await cluster.close()
    gpus = len(state.topology.gpus)
    found = f"{len(state.nodes)} nodes with {gpus} GPUs, {len(state.jobs)} jobs"
    return found, tuple(_advice(state, cluster))


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
