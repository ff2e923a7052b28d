"""Orders to a launch beyond the contract, what it says of itself, and what it mends by itself."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agent.act.programs import Programs
from agent.act.torchrun.cluster import TorchrunCluster, TorchrunSettings
from agent.act.torchrun.lines import Story
from agent.launch.asking import ended
from agent.launch.control import ENDED, FORGOTTEN_S
from core.clock import ManualClock, RealClock
from core.cluster import OWNER, JobPhase, NodeCondition
from core.errors import ActionFailed, SourceUnavailable
from core.target import Target
from core.types import Event, Mended
from remediation.catalogue import CATALOG
from tests.contract import Ward, order
from tests.torchrun import JOB, PLAN, PretendedLaunch, pretended

ELASTIC = replace(PLAN, min_nodes=1, max_nodes=3, last_call_s=60.0)


def job(launch: PretendedLaunch) -> tuple[str, ...]:
    return tuple(launch.launcher.coordinator.seating.nodes())


async def until_mended(cluster: TorchrunCluster) -> tuple[list[Event], list[Mended]]:
    """Look as the cycle does until something was mended."""
    events: list[Event] = []
    mended: list[Mended] = []
    while not mended:
        await cluster.state()
        events += await cluster.events()
        mended += await cluster.mended()
    return events, mended


async def test_a_straggler_is_evicted_for_a_spare_and_held() -> None:
    with pretended() as (launch, cluster):
        ward = Ward(cluster, RealClock(), launch.person)
        evict = order("evict_rank", Target(node="n2"), job=JOB, spare="n3")

        assert await ward.shows(evict, within_s=CATALOG["evict_rank"].deadline_s)

        assert job(launch) == ("n1", "n3")
        assert (await ward.node("n2")).owner == OWNER


async def test_a_job_shrinks_by_the_node_named_and_grows_again() -> None:
    with pretended(3, ELASTIC) as (launch, cluster):
        ward = Ward(cluster, RealClock(), launch.person)
        assert await ward.shows(order("cordon", Target(node="n1")), within_s=60)
        shrink = order("shrink_job", Target(job=JOB), step=1, nodes=2, leave="n1")

        assert await ward.shows(shrink, within_s=60)
        assert (job(launch), (await ward.job()).least_nodes) == (("n2", "n3"), 1)
        with pytest.raises(ActionFailed, match="n1 is none"):
            await cluster.perform(order("shrink_job", Target(job=JOB), step=2, nodes=1, leave="n1"))


async def test_what_nobody_can_do_here_is_said_with_what_can_be_done_instead() -> None:
    with pretended() as (_, cluster):
        with pytest.raises(ActionFailed, match="newest state"):
            await cluster.perform(order("rollback_job", Target(job=JOB)))
        with pytest.raises(ActionFailed, match=r"torchrun\.programs\.reboot_node"):
            await cluster.perform(order("reboot_node", Target(node="n3")))
        with pytest.raises(ActionFailed, match="nobody has said how it is told to save"):
            await cluster.perform(order("checkpoint_now", Target(job=JOB)))
        state = await cluster.state()
        assert "newest state" in state.instead_of("rollback_job")
        assert "torchrun.programs.reboot_node" in state.instead_of("reboot_node")
        assert state.instead_of("restart_job") == ""
        assert [each.saves for each in state.jobs] == [False]


async def test_a_killed_rank_is_told_of_with_what_the_launch_did_about_it() -> None:
    with pretended() as (launch, cluster):
        assert await cluster.events() == ()
        launch.die(launch.launcher.coordinator.seats[1].uid or "")

        (event, *_), (done, *more) = await until_mended(cluster)

    assert (event.kind, event.code, event.target.rank) == ("job_failed", "killed", "1")
    assert event.target.node == "n2"
    assert (done.kind, done.job, done.about, more) == ("restart_in_place", JOB, event.target, [])
    assert 0 <= done.ended_s - done.started_s < 60


async def test_a_dead_nodes_ranks_are_seen_where_the_launch_has_put_them() -> None:
    with pretended() as (launch, cluster):
        await cluster.events()
        launch.lose("n2")

        events, (done,) = await until_mended(cluster)
        state = await cluster.state()

    assert [(e.kind, e.target.node) for e in events] == [("node_down", "n2")]
    assert (done.kind, done.target.node, dict(done.params)["spare"]) == ("swap_node", "n2", "n3")
    node, found = state.node("n2"), state.job(JOB)
    assert node is not None
    assert found is not None
    assert (node.condition, found.nodes) == (NodeCondition.DOWN, ("n1", "n3"))


async def test_two_nodes_lost_at_once_are_mended_together() -> None:
    with pretended(4) as (launch, cluster):
        await cluster.events()
        launch.lose("n1", "n2")

        _, (done,) = await until_mended(cluster)

    assert (done.kind, dict(done.params)) == ("swap_nodes", {"nodes": "n1,n2", "spares": "n3,n4"})


async def test_a_launch_that_gave_up_has_stopped_and_is_started_by_the_sites_program(
    tmp_path: Path,
) -> None:
    """No spare and no fewer nodes: here the launcher can do no more."""
    with pretended(2) as (launch, cluster):
        await cluster.events()
        launch.lose("n2")
        path = launch.folder / f"{JOB}.1"
        while launch.launcher.coordinator.stage.value != "ended":
            await cluster.state()
        last = {**launch.launcher.status(0), "code": 1}
        path.with_name(path.name + ENDED).write_text(json.dumps(last))
        path.unlink()

        (found,) = (await cluster.state()).jobs
        told = [event.code for event in await cluster.events() if event.kind == "job_failed"]
        assert (found.phase, found.nodes) == (JobPhase.STOPPED, ("n1",))
        assert told == ["node_down"]
        restart = order("restart_job", Target(job=JOB))
        with pytest.raises(ActionFailed, match=r"torchrun\.programs\.restart_job"):
            await cluster.perform(restart)
        note = f"import sys; open({str(tmp_path / 'started')!r}, 'a').write(sys.argv[1])"
        programs = Programs({"restart_job": (sys.executable, "-c", note, "{job}")})
        settings = TorchrunSettings(launch.folder, programs)
        able = TorchrunCluster(clock=RealClock(), settings=settings, path=tmp_path / "kept.json")
        for _ in range(2):
            await able.perform(restart)
        again = TorchrunCluster(clock=RealClock(), settings=settings, path=tmp_path / "kept.json")
        await again.perform(restart)

    assert (tmp_path / "started").read_text() == JOB


async def test_what_the_sites_program_has_started_is_not_restarted_by_the_order_again() -> None:
    with pretended() as (launch, _):
        programs = Programs({"restart_job": ("sleep", "60")}, patience_s=0.0)
        settings = TorchrunSettings(launch.folder, programs)
        cluster = TorchrunCluster(clock=RealClock(), settings=settings)
        restart = order("restart_job", Target(job=JOB))
        with pytest.raises(SourceUnavailable, match="sleep still runs"):
            await programs.run(restart)

        with pytest.raises(SourceUnavailable, match="sleep still runs"):
            await cluster.perform(restart)

        assert [each.restarts for each in (await cluster.state()).jobs] == [0]


async def test_a_coordinator_that_is_gone_without_a_word_has_stopped_its_job() -> None:
    with pretended() as (launch, cluster):
        await cluster.events()
        (launch.folder / f"{JOB}.1").unlink()

        (found,) = (await cluster.state()).jobs
        (event,) = await cluster.events()

    assert found.phase is JobPhase.STOPPED
    assert "gone" in event.text


async def test_a_launch_that_is_gone_is_forgotten_after_a_day() -> None:
    with pretended() as (launch, _):
        clock = ManualClock(RealClock().now_s())
        cluster = TorchrunCluster(clock=clock, settings=TorchrunSettings(launch.folder))
        await cluster.state()
        (launch.folder / f"{JOB}.1").unlink()
        (gone,) = (await cluster.state()).jobs

        clock.step(FORGOTTEN_S + 1.0)

        assert gone.phase is JobPhase.STOPPED
        assert (await cluster.state()).jobs == ()


def test_the_last_word_of_a_launch_counts_for_a_day(tmp_path: Path) -> None:
    word = tmp_path / f"{JOB}.1{ENDED}"
    word.write_text('{"code": 1}')
    assert [each["code"] for each in ended(tmp_path)] == [1]

    long_ago_s = RealClock().now_s() - FORGOTTEN_S - 1.0
    os.utime(word, (long_ago_s, long_ago_s))

    assert ended(tmp_path) == []


def test_what_was_asked_for_is_no_trouble_and_is_not_mended() -> None:
    story = Story(JOB, 1)
    line = {"n": 0, "time_s": 1.0, "text": "", "rank": 0, "node": "n1", "uid": "n1-1", "code": -9}
    story.read(
        [
            {**line, "what": "rank_ended", "why": "asked for"},
            {**line, "what": "over"},
            {**line, "what": "runs"},
        ],
        nodes=2,
    )

    assert (story.events, story.mended) == ([], [])


def test_a_checkpoint_that_could_not_be_written_is_told_of() -> None:
    story = Story(JOB, 1)
    text = "no checkpoint of step 20: the disk is full. Make room there"
    story.read([{"what": "not_saved", "time_s": 1.0, "text": text, "step": 20}], nodes=2)

    (event,) = story.events
    assert (event.kind, event.code, event.target) == (
        "checkpoint_late",
        "not_saved",
        Target(job=JOB),
    )
    assert event.text == f"job {JOB}: {text}"


@pytest.mark.parametrize(
    ("why", "code", "told"),
    [
        ("stopped by a signal: no step for 1.3 s", -9, "hang"),
        ("stuck for 30 s at train.py:7", -9, "hang"),
        ("OSError: [Errno 28] No space left on device", 1, "no_space"),
        ("killed by SIGKILL", -9, "killed"),
        ("killed by SIGSEGV", -11, "139"),
        ("ValueError: a bug", 1, "user_bug"),
    ],
)
def test_a_rank_that_ends_says_whose_fault_it_can_be(why: str, code: int, told: str) -> None:
    story = Story(JOB, 2)
    line = {"what": "rank_ended", "time_s": 1.0, "rank": 3, "node": "n2", "uid": "n2-1", "text": ""}
    story.read([{**line, "why": why, "code": code}], nodes=2)

    (event,) = story.events
    assert (event.code, event.target.gpu) == (told, "n2/gpu1")
    assert event.text == f"job {JOB}: rank 3 on n2 {'hung' if told == 'hang' else 'ended'}: {why}"


def test_what_was_seen_of_a_hung_rank_before_it_was_killed_is_told_in_short() -> None:
    story, base = Story(JOB, 1), {"time_s": 1.0, "uid": "n2-1", "text": ""}
    frames = "\n".join(f"    frame{number} (train.py:{number})" for number in range(200))
    seen = f"state: T (stopped)\nwaits in: do_signal_stop\n\nThread 7 (idle)\n{frames}"
    ends = {"what": "rank_ended", "rank": 1, "node": "n2", "why": "no step for 1.3 s", "code": -9}
    story.read([{**base, "what": "stacks", "evidence": seen}, {**base, **ends}], nodes=2)
    story.read([{**base, "what": "runs"}], nodes=2)

    (event,), (done,) = story.events, story.mended

    assert "no step for 1.3 s; seen before its end: state: T (stopped) | waits in" in event.text
    assert "| Thread 7 (idle) | frame0 (train.py:0) |" in event.text
    assert event.text.endswith("...")
    assert len(event.text) < 800
    assert "\n" not in event.text
    assert "seen before" not in done.text
