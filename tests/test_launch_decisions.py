"""What the coordinator decides, with no process: who goes on from where, who is stuck."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from agent.launch import arguments
from agent.launch.agreeing import agree, is_kept
from agent.launch.cluster import beat_of, tuple_of
from agent.launch.coordinator import Coordinator
from agent.launch.jobside.gpumedic_job.layout import Beat, Phase
from agent.launch.members import Holdings, Member, Node, Seat, Stage, Stand
from agent.launch.plan import End, Kill, Message, Plan, Said, Start, Tell
from agent.launch.store import Stores
from agent.launch.watching import Watching
from core.errors import InputError
from tests.coordinating import Launch, stepping


def seats(nodes: str) -> list[Seat]:
    return [Seat(rank, node, 0, rank, uid=f"u{rank}") for rank, node in enumerate(nodes)]


def members(nodes: str, steps: str) -> list[Member]:
    """A digit: after so many steps; ``-``: fresh; ``!``: cut short in the update after step 7."""
    return [
        Member(
            uid=f"u{rank}",
            node=node,
            kind="rank",
            since_s=0.0,
            fresh=step == "-",
            valid=step != "!",
            step=int(step) if step.isdigit() else 7 * (step == "!"),
        )
        for rank, (node, step) in enumerate(zip(nodes, steps, strict=True))
    ]


@pytest.mark.parametrize(
    ("steps", "own", "copies", "step", "how"),
    [
        # The dead rank's own state after 7 steps lies in memory; the copy too.
        ("7-", {(0, 7), (1, 7)}, {7}, 7, ["keep/slot", "copy/slot"]),
        # No copy: the survivor sends.
        ("7-", {(0, 7), (1, 7)}, set(), 7, ["keep/slot", "receive/slot"]),
        # The dead rank had not finished step 7, the survivor had: back to 7, where all are whole.
        ("8-", {(0, 7), (0, 8), (1, 7)}, {7, 8}, 7, ["copy/slot", "copy/slot"]),
        # The same without a copy of 7: the survivor's 8, with random states drawn for the other.
        ("8-", {(0, 7), (0, 8), (1, 7)}, set(), 8, ["keep/slot", "receive/draw"]),
        # A survivor cut short in its update takes the copy of before.
        ("!-", {(0, 7), (1, 7)}, {7}, 7, ["copy/slot", "copy/slot"]),
        # All dead: the newest copy.
        ("--", {(0, 6), (0, 7), (1, 6), (1, 7)}, {6, 7}, 7, ["copy/slot", "copy/slot"]),
        # Nothing anywhere: as the script begins.
        ("--", set(), set(), 0, ["keep/keep", "receive/keep"]),
    ],
)
def test_ranks_go_on_from_the_newest_step_that_is_whole(
    steps: str, own: set[tuple[int, int]], copies: set[int], step: int, how: list[str]
) -> None:
    held = {"a": Holdings(frozenset(own), frozenset(copies))}

    agreed = agree(seats("aa"), members("aa", steps), held)

    assert agreed.step == step
    assert [f"{each.shared}/{each.own}" for each in agreed.takings] == how


def test_a_copy_on_a_node_is_sent_to_ranks_elsewhere() -> None:
    held = {"a": Holdings(copies=frozenset({7})), "b": Holdings()}

    agreed = agree(seats("ab"), members("ab", "--"), held)

    assert (agreed.step, agreed.source, agreed.receivers) == (7, 0, (1,))


@pytest.mark.parametrize(
    ("kept", "step", "moves"),
    [
        # The dead node's rank had told its keeper of step 7, not of 8: all go back to 7.
        ({(1, 6), (1, 7)}, 7, ((0, 1, 1),)),
        ({(1, 7), (1, 8)}, 8, ((0, 1, 1),)),
        # Its keeper was told too seldom: the state is drawn afresh, and no step is lost.
        ({(1, 5)}, 8, ()),
    ],
)
def test_a_dead_nodes_own_states_come_from_the_node_that_kept_them(
    kept: set[tuple[int, int]], step: int, moves: tuple[tuple[int, int, int], ...]
) -> None:
    held = {
        "a": Holdings(frozenset({(0, 7), (0, 8), *kept}), frozenset({7, 8})),
        "c": Holdings(),
    }

    agreed = agree(seats("ac"), members("ac", "8-"), held)

    assert (agreed.step, agreed.moves) == (step, moves)
    assert agreed.takings[1].own == ("receive" if moves else "draw")


def test_two_nodes_lost_at_once_go_to_two_spares() -> None:
    coordinator = Coordinator(Plan(min_nodes=3, max_nodes=3, max_restarts=2), launched=1)
    for name in "abcde":
        coordinator.node_joined(Node(name, "127.0.0.1", 1), 0.0)
    coordinator.take()
    for name in "bc":
        coordinator.node_lost(name, 1.0)

    assert [seat.node for seat in coordinator.seats] == ["a", "d", "e"]
    started = {each.node for each in coordinator.take() if isinstance(each, Start)}
    assert started >= {"d", "e"}


def test_a_rank_keeps_its_own_state_when_ranks_are_numbered_anew() -> None:
    coordinator = Coordinator(Plan(min_nodes=2, max_nodes=3), launched=1)
    for name in "abc":
        coordinator.node_joined(Node(name, "127.0.0.1", 1), 0.0)
    coordinator.node_lost("b", 1.0)

    assert [(seat.rank, seat.node, seat.number) for seat in coordinator.seats] == [
        (0, "a", 0),
        (1, "c", 2),
    ]


@pytest.fixture
def launch() -> Launch:
    return stepping()


def test_a_standby_is_started_once_the_job_steps() -> None:
    launch = Launch()
    launch.run()

    assert [each.kind for each in launch.orders if isinstance(each, Start)] == [
        "rank",
        "rank",
        "script",
    ]


def test_a_dead_rank_goes_to_the_standby_and_the_survivor_parks(launch: Launch) -> None:
    launch.say("a-3", "hello")
    launch.park("a-3", generation=1, fresh=True)
    launch.orders.clear()
    launch.say("a-2", "exited", code=-9, text="SIGKILL")
    assert launch.told("regroup") == ["a-1"]
    launch.park("a-1", generation=2)

    assert launch.told("form") == ["a-1", "a-3"]


def test_a_park_for_an_older_generation_does_not_count(launch: Launch) -> None:
    launch.say("a-2", "exited", code=-9, text="SIGKILL")
    launch.say("a-3", "hello")
    launch.park("a-3", generation=2, fresh=True)
    launch.park("a-1", generation=1)

    assert launch.told("form") == []


def test_silence_is_asked_about_and_who_is_still_is_killed(launch: Launch) -> None:
    launch.pass_time(1.2, 3)
    assert sorted(launch.told("ping")) == ["a-1", "a-2"]
    launch.say("a-1", "pong", stack=[])
    launch.say("a-2", "still", why="frozen")
    launch.pass_time(0.1, 3)

    assert launch.killed() == ["a-2"]


def test_who_does_not_answer_but_runs_is_asked_again_and_left_alone(launch: Launch) -> None:
    """A library may hold the interpreter for long, and compute."""
    for _ in range(20):
        launch.pass_time(1.2, 3)

    assert launch.told("ping").count("a-2") > 2
    assert launch.killed() == []
    launch.say("a-2", "still", why="frozen")  # since it was asked last
    launch.pass_time(0.1, 3)
    assert launch.killed() == ["a-2"]


def test_a_rank_that_answers_is_given_time_and_then_blamed_by_where_it_is(launch: Launch) -> None:
    """One rank saves a checkpoint, or sleeps for ever; the other waits for its gradients."""
    while not launch.killed():
        launch.wait(1.0, 3, {"a-1": Phase.ARRIVED})

    assert 30 < launch.now_s < 40
    assert launch.killed() == ["a-2"]
    (killed,) = (each for each in launch.orders if isinstance(each, Kill))
    assert "train.py:3 load" in killed.why


WORKS, WAITS, BETWEEN = Phase.STARTED, Phase.ARRIVED, Phase.OUTSIDE


@pytest.mark.parametrize(
    ("steps", "phases", "killed"),
    [
        (0, (WORKS, WORKS), []),  # a first step, in which all compile
        (0, (WAITS, WORKS), ["a-2"]),  # one longer than the other
        (4, (WORKS, WORKS), []),  # nobody is seen to wait
        (4, (BETWEEN, BETWEEN), []),  # all evaluate
        (4, (WAITS, BETWEEN), ["a-2"]),  # one does
        (4, (WORKS, BETWEEN), []),
    ],
)
def test_a_rank_may_work_for_long_where_others_are_not_seen_to_wait_for_its_step(
    steps: int, phases: tuple[Phase, Phase], killed: list[str]
) -> None:
    """It has as long as a new process, or twice --hang; then whom others wait for is killed."""
    for hang_s, long_s in ((1.0, 300.0), (500.0, 1000.0)):
        launch = Launch(hang_s=hang_s)
        launch.run(steps)
        step, where = max(0, steps - 1), dict(zip(("a-1", "a-2"), phases, strict=True))
        launch.wait(long_s - 2.0, step, where)
        assert launch.coordinator.generation == 1
        assert launch.killed() == []
        launch.wait(5.0, step, where)

        assert launch.killed() == killed
        assert launch.told("regroup")[2:] == ([] if killed else ["a-1", "a-2"])


def test_ranks_that_all_wait_are_given_a_new_group(launch: Launch) -> None:
    launch.wait(40.0, 3, {"a-1": Phase.ARRIVED, "a-2": Phase.ARRIVED})

    assert launch.told("regroup") == ["a-1", "a-2"]
    assert launch.killed() == []


def test_a_large_state_is_handed_out_for_as_long_as_pieces_of_it_come() -> None:
    launch = Launch()
    launch.form()
    for _ in range(100):
        launch.wait(20.0, 0)
        launch.signs += 1
    assert launch.coordinator.generation == 1

    began_s = launch.now_s
    for generation in range(2, 5):  # the pieces end: each attempt has twice the time
        while launch.coordinator.generation < generation:
            launch.wait(1.0, 0)
        for uid in ("a-1", "a-2"):
            launch.park(uid, generation=generation, fresh=True)
    assert launch.now_s - began_s == pytest.approx(60 + 120 + 240, abs=15)
    forms = [each.message for each in launch.orders if isinstance(each, Tell)]
    assert [e["connect_s"] for e in forms if e["kind"] == "form"][::2] == [3.0, 6.0, 12.0, 24.0]


def test_a_rank_that_does_not_end_though_killed_is_done_without(launch: Launch) -> None:
    """It waits in the kernel, for a disk that is gone; its end, should it come, is no news."""
    launch.say("a-3", "hello")
    launch.park("a-3", generation=1, fresh=True)
    launch.pass_time(1.2, 3)
    launch.say("a-2", "still", why="frozen")
    launch.wait(9.0, 3)
    assert launch.coordinator.generation == 1
    launch.wait(3.0, 3)
    launch.park("a-1", generation=2)
    launch.say("a-2", "exited", code=-9, text="SIGKILL")

    assert launch.told("form") == ["a-1", "a-3"]
    assert (launch.coordinator.generation, launch.coordinator.stage) == (2, Stage.FORMING)


def test_a_lost_peer_is_told_from_an_error_of_the_script(launch: Launch) -> None:
    launch.say("a-1", "failed", generation=1, error="Connection closed by peer [127.0.0.1]:1")
    launch.pass_time(1.1, 3)
    assert launch.told("regroup") == ["a-1", "a-2"]
    launch.say("a-1", "failed", generation=1, error="too late: of a generation that is over")

    other = Launch()
    other.run()
    other.say("a-1", "failed", generation=1, error="mat1 and mat2 shapes cannot be multiplied")
    other.pass_time(1.1, 3)
    assert (other.told("raise"), other.told("save")) == (["a-1"], [])


@pytest.mark.parametrize(
    ("phase", "copies", "told"),
    [
        (Phase.ARRIVED, set(), [{"kind": "abandon", "copy": True}]),
        (Phase.STARTED, {2}, [{"kind": "abandon", "copy": True}]),
        (Phase.ARRIVED, {2, 3}, [{"kind": "abandon", "copy": False}]),
    ],
)
def test_a_rank_that_does_not_leave_a_group_that_is_over_is_given_up_with_its_state_kept(
    launch: Launch, phase: Phase, copies: set[int], told: list[Message]
) -> None:
    launch.coordinator.nodes["a"].holdings = Holdings(copies=frozenset(copies))
    launch.say("a-2", "exited", code=-9, text="SIGKILL")
    launch.orders.clear()
    for _ in range(10):
        launch.pass_time(0.3, 3, phases={"a-1": phase})
        if launch.now_s < 2.0:
            assert launch.told("abandon") == []

    abandoned = [each.message for each in launch.orders if isinstance(each, Tell)]
    assert [each for each in abandoned if each["kind"] == "abandon"] == told


def test_a_survivor_between_its_steps_has_long_and_is_given_up_with_its_state_kept(
    launch: Launch,
) -> None:
    """It evaluates, and may be the only one that has the state."""
    launch.say("a-2", "exited", code=-9, text="SIGKILL")
    launch.say("a-3", "hello")
    launch.park("a-3", generation=2, fresh=True)
    launch.wait(298.0, 3, {"a-1": Phase.OUTSIDE})
    assert launch.told("abandon") == []
    launch.wait(5.0, 3, {"a-1": Phase.OUTSIDE})
    assert launch.told("abandon") == ["a-1"]
    launch.wait(295.0, 3, {"a-1": Phase.OUTSIDE})  # a large state takes long to leave, too
    assert launch.killed() == []
    launch.wait(10.0, 3, {"a-1": Phase.OUTSIDE})
    assert launch.killed() == ["a-1"]


@pytest.mark.parametrize(
    ("node", "changes", "kept"),
    [
        ("b", {"stand": Stand.READY, "step": 7}, True),
        ("b", {"stand": Stand.READY, "step": 8}, False),
        ("b", {"stand": Stand.READY, "step": 7, "valid": False}, False),
        ("b", {"stand": Stand.TOLD, "step": 7}, False),
        ("a", {"abandoned": "stuck"}, True),  # it leaves its copy in the one place of the node
        ("b", {"abandoned": "stuck"}, False),
    ],
)
def test_a_state_is_kept_where_another_rank_has_it(
    node: str, changes: dict[str, Any], kept: bool
) -> None:
    stuck, other = members(f"a{node}", "77")
    stuck.beat = Beat(1, 7, Phase.ARRIVED, 1)
    for name, value in changes.items():
        setattr(other, name, value)

    assert is_kept(stuck, [stuck, other], Holdings()) is kept


def test_a_save_that_failed_is_said_once_though_each_generation_tells_of_it(launch: Launch) -> None:
    known = {"problem": "No space left on device"}
    launch.say("a-1", "saved", checkpoint=known, failed=3, fenced=False)
    launch.say("a-1", "saved", checkpoint=known)  # as rank 0 does when it enters a generation

    said = [each.text for each in launch.orders if isinstance(each, Said)]
    assert said == ["no checkpoint of step 3: No space left on device"]
    assert launch.coordinator.checkpoint == known


def test_too_few_nodes_end_the_launch_in_time() -> None:
    coordinator = Coordinator(Plan(min_nodes=2, max_nodes=2, join_timeout_s=30.0), launched=1)
    coordinator.node_joined(Node("a", "127.0.0.1", 1), 0.0)
    coordinator.tick(29.0)
    assert not any(isinstance(each, End) for each in coordinator.take())
    coordinator.tick(31.0)

    (end,) = (each for each in coordinator.take() if isinstance(each, End))
    assert (end.code, end.text) == (1, "1 of 2 nodes joined in 30 s")


def test_standbys_that_cannot_start_are_given_up_with_a_reason(launch: Launch) -> None:
    for number in range(3, 6):
        launch.say(f"a-{number}", "exited", code=1, text="exit code 1")

    assert launch.coordinator.stage is Stage.RUNNING
    assert sum(isinstance(each, Start) for each in launch.orders) == 2
    assert any("must not need its rank" in str(each) for each in launch.orders)


def test_a_script_that_asks_for_no_rank_is_started_again_in_warm_processes() -> None:
    launch = Launch(standbys=2, max_restarts=1)
    launch.pass_time(25.0, 0)
    for uid in ("a-3", "a-4"):
        launch.say(uid, "warm")
    launch.orders.clear()
    launch.say("a-2", "exited", code=1, text="exit code 1")

    assert [each.uid for each in launch.orders if isinstance(each, Kill)] == ["a-1"]
    assert launch.told("go") == ["a-3", "a-4"]
    told = [each.message["environment"] for each in launch.orders if isinstance(each, Tell)]
    assert [each["RANK"] for each in told] == ["0", "1"]
    assert {each["TORCHELASTIC_RESTART_COUNT"] for each in told} == {"1"}


def test_ranks_are_released_only_when_all_have_done_all(launch: Launch) -> None:
    launch.say("a-1", "finished", generation=1, step=9)
    assert launch.told("release") == []
    launch.say("a-2", "finished", generation=1, step=9)

    assert launch.told("release") == ["a-1", "a-2"]


def test_ranks_that_all_leave_after_the_same_step_have_done_all(launch: Launch) -> None:
    """They stop early: one is gone before the other has left."""
    launch.say("a-1", "left", generation=1, step=4)
    launch.say("a-1", "exited", code=0, text="exit code 0")
    launch.wait(400.0, 4, {"a-2": Phase.OUTSIDE})  # a last evaluation
    launch.say("a-2", "left", generation=1, step=4)
    launch.wait(400.0, 4)
    launch.say("a-2", "exited", code=0, text="exit code 0")

    assert [each for each in launch.orders if isinstance(each, End)] == [
        End(0, "every rank is done")
    ]
    assert launch.coordinator.generation == 1


@pytest.mark.parametrize("phase", [Phase.STARTED, Phase.ARRIVED])
def test_a_rank_that_leaves_while_another_goes_on_is_named_and_ends_the_launch(
    launch: Launch, phase: Phase
) -> None:
    launch.say("a-2", "left", generation=1, step=4)
    launch.pass_time(0.1, 4, {"a-1": Phase.OUTSIDE})
    assert launch.coordinator.stage is Stage.RUNNING
    if phase is Phase.ARRIVED:  # its connections broke before it was seen to begin
        launch.say("a-1", "failed", generation=1, error="Connection closed by peer")
    launch.pass_time(0.1, 4, {"a-1": phase})

    (end,) = (each for each in launch.orders if isinstance(each, End))
    assert "rank 1 left its steps after 4 of them, and rank 0 goes on" in end.text


def test_a_rank_of_a_group_that_one_has_left_dies_and_both_are_replaced(launch: Launch) -> None:
    launch.say("a-2", "left", generation=1, step=4)
    launch.say("a-1", "exited", code=-9, text="SIGKILL")

    assert launch.killed() == ["a-2"]
    assert {seat.uid for seat in launch.coordinator.seats}.isdisjoint({"a-1", "a-2"})
    assert launch.coordinator.stage is Stage.GATHERING


def test_a_script_that_ends_before_its_last_step_is_not_begun_for_ever(launch: Launch) -> None:
    for number in range(1, 30):
        launch.say(f"a-{number}", "exited", code=0, text="exit code 0")

    (end,) = (each for each in launch.orders if isinstance(each, End))
    assert "step 3 failed 5 times: rank" in end.text
    assert "not by the end of `with Training(...)`" in end.text


def test_a_silence_is_measured_by_the_jobs_own_pace() -> None:
    slow = Watching(1.0, 300.0)
    member = Member("u", "a", "rank", 0.0, stand=Stand.IN, hooked=True)
    slow.begin(0.0)
    for step in range(5):
        member.beat = Beat(1, step, Phase.STARTED, 1)
        assert slow.look([member], 60.0 * step, Stage.RUNNING).ask == []

    assert slow.look([member], 240.0 + 290.0, Stage.RUNNING).ask == []
    assert slow.look([member], 240.0 + 310.0, Stage.RUNNING).ask == ["u"]


@pytest.mark.parametrize(("first", "has_stepped"), [(5, False), (6, True), (15, True)])
def test_a_first_step_is_noticed_even_if_the_first_beat_seen_is_of_a_later_one(
    first: int, has_stepped: bool
) -> None:
    watching = Watching(1.0, 300.0)
    member = Member("u", "a", "rank", 0.0, stand=Stand.IN, hooked=True)
    watching.begin(0.0, 5)
    member.beat = Beat(1, first, Phase.STARTED, 1)
    watching.look([member], 1.0, Stage.RUNNING)

    assert watching.has_stepped is has_stepped


def test_a_rank_on_another_node_is_seen_to_wait_for_the_others() -> None:
    """Who computes while others wait is slow, or stuck: the phase must survive the line."""
    beat = Beat(1, 7, Phase.ARRIVED, 1)

    found = beat_of(json.loads(json.dumps(tuple_of(beat))))

    assert (found, found.phase is Phase.ARRIVED) == (beat, True)


async def test_a_wait_for_a_key_ends_with_the_key_or_with_the_generation() -> None:
    stores = Stores()
    waits = [
        asyncio.ensure_future(stores.ask({"op": "get", "generation": 1, "key": key}))
        for key in "ab"
    ]
    await asyncio.sleep(0)
    await stores.ask({"op": "set", "generation": 1, "key": "a", "value": "x"})
    stores.over(2)

    assert [await wait for wait in waits] == [{"value": "x"}, {"over": True}]
    assert await stores.ask({"op": "get", "generation": 1, "key": "a"}) == {"over": True}


@pytest.mark.parametrize("text", ["0", "3:2", "two", "1:x"])
def test_a_bad_number_of_nodes_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"N or MIN:MAX"):
        arguments.node_counts(text)


def test_torchruns_arguments_are_read() -> None:
    assert arguments.node_counts("1:4") == (1, 4)
    assert arguments.endpoint("head:29400") == arguments.endpoint("head")
    waits = arguments.with_waits(Plan(), "join_timeout=5,last_call_timeout=1,keep_alive_interval=1")
    assert (waits.join_timeout_s, waits.last_call_s) == (5.0, 1.0)
    with pytest.raises(InputError, match="etcd"):
        arguments.backend("etcd")


def test_what_a_launch_cannot_use_is_refused_before_a_process_starts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(
        InputError, match=r"Starting nosuch\.py: there is no such file in .*-m starts"
    ):
        arguments.files(["nosuch.py", "--epochs"], None, None)
    with pytest.raises(InputError, match="with a port up to 65535"):
        arguments.endpoint("head:70000")
    with pytest.raises(InputError, match=r"nowhere/journal: No such file.*--journal takes"):
        arguments.files(None, tmp_path / "nowhere" / "journal", None)
    with pytest.raises(InputError, match=r"file: File exists.*--log-dir a folder"):
        arguments.files(None, None, tmp_path / "file")
