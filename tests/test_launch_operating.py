"""What an operator or the daemon may ask of a launch: done once, refused with a reason."""

import asyncio
import contextlib
import os
import sys
import tempfile
from pathlib import Path

import pytest

from agent.commands.launch import _lines
from agent.launch.asking import act, ask, ended, launches
from agent.launch.control import ENDED, Control, control_folder, control_path
from agent.launch.efforts import Efforts
from agent.launch.launcher import Journal
from agent.launch.members import Node, Stage
from agent.launch.operating import Operators
from agent.launch.plan import Asked, Kill
from agent.launch.status import status
from core.errors import InputError, SourceUnavailable
from tests.coordinating import Launch, stepping


@pytest.fixture
def launch() -> Launch:
    return stepping()


def test_an_action_is_done_once_for_its_key(launch: Launch) -> None:
    operators = Operators(launch.coordinator)
    answers = [operators.act(Asked("k", "restart_rank", "1"), 1.0) for _ in range(2)]

    assert [each["ok"] for each in answers] == [True, True]
    assert [each.uid for each in launch.coordinator.take() if isinstance(each, Kill)] == ["a-2"]


def test_an_action_that_would_lose_the_state_is_refused_and_may_be_asked_again(
    launch: Launch,
) -> None:
    answer = Operators(launch.coordinator).act(Asked("k", "swap_node", "a"), 1.0)

    assert answer == {"ok": False, "text": "no other node has the state", "later": False}
    launch.coordinator.stage = Stage.FORMING
    assert Operators(launch.coordinator).act(Asked("k", "swap_node", "a"), 1.0)["later"]


def test_a_restart_gives_each_rank_to_another_process(launch: Launch) -> None:
    Operators(launch.coordinator).act(Asked("k", "restart"), 1.0)

    orders = launch.coordinator.take()
    assert [each.uid for each in orders if isinstance(each, Kill)] == ["a-1", "a-2"]
    assert {seat.uid for seat in launch.coordinator.seats}.isdisjoint({"a-1", "a-2"})
    assert launch.coordinator.restarts == 0  # the operator's, not one of those that are counted


def test_a_node_that_is_held_is_given_no_ranks_until_it_is_released(launch: Launch) -> None:
    operators, coordinator = Operators(launch.coordinator), launch.coordinator
    coordinator.node_joined(Node("b", "127.0.0.1", 2), 0.0)
    operators.act(Asked("k1", "hold", "b", by="ada", why="fan"), 1.0)
    coordinator.node_lost("b", 1.0)
    coordinator.node_joined(Node("b", "127.0.0.1", 2), 2.0)  # it comes back, and is held still

    assert coordinator.spares() == {}
    assert not operators.act(Asked("k2", "hold", "b", by="gpumedic"), 2.0)["ok"]
    operators.act(Asked("k3", "release", "b"), 3.0)
    assert [*coordinator.spares()] == ["b"]


def test_what_is_asked_of_a_node_without_ranks_disturbs_nobody(launch: Launch) -> None:
    coordinator, operators = launch.coordinator, Operators(launch.coordinator)
    coordinator.node_joined(Node("b", "127.0.0.1", 2), 0.0)
    coordinator.seating.add("c")
    coordinator.nodes["c"] = Node("c", "127.0.0.1", 3)
    before = [seat.node for seat in coordinator.seats], coordinator.generation

    swapped = operators.act(Asked("k1", "swap_node", "d"), 1.0)
    resized = operators.act(Asked("k2", "resize", "1", leave="d"), 1.0)

    assert [swapped["text"], resized["text"]] == ["d has no ranks here"] * 2
    assert ([seat.node for seat in coordinator.seats], coordinator.generation) == before


@pytest.mark.parametrize(
    ("kind", "target"), [("restart_rank", "0"), ("checkpoint", ""), ("checkpoint_interval", "60")]
)
def test_a_rank_that_has_done_all_cannot_be_asked(launch: Launch, kind: str, target: str) -> None:
    launch.coordinator.checkpoint = {"problem": ""}
    for uid in ("a-1", "a-2"):
        launch.say(uid, "finished", generation=1, step=9)
    launch.say("a-1", "exited", code=0, text="exit code 0")

    answer = Operators(launch.coordinator).act(Asked("k", kind, target), 1.0)

    assert answer == {"ok": False, "text": "rank 0 has done all its steps", "later": False}


def test_a_launch_outlives_whoever_read_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    journal = Journal(None)
    nobody = os.fdopen(writes, "w")
    monkeypatch.setattr(sys, "stderr", nobody)
    try:
        journal.add("node b joined")
    finally:
        with contextlib.suppress(BrokenPipeError):
            nobody.close()

    assert [each["text"] for each in journal.lines] == ["node b joined"]


def test_only_a_node_with_ranks_says_what_they_cost(launch: Launch) -> None:
    seen = {"control": "c", **status(launch.coordinator, Efforts())}
    kept = {"fork_server_bytes": 0, "kept_state_bytes": 0, "supervisor_bytes": 0}
    here = {**seen, **kept, "memory_bytes": {"a-1": 2 << 20, "a-2": 3 << 20, "a-3": 4 << 20}}

    assert not any("MiB" in line for line in _lines(seen))
    assert "memory on this node: standbys 4 MiB" in _lines(here)[-1]
    assert "ranks 5 MiB" in _lines(here)[-1]


async def test_the_control_endpoint_answers_and_refuses(tmp_path: Path) -> None:
    control = Control(
        tmp_path / "c",
        lambda since: {"since": since},
        lambda asked: {"ok": False, "text": f"not now: {asked.kind}"},
    )
    await control.open()
    try:
        where = tmp_path / "c"
        assert (await asyncio.to_thread(ask, where, "GET", "/v1/status"))["since"] < 0
        assert await asyncio.to_thread(launches, tmp_path, since={where: 7}) == (
            [{"control": str(where), "since": 7}],
            [],
        )
        assert (await asyncio.to_thread(act, where, Asked("k", "x")))["text"] == "not now: x"
        assert "key" in (await asyncio.to_thread(ask, where, "POST", "/v1/actions", {}))["text"]
        assert where.stat().st_mode & 0o077 == 0
    finally:
        control.leave({"code": 1})
        control.close()
    assert ended(tmp_path) == [{"control": str(where), "code": 1}]
    assert launches(tmp_path) == ([], [])
    with pytest.raises(SourceUnavailable):
        ask(tmp_path / "c", "GET", "/v1/status")


async def test_who_speaks_no_http_is_let_go(tmp_path: Path) -> None:
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: problems.append(said))
    control = Control(tmp_path / "c", lambda since: {}, lambda asked: {})
    await control.open()
    try:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "c")
        writer.write(b"x" * (1 << 17))
        async with asyncio.timeout(5.0):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.close()
    finally:
        control.close()
    assert problems == []


def test_a_folder_that_others_made_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / f"job.1{ENDED}").write_text('{"code": 0}')
    control_folder().symlink_to(theirs)

    assert ended() == []
    assert launches() == ([], [])
    with pytest.raises(InputError, match="others made it"):
        control_path("job")

    control_folder().unlink()
    assert control_path("job").parent == control_folder()
