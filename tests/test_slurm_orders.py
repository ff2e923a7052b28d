"""Orders to a real Slurm: what they do, what they leave alone, and what outlives whom."""

import asyncio
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent.act.programs import Programs
from agent.act.slurm.calls import SlurmAccess
from agent.act.slurm.cluster import SlurmCluster, SlurmSettings
from agent.act.slurm.kept import Return
from agent.lab.slurm import SlurmLab, SlurmLabSettings
from agent.launch.node import JOBSIDE
from core.clock import RealClock
from core.cluster import OWNER, JobPhase, NodeCondition
from core.errors import ActionFailed, SourceUnavailable
from core.target import Target
from core.types import Action, Scalar
from remediation.catalogue import CATALOG, inverse_of, make
from tests.contract import SCENES, Ward, order
from tests.slurm import MAY_RESIZE, QUICK, SPARES, cluster_of, lab, runs, training

AS_SHIPPED = SlurmLabSettings(cred_expire_s=120)  # a requeued job is held for 121 s
WITHIN_S = 30.0


# A rank that saves as gpumedic_job does: behind the fence that it has claimed.
SAVES = """
import sys, time
from pathlib import Path
from gpumedic_job.fence import Fenced, claim, passed
folder, world = Path(sys.argv[1]), (time.time_ns(), 0)
claim(folder, world)
try:
    while True:
        with passed(folder, world):
            (folder / "saved").write_text(str(world[0]))
        (folder / f"saves-{world[0]}").touch()
        time.sleep(0.1)
except Fenced as refused:
    (folder / f"refused-{world[0]}").write_text(str(refused))
"""


def node(name: str) -> Target:
    return Target(node=name)


@contextmanager
def scene(
    *options: str, wanted: SlurmLabSettings | None = None, settings: SlurmSettings = QUICK
) -> Iterator[tuple[SlurmLab, Ward, Target]]:
    """Start a cluster of four nodes with a training, by default on the first two."""
    with lab(wanted or SlurmLabSettings()) as started:
        job = training(started, *(options or ("-N2", MAY_RESIZE)))

        def person(name: str) -> None:
            started.run("scontrol", "update", f"NodeName={name}", "State=DRAIN", "Reason=ada: fan")

        yield started, Ward(cluster_of(started, settings), RealClock(), person), Target(job=job)


async def starts(started: SlurmLab, ward: Ward, job: Target, count: int) -> list[str]:
    """Return the nodes that the job's script wrote at each start, once there were so many."""
    path = started.folder / f"starts-{job.job}"
    async with asyncio.timeout(60):
        while len(found := path.read_text().splitlines()) < count:
            await ward.cluster.state()  # it may have to be started once more: let it be seen to
    return [line.split()[1] for line in found]


async def test_a_job_grows_onto_free_nodes_and_shrinks_off_the_named_one() -> None:
    with scene() as (started, ward, job):
        assert await ward.shows(order("grow_job", job, nodes=3), within_s=WITHIN_S)
        assert started.job(job.job)[1] == ("n1", "n2", "n3")
        await starts(started, ward, job, 2)  # else its script may not have begun before it leaves

        shrink = order("shrink_job", job, step=1, nodes=2, leave="n1")
        assert await ward.shows(shrink, within_s=WITHIN_S)
        assert started.job(job.job)[1] == ("n2", "n3")
        assert await starts(started, ward, job, 3) == ["n[1-2]", "n[1-3]", "n[2-3]"]


async def test_a_job_that_can_gives_a_node_back_while_it_runs() -> None:
    says = "--comment=gpumedic: nodes=1-4 live=yes"
    with scene("-N3", "--no-kill", says) as (started, ward, job):
        shrink = order("shrink_job", job, nodes=2, leave="n2")
        assert await ward.shows(shrink, within_s=WITHIN_S)
        assert started.job(job.job) == ("RUNNING", ("n1", "n3"))
        assert await starts(started, ward, job, 1) == ["n[1-3]"]


async def test_a_requeued_task_of_an_array_is_not_held_for_two_minutes_and_the_others_run_on() -> (
    None
):
    # The last task has the number of the whole array.
    with scene("-N2", "--array=1-2", wanted=AS_SHIPPED) as (started, ward, task):
        assert await ward.shows(order("restart_job", task), within_s=WITHIN_S)
        assert started.job(f"{task.job}_2") == ("RUNNING", ("n3", "n4"))
        assert (
            started.run("squeue", "-h", f"--jobs={task.job}_1", "-O", "RestartCnt").strip() == "0"
        )


