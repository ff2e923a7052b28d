"""A real Ray cluster of several nodes on this machine."""

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def cluster_of_three() -> Iterator[int]:
    """Start a cluster of three nodes and connect to it; gives their number."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'gpumedic[ray]'")
    # First, as the engine does: it keeps Ray to the loopback interface.
    importlib.import_module("agent.experiments.on_ray")
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 << 20, "node_ip_address": "127.0.0.1"}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(**node)
        ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
        yield len([node for node in ray.nodes() if node["Alive"]])
    finally:
        ray.shutdown()
        cluster.shutdown()
