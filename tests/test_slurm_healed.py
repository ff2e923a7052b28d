"""The whole loop on a real Slurm: a node dies, and what is said or done about it."""

from pathlib import Path
from typing import Any

import pytest

from agent.assembly import assemble
from agent.config import Settings
from agent.demo_real import demo_real, scratch
from agent.lab.slurm_training import SlurmTraining
from agent.progress.records import decode
from agent.start import discover, inputs_of
from core.clock import RealClock
from core.types import Autonomy
from tests.real import missing
from tests.slurm import MAY_RESIZE, SPARES, lab, training


@pytest.mark.timeout(550)
async def test_a_real_trainings_losses_go_on_as_undisturbed_after_its_node_died() -> None:
    with scratch() as folder:
        cluster = SlurmTraining(Path(folder))
        if absent := cluster.lab.missing():
            missing(f"{', '.join(absent)} not on PATH: .ci/run installs Slurm")
        found = await demo_real(
            cluster, "kill-node", at=Path(folder), limit_s=300.0, tell=lambda line: None
        )
        if not found.healed:
            told = (f"{at.after_s:.1f} {at.kind} {at.text}" for at in found.journal)
            pytest.fail("\n".join((*told, cluster.lab.last_words())))
        assert found.hit == "n2"
        assert found.cause == "node_silent on n2"
        kinds = [did.partition(" ")[0] for did in found.done]
        assert kinds in (["cordon", "swap_node"], ["cordon", "shrink_job"])  # as is priced then
        assert found.difference <= 1e-6
        assert found.losses[-1][0] > found.losses[0][0]
        assert {"incident.opened", "action.succeeded"} <= set(found.messages)
        file = Path(folder) / "services/records/n1" / f"{cluster.job}.0"
        rank = decode(file.read_bytes(), cluster.job, 0)
        assert rank
        assert 0 < rank.comm_s < rank.step_s
        assert not cluster.lab.processes()


async def test_in_observe_it_says_what_it_would_do_and_touches_nothing(tmp_path: Path) -> None:
    with lab() as started:
        started.run(
            *("scontrol", "create", "reservation", f"ReservationName={SPARES}", "Nodes=n4"),
            *("StartTime=now", "Duration=UNLIMITED", "Users=root", "Flags=IGNORE_JOBS"),
        )
        job = training(started, "-N2", MAY_RESIZE)
        chosen: dict[str, Any] = {
            "state_dir": tmp_path,
            "scheduler": {"backend": "slurm"},
            "slurm": {"conf": str(started.conf), "silent_after": "1s"},
            "policy": {"use": "runbook"},  # the twin may rather keep the spare and shrink the job
        }
        settings, clock = Settings(**chosen), RealClock()
        found = await discover(settings, clock=clock, with_host=False)
        inputs = inputs_of(settings, found.sources, clock=clock)
        app = await assemble(settings, inputs, clock=clock)
        await app.controller.cycle()
        assert app.controller.ready() == ()  # with Slurm alone, no source of readings
        started.kill_slurmd("n2")

        while not (plans := app.controller.heal.recent()):
            await app.controller.cycle()
        await app.close()
        assert plans[0].mode is Autonomy.OBSERVE
        assert [each.kind for each in plans[0].plan.actions] == ["cordon", "swap_node"]
        assert plans[0].plan.actions[1].target.node == "n2"
        assert job in app.controller.watch.incidents[plans[0].plan.incident_id].jobs
        assert "gpumedic" not in started.run("sinfo", "-h", "-N", "-o", "%N %E")
        assert started.job(job)[1] == ("n1", "n2")
