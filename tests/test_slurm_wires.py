"""A node whose link is cut: it computes on, unseen, while its job goes on elsewhere."""

import asyncio
from pathlib import Path

from agent.lab.slurm import SlurmLabSettings
from core.clock import RealClock
from core.cluster import OWNER, NodeCondition
from core.target import Target
from tests.contract import Ward, order
from tests.slurm import MAY_RESIZE, cluster_of, lab, training


def namespaces() -> list[str]:
    return [path.name for path in Path("/run/netns").iterdir()]


async def test_a_cut_off_nodes_job_goes_on_elsewhere_and_its_orphan_ends_at_last() -> None:
    with lab(SlurmLabSettings(nodes=3, message_s=2, slurmd_timeout_s=3), wired=True) as started:
        assert started.wires is not None
        spaces = started.wires.prefix
        job = training(started, "-N2", MAY_RESIZE)
        ward = Ward(cluster_of(started), RealClock(), lambda name: None)
        started.wait_for(lambda: len(started.processes("n2")) > 1, within_s=10)
        orphans = set(started.processes("n2"))

        started.wires.cut("n2")
        assert await ward.shows(order("cordon", Target(node="n2")), within_s=30)
        drain = order("drain", Target(node="n2"), step=1)
        assert await ward.shows(drain, within_s=60)
        async with asyncio.timeout(60.0):
            while started.job(job)[0] != "RUNNING":  # looks let the job be followed meanwhile
                await ward.cluster.state()
        assert "n2" not in started.job(job)[1]
        assert orphans & set(started.processes("n2"))

        started.wires.mend("n2")
        # Its slurmd alone is left: what it ran is not the job's any more.
        started.wait_for(lambda: len(started.processes("n2")) == 1, within_s=60)
        found = await ward.node("n2")
        assert found.owner == OWNER
        assert found.condition is not NodeCondition.READY
    assert not any(name.startswith(spaces) for name in namespaces())