async def test_a_restarted_job_keeps_its_nodes_from_the_queue_and_its_priority_after() -> None:
    with scene() as (started, ward, job):
        greedy = started.submit("#!/bin/bash\n#SBATCH --gres=gpu:8\nsleep 600\n", "-N4")
        before = started.run("squeue", "-h", f"--jobs={job.job}", "-o", "%Q")

        assert await ward.shows(order("restart_job", job), within_s=WITHIN_S)
        assert started.job(job.job) == ("RUNNING", ("n1", "n2"))
        assert started.job(greedy)[0] == "PENDING"
        assert isinstance(ward.cluster, SlurmCluster)
        while ward.cluster.kept.returns:
            await ward.cluster.state()
        assert started.run("squeue", "-h", f"--jobs={job.job}", "-o", "%Q") == before
        assert "gpumedic_return" not in started.run("scontrol", "show", "reservation")


async def test_a_job_that_fails_as_it_begins_again_is_begun_once_more() -> None:
    with lab(SlurmLabSettings(nodes=1, cred_expire_s=120)) as started:
        script = (
            "#!/bin/bash\n#SBATCH --gres=gpu:8\necho ${SLURM_RESTART_COUNT:-0} >> starts\n"
            '[ "$SLURM_RESTART_COUNT" = 1 ] && exit 1\nsleep 600\n'
        )
        job = started.submit(script)
        started.wait_for((started.folder / "starts").exists, within_s=30)
        cluster = cluster_of(started)
        await cluster.state()
        await cluster.perform(order("restart_job", Target(job=job)))
        while cluster.kept.returns:
            await cluster.state()
        assert started.job(job)[0] == "RUNNING"
        begun = started.folder / "starts"
        started.wait_for(lambda: begun.read_text().split() == ["0", "1", "2"], within_s=60)


async def test_a_returning_job_that_lost_its_size_is_told_again_and_a_held_one_is_not() -> None:
    with lab() as started:
        started.run("scontrol", "update", "NodeName=n4", "State=DRAIN", "Reason=ada: fan")
        held, lost, kept = (
            started.submit("#!/bin/bash\nsleep 600\n", "-N2", "--begin=now+1hour") for _ in range(3)
        )
        cluster = cluster_of(started)
        await cluster.state()

        def returns(job: str, node: str) -> None:
            now_s, size = RealClock().now_s(), (1, 1, 1)
            back = Return(int(job), job, now_s, nodes=(node,), size=size, priority=1)
            cluster._returning.begin(back)

        def asks(job: str) -> str:
            return started.run("squeue", "-h", f"--jobs={job}", "-o", "%D %r").strip()

        started.run("scontrol", "hold", kept)
        returns(kept, "n1")
        returns(held, "n4")
        while not asks(held).startswith("1 ReqNodeNotAvail"):
            await cluster.state()
        started.run("scontrol", "hold", held)

        returns(lost, "n1")
        while not asks(lost).startswith("1 "):
            await cluster.state()
        started.run("scontrol", "update", f"JobId={lost}", "NumNodes=4-4")
        while started.job(lost)[0] != "RUNNING":
            await cluster.state()
        assert started.job(lost)[1] == ("n1",)
        assert asks(held) == "1 JobHeldAdmin"
        assert asks(kept) == "2 JobHeldAdmin"
        await cluster.close()


async def test_restarts_one_after_another_never_lose_the_job() -> None:
    with scene() as (started, ward, job):
        for number in range(4):
            assert await ward.shows(order("restart_job", job, step=number), within_s=WITHIN_S)
            await starts(started, ward, job, number + 2)  # it has said so itself


async def test_a_job_leaves_a_dead_node_for_the_spare_and_its_orphan_saves_no_more() -> None:
    with lab(AS_SHIPPED) as started:
        words = f"--gres=gpu:8 --export=ALL,PYTHONPATH={JOBSIDE}"
        script = f"#!/bin/bash\n#SBATCH {words}\nexec {sys.executable} -c '{SAVES}' $PWD\n"
        job = started.submit(script)
        started.wait_for(lambda: any(started.folder.glob("saves-*")), within_s=30)
        (orphan,) = started.folder.glob("saves-*")
        ward = Ward(cluster_of(started), RealClock(), lambda name: None)
        assert await ward.shows(order("keep_as_spare", node("n4")), within_s=WITHIN_S)
        started.kill_slurmd("n1")

        assert await ward.shows(order("cordon", node("n1"), step=1), within_s=WITHIN_S)
        swap = order("swap_node", node("n1"), step=2, job=job, spare="n4")
        assert await ward.shows(swap, within_s=60)
        assert started.job(job)[1] == ("n4",)
        found = await ward.node("n1")
        assert (found.condition, found.owner) == (NodeCondition.DOWN, OWNER)

        # The dead node's process lives on, unseen by Slurm, until it wants to save.
        refused = started.folder / orphan.name.replace("saves", "refused")
        started.wait_for(refused.exists, within_s=30)
        assert "left over and must end" in refused.read_text()
        assert (started.folder / "saved").read_text() not in orphan.name


