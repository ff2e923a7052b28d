"""The whole loop as a process on a real Kubernetes: a node dies, and what is done about it."""

from pathlib import Path
from typing import Any

from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node

from agent.act.kubernetes.marks import HELD
from agent.lab.kubernetes import KubernetesLab
from tests.e2e.running import Running, gpumedic, until
from tests.kubernetes import JOB, close, lab, pytorch, running, taint

CONFIG = """
state_dir = "{folder}/state"
cycle = {{interval = "1s", refit = "1m"}}
scheduler = {{backend = "kubernetes"}}
kubernetes = {{kubeconfig = "{kubeconfig}"}}
host = {{enabled = false}}
prometheus = {{url = "http://127.0.0.1:9"}}
guards = {{max_ratio_out = 0.5}}

[[autonomy]]
mode = "auto"
"""


async def plans(running: Running) -> list[dict[str, Any]]:
    found = await running.get("/v1/plans")
    return list(found["plans"])


def marks(started: KubernetesLab, name: str) -> tuple[bool, bool]:
    """Return whether a node is closed, and whether it says that gpumedic did it."""
    node = started.client.get(Node, name)
    notes = (node.metadata.annotations if node.metadata else None) or {}
    return bool(node.spec and node.spec.unschedulable), HELD in notes


async def test_a_dead_nodes_job_goes_on_elsewhere_and_a_persons_node_is_left_alone(
    tmp_path: Path,
) -> None:
    with lab() as started:
        taint(started, "n4")
        close(started, "n3")
        running(started, pytorch())
        config = tmp_path / "config.toml"
        config.write_text(CONFIG.format(folder=tmp_path, kubeconfig=started.kubeconfig))
        async with gpumedic("controller", "--config", str(config), folder=tmp_path) as controller:
            # Never ready, for want of readings; the scheduler is read all the same.
            await until(lambda: len(controller.lines("cycle")) > 1, what="cycles")
            dead = started.runs_on()["train-worker-0"]
            started.kill_node(dead)

            await until(lambda: started.runs_on().get("train-worker-0") == "n4", what="healed")

            async def helped() -> bool:
                return any(
                    each["state"] in ("verifying", "done") for each in await plans(controller)
                )

            await until(helped, what="all actions done")
            plan = (await plans(controller))[0]["plan"]
            assert [action["kind"] for action in plan["actions"]] == ["cordon", "swap_node"]
            assert plan["actions"][1]["target"]["node"] == dead
            said = str(await controller.get(f"/v1/incidents/{plan['incident_id']}"))
            assert f"job {JOB}" in said
            lease = started.client.get(Lease, "gpumedic", namespace="gpumedic")
            assert lease.spec is not None
            assert lease.spec.holderIdentity
        lease = started.client.get(Lease, "gpumedic", namespace="gpumedic")
        assert lease.spec is not None
        assert lease.spec.holderIdentity is None  # the next controller need not wait
        assert marks(started, dead) == (True, True)
        assert marks(started, "n3") == (True, False)
