"""A launch that does not answer is not dead, and one that is led elsewhere has not stopped."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.act.torchrun.cluster import TAKEN_OVER_S, TorchrunCluster, TorchrunSettings
from agent.launch import asking
from agent.launch.control import ENDED
from agent.launch.launcher import Journal, Launcher
from agent.launch.quorum import Council, Roster
from agent.launch.rally import Place, Rally
from core.clock import ManualClock, RealClock
from core.cluster import JobPhase
from core.errors import ActionFailed
from core.ports import Query
from core.target import Target
from tests.contract import order
from tests.torchrun import JOB, PLAN, PretendedLaunch, Workers, pretended

MUTE_S = 0.1


@dataclass
class Site:
    """A launch of two nodes, and the backend that looks at it by a clock of its own."""

    launch: PretendedLaunch
    clock: ManualClock
    cluster: TorchrunCluster

    @property
    def control(self) -> Path:
        return self.launch.folder / f"{JOB}.1"

    def lead_among(self, *nodes: str) -> None:
        """Let these nodes decide, the first of which coordinates."""
        words = tuple(f"{node}#1" for node in nodes)
        self.launch.launcher.rally = Rally(Council(words[0], rosters=(Roster(words),)))

    def freeze(self) -> socket.socket:
        """Let somebody listen who never answers, as a stopped process does."""
        self.control.unlink()
        mute = socket.socket(socket.AF_UNIX)
        mute.bind(str(self.control))
        mute.listen()
        return mute

    async def steps_told(self) -> int:
        now_s = self.clock.now_s()
        query = Query(("job_steps_total",), now_s - 60, now_s, 1.0)
        return len((await self.cluster.read(query)).windows)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(asking, "_TIMEOUT_S", MUTE_S)
    with pretended(2) as (launch, _):
        clock = ManualClock(RealClock().now_s())
        cluster = TorchrunCluster(clock=clock, settings=TorchrunSettings(launch.folder))
        yield Site(launch, clock, cluster)


async def test_a_launch_that_does_not_answer_is_as_it_was_known_last(site: Site) -> None:
    assert (await site.cluster.events(), await site.steps_told()) == ((), 1)
    with site.freeze():
        await site.clock.advance(120.0)

        state = await site.cluster.state()
        found = await site.cluster.read(Query(("job_steps_total",), 0.0, site.clock.now_s(), 1.0))
        told = await site.cluster.events()

    assert [(job.phase, job.nodes) for job in state.jobs] == [(JobPhase.RUNNING, ("n1", "n2"))]
    assert {node.name for node in state.nodes} == {"n1", "n2"}
    assert found.windows == ()
    (problem,) = found.problems
    assert (problem.source, problem.code) == ("torchrun", "silent")
    assert "job training" in problem.text
    assert "120 s old" in problem.text
    assert told == ()


def test_those_that_do_not_answer_are_asked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_TIMEOUT_S", 0.5)
    listeners = [socket.socket(socket.AF_UNIX) for _ in range(8)]
    for number, each in enumerate(listeners):
        each.bind(str(tmp_path / f"job{number}.1"))
        each.listen()
    gone = socket.socket(socket.AF_UNIX)
    gone.bind(str(tmp_path / "gone.1"))
    began_s = RealClock().monotonic_s()

    found, silent = asking.launches(tmp_path)

    assert RealClock().monotonic_s() - began_s < 8 * 0.5
    assert (found, len(silent)) == ([], 8)
    assert not (tmp_path / "gone.1").exists()
    for each in (*listeners, gone):
        each.close()


async def test_a_coordinator_whose_nodes_may_go_on_has_not_stopped_its_job(site: Site) -> None:
    site.lead_among("head", "n1", "n2")
    await site.cluster.events()
    site.control.unlink()

    (soon,) = (await site.cluster.state()).jobs
    await site.clock.advance(TAKEN_OVER_S)
    state = await site.cluster.state()
    (event,) = await site.cluster.events()

    assert soon.phase is JobPhase.RUNNING
    assert state.jobs == ()
    assert (event.kind, event.target) == ("lead_elsewhere", Target(job=JOB))
    assert "one of n1, n2 may go on" in event.text
    assert "gpumedic launch --status" in event.text
    with pytest.raises(ActionFailed, match=JOB):
        await site.cluster.perform(order("restart_job", Target(job=JOB)))
    assert (await site.cluster.events(), await site.cluster.mended()) == ((), ())


@pytest.mark.parametrize("roster", [("n1", "n2"), ("head", "n1")])
async def test_where_no_majority_can_be_left_the_job_has_stopped(
    site: Site, roster: tuple[str, ...]
) -> None:
    site.lead_among(*roster)
    await site.cluster.events()
    site.control.unlink()

    (found,) = (await site.cluster.state()).jobs

    assert found.phase is JobPhase.STOPPED


async def test_one_that_takes_over_on_this_machine_is_looked_at_there(site: Site) -> None:
    site.lead_among("head", "n1", "n2")
    await site.cluster.events()
    site.control.rename(site.control.with_name(f"{JOB}.2"))

    await site.clock.advance(TAKEN_OVER_S)

    assert [job.phase for job in (await site.cluster.state()).jobs] == [JobPhase.RUNNING]
    assert await site.cluster.events() == ()


async def test_a_coordinator_whom_the_others_left_has_not_stopped_its_job(site: Site) -> None:
    """It was cut off, gave up, and its last word names who may go on."""
    await site.cluster.events()
    word = {**site.launch.launcher.status(0), "code": 1, "heirs": ["n1", "n2"]}
    site.control.with_name(site.control.name + ENDED).write_text(json.dumps(word))
    site.control.unlink()

    state = await site.cluster.state()
    (event,) = await site.cluster.events()

    assert (state.jobs, event.kind) == ((), "lead_elsewhere")


async def test_nobody_may_go_on_without_one_that_ends_in_order_only_without_one_that_is_left() -> (
    None
):
    left, ends = coordinating("head", "n1", "n2"), coordinating("head", "n1", "n2")
    assert left.status(0)["heirs"] == ["n1", "n2"]

    for node in ("n1", "n2"):
        left.leave(node, ended=False)
    ends.give_way("it goes on elsewhere")

    assert (left.status(0)["heirs"], ends.status(0)["heirs"]) == (["n1", "n2"], [])


def coordinating(me: str, *others: str) -> Launcher:
    """Return a coordinator that the others follow."""
    words = tuple(f"{node}#1" for node in (me, *others))
    rally = Rally(Council(words[0], rosters=(Roster(words),)))
    launcher = Launcher(PLAN, Journal(None), rally)
    for node in others:
        rally.add(f"{node}#1", Place(node, "127.0.0.1", 0), lambda _: None)
        launcher.join(node, "127.0.0.1", Workers(node, launcher), 1)
    return launcher