async def test_a_job_that_slurm_itself_requeued_has_stopped_where_it_was() -> None:
    with scene(wanted=AS_SHIPPED) as (started, ward, job):
        await ward.cluster.state()
        started.kill_node("n2")
        started.wait_for(lambda: started.job(job.job)[0] == "PENDING", within_s=40)

        state = await ward.cluster.state()
        found = state.job(job.job)
        assert found is not None
        assert (found.phase, found.nodes) == (JobPhase.STOPPED, ("n1", "n2"))

        assert await ward.shows(order("keep_as_spare", node("n4")), within_s=WITHIN_S)
        assert await ward.shows(order("cordon", node("n2"), step=1), within_s=WITHIN_S)
        swap = order("swap_node", node("n2"), step=2, job=job.job, spare="n4")
        assert await ward.shows(swap, within_s=WITHIN_S)
        assert started.job(job.job)[1] == ("n1", "n4")


async def test_a_drained_nodes_job_goes_on_elsewhere() -> None:
    with scene(wanted=replace(AS_SHIPPED, munge=True)) as (started, ward, job):
        assert await ward.shows(order("drain", node("n1")), within_s=WITHIN_S)
        until_s = ward.clock.now_s() + WITHIN_S
        while started.job(job.job)[0] != "RUNNING":  # looks let the job be followed meanwhile
            await ward.cluster.state()
            assert ward.clock.now_s() < until_s
        assert started.job(job.job)[1] == ("n2", "n3")


async def test_a_node_that_a_person_took_over_from_us_is_theirs() -> None:
    with scene() as (_, ward, _):
        assert await ward.shows(order("cordon", node("n3")), within_s=WITHIN_S)
        ward.person("n3")

        with pytest.raises(ActionFailed, match="ada keeps it out"):
            await ward.cluster.perform(order("uncordon", node("n3"), step=1))
        assert (await ward.node("n3")).reason == "fan"


async def test_a_node_that_slurm_had_down_is_down_again_after_us_and_comes_back_by_itself() -> None:
    with scene() as (started, ward, _):
        started.kill_slurmd("n3")
        started.wait_for(lambda: "n3" in started.in_state("down"), within_s=40)
        assert (await ward.node("n3")).owner == ""
        await ward.cluster.perform(order("cordon", node("n3"), reason="xid 79"))
        assert (await ward.node("n3")).reason == "xid 79"

        await ward.cluster.perform(order("uncordon", node("n3"), step=1))
        found = await ward.node("n3")
        assert (found.condition, found.owner) == (NodeCondition.DOWN, "")
        started.revive("n3")
        started.wait_for(lambda: "n3" in started.in_state("idle"), within_s=20)


async def test_a_node_reboots_by_the_sites_program_and_stays_out() -> None:
    with scene() as (started, ward, _):
        assert await ward.shows(order("cordon", node("n3")), within_s=WITHIN_S)
        reboot = order("reboot_node", node("n3"), step=1)
        told_s = ward.clock.now_s()
        await ward.cluster.perform(reboot)
        started.wait_for(lambda: started.reboots() == 1, within_s=60)
        assert (await ward.node("n3")).condition is NodeCondition.DOWN

        started.kill_slurmd("n3")
        started.revive("n3", booted=True)
        while not CATALOG["reboot_node"].done(reboot, await ward.cluster.state(), told_s):
            assert ward.clock.now_s() < told_s + WITHIN_S
        assert (await ward.node("n3")).owner == OWNER


async def test_a_lemon_is_left_to_people() -> None:
    with scene() as (_, ward, _):
        assert await ward.shows(order("cordon", node("n3")), within_s=WITHIN_S)
        assert await ward.shows(order("quarantine", node("n3"), step=1), within_s=WITHIN_S)

        assert (await ward.node("n3")).mark == "lemon"
        with pytest.raises(ActionFailed, match="quarantined as a lemon"):
            await ward.cluster.perform(order("uncordon", node("n3"), step=2))


async def test_a_preempted_job_waits_for_the_more_urgent_one() -> None:
    with scene("-N4") as (started, ward, job):
        urgent = started.submit("#!/bin/bash\n#SBATCH --gres=gpu:8\nsleep 600\n", "-N4")
        started.run("scontrol", "update", f"JobId={urgent}", "Priority=4294960000")

        assert await ward.shows(order("preempt_job", job), within_s=WITHIN_S)
        runs(started, urgent)
        found = (await ward.cluster.state()).job(job.job)
        assert found is not None
        assert found.phase is JobPhase.PENDING


async def test_a_checkpoint_is_asked_for_by_signal_and_seen_in_the_named_folder() -> None:
    with scene("-N1") as (started, ward, job):
        says = f"Comment=gpumedic: signal=USR1 checkpoint={started.folder}/saved"
        started.run("scontrol", "update", f"JobId={job.job}", says)
        assert (await ward.job()).checkpoint_s is None
        assert (await ward.job()).saves
        assert await ward.shows(order("checkpoint_now", job), within_s=WITHIN_S)
        assert started.job(job.job)[0] == "RUNNING"


async def test_a_job_whose_owner_named_no_signal_gets_none() -> None:
    with scene("-N1") as (_, ward, job):
        with pytest.raises(ActionFailed, match="signal=USR1 checkpoint=/FOLDER"):
            await ward.cluster.perform(order("checkpoint_now", job))
        assert not (await ward.job()).saves


async def test_an_interactive_job_is_not_requeued() -> None:
    with scene("-N1", "--no-requeue") as (started, ward, job):
        with pytest.raises(ActionFailed, match="sbatch --requeue"):
            await ward.cluster.perform(order("restart_job", job))
        with pytest.raises(ActionFailed, match="sbatch --requeue"):
            await ward.cluster.perform(order("drain", node("n1")))
        assert (await ward.node("n1")).condition is NodeCondition.READY
        assert started.job(job.job)[0] == "RUNNING"


async def test_while_slurmctld_stands_still_nothing_is_known_and_nothing_is_done() -> None:
    with scene(settings=QUICK) as (started, ward, job):
        await ward.cluster.state()
        started.pause_controller(paused=True)
        with pytest.raises(SourceUnavailable, match=r"What is known is \d+ s old"):
            await ward.cluster.state()
        with pytest.raises(SourceUnavailable):
            await ward.cluster.perform(order("cordon", node("n3")))

        started.pause_controller(paused=False)
        assert (await ward.node("n3")).condition is NodeCondition.READY
        assert await ward.shows(order("cordon", node("n3")), within_s=WITHIN_S)
        assert started.job(job.job)[0] == "RUNNING"


async def test_a_dead_slurmctld_is_said_so_and_its_successor_is_asked() -> None:
    with scene() as (started, ward, _):
        started.kill_controller()
        with pytest.raises(SourceUnavailable, match="asking Slurm with"):
            await ward.cluster.state()

        started.revive_controller()
        started.wait_for(lambda: len(started.in_state("idle")) >= 2, within_s=40)
        assert len((await ward.cluster.state()).nodes) == 4


async def test_a_job_on_its_way_back_gets_there_though_we_were_killed_meanwhile() -> None:
    with scene(wanted=AS_SHIPPED) as (started, ward, job):
        restart = order("restart_job", job)
        assert isinstance(ward.cluster, SlurmCluster)
        told_s = ward.clock.now_s()
        await ward.cluster.perform(restart)
        await ward.cluster.close()

        successor = cluster_of(started)
        await successor.perform(restart)  # was taken: nothing is done again
        again = Ward(successor, RealClock(), ward.person)
        while not CATALOG["restart_job"].done(restart, await successor.state(), told_s):
            assert ward.clock.now_s() < told_s + WITHIN_S
        await starts(started, again, job, 2)
        assert (await again.job()).nodes == ("n1", "n2")


async def test_a_job_on_its_way_back_gets_there_though_slurmctld_was_away_meanwhile() -> None:
    with scene(wanted=AS_SHIPPED, settings=SlurmSettings()) as (started, ward, job):
        restart, told_s = order("restart_job", job), ward.clock.now_s()
        await ward.cluster.perform(restart)
        # Later than the nodes' own word to slurmctld, which they give again only a minute later.
        started.wait_for(lambda: started.job(job.job)[0] == "PENDING", within_s=20)
        started.pause_controller(paused=True)
        with pytest.raises(SourceUnavailable):
            await ward.cluster.state()

        started.pause_controller(paused=False)
        while not CATALOG["restart_job"].done(restart, await ward.cluster.state(), told_s):
            assert ward.clock.now_s() < told_s + 2 * WITHIN_S
        assert (await ward.job()).nodes == ("n1", "n2")


async def test_a_place_that_we_asked_for_and_cannot_be_had_any_more_is_taken_back() -> None:
    with scene() as (started, ward, job):
        assert await ward.shows(order("restart_job", job), within_s=WITHIN_S)
        assert isinstance(ward.cluster, SlurmCluster)
        while ward.cluster.kept.returns:
            await ward.cluster.state()
        ward.person("n2")
        started.run("scontrol", "requeue", job.job)  # by somebody else, onto the nodes we named

        started.wait_for(lambda: started.job(job.job)[0] == "PENDING", within_s=60)
        until_s = ward.clock.now_s() + WITHIN_S
        while started.job(job.job)[0] != "RUNNING":
            await ward.cluster.state()
            assert ward.clock.now_s() < until_s
        assert "n2" not in started.job(job.job)[1]


async def test_what_the_site_has_a_program_for_is_done_by_it(tmp_path: Path) -> None:
    wrote = tmp_path / "wrote"
    bad = ("sh", "-c", f'echo "$0" >> {wrote}; echo fan 2 stands; exit 4', "{node}")
    settings = SlurmSettings(programs=Programs({"validate_node": bad, "reset_gpu": ("true",)}))
    with scene(settings=settings) as (_, ward, _):
        assert await ward.shows(order("cordon", node("n3")), within_s=WITHIN_S)
        check = order("validate_node", node("n3"), step=1)
        assert await ward.shows(check, within_s=WITHIN_S)
        assert wrote.read_text() == "n3\n"
        assert (await ward.node("n3")).finding == "fan 2 stands"
        with pytest.raises(ActionFailed, match="checks found fan 2 stands"):
            await ward.cluster.perform(order("uncordon", node("n3"), step=2))

        gpu = (await ward.cluster.state()).topology.gpus_of_node("n3")[2]
        reset = order("reset_gpu", Target(node="n3", gpu=gpu), step=3)
        assert await ward.shows(reset, within_s=WITHIN_S)


async def test_a_page_is_noted_on_the_node_or_the_job() -> None:
    with scene() as (_, ward, job):
        assert await ward.shows(order("page_person", node("n3")), within_s=WITHIN_S)
        assert await ward.shows(order("page_person", job, step=1), within_s=WITHIN_S)


async def test_an_inverse_takes_a_spare_and_a_size_back() -> None:
    with scene() as (started, ward, job):
        for kind, target, params in (("keep_as_spare", node("n4"), ()), ("grow_job", job, (3,))):
            done = await _performed(ward, kind, target, dict(zip(("nodes",), params, strict=False)))
            back = inverse_of(done, plan_id="p9", step=0)
            assert back is not None
            assert await ward.shows(back, within_s=WITHIN_S)
        assert SPARES not in started.run("scontrol", "show", "reservation")
        assert len(started.job(job.job)[1]) == 2


async def _performed(ward: Ward, kind: str, target: Target, params: Mapping[str, Scalar]) -> Action:
    asked = make(kind, target, params, plan_id="p9", step=0)
    prior = CATALOG[kind].prior(asked, await ward.cluster.state())
    asked = make(kind, target, {**params, **prior}, plan_id="p9", step=0)
    assert await ward.shows(asked, within_s=WITHIN_S)
    return asked


@pytest.mark.parametrize("kind", sorted(CATALOG))
async def test_each_kind_is_tried_or_refused_with_what_would_make_it_possible(
    kind: str, tmp_path: Path
) -> None:
    nowhere = SlurmCluster(SlurmAccess(programs=tmp_path), clock=RealClock())
    asked = order(kind, SCENES[kind].target)

    with pytest.raises((ActionFailed, SourceUnavailable)) as refused:
        await nowhere.perform(asked)

    if isinstance(refused.value, ActionFailed):
        assert kind in str(refused.value)
        assert any(
            word in str(refused.value)
            for word in ("Order", "order", "Run", "Start", "Name", "Stop", "submit", "Move")
        )
    else:
        assert f"not in {tmp_path}" in str(refused.value)
