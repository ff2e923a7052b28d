"""What Slurm's versions say is read alike: recorded from 22.05.8, 24.11.5 and 26.05.5."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.act.slurm.declared import Declared, declared
from agent.act.slurm.hosts import expand
from agent.act.slurm.kept import JobNote, Kept, Return
from agent.act.slurm.picture import Look, Seen, held_by, is_away, picture, reason_of
from agent.act.slurm.reading import config_in, leaves_in
from agent.act.slurm.records import (
    Reservation,
    SlurmJob,
    SlurmNode,
    gpus_in,
    indices_in,
    jobs_in,
    nodes_in,
    reservations_in,
    reservations_in_text,
    version_in,
)
from core.cluster import OWNER, ClusterState, JobPhase, NodeCondition
from core.errors import InputError

GOLDEN = Path(__file__).parent / "golden" / "slurm"
# Files of nodes and jobs, oldest interface first.
SAID = [
    ("22.05/sinfo.json", "22.05/squeue.json"),
    ("24.11/nodes_v0.0.40.json", "24.11/jobs_v0.0.40.json"),
    ("24.11/nodes.json", "24.11/jobs.json"),
    ("26.05/nodes_v0.0.43.json", "26.05/jobs_v0.0.43.json"),
    ("26.05/nodes.json", "26.05/jobs.json"),
]
EACH = pytest.mark.parametrize("said", SAID, ids=[jobs.partition(".json")[0] for _, jobs in SAID])
Names = tuple[str, str]


def read(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text())


def nodes_of(said: Names) -> dict[str, SlurmNode]:
    return {node.name: node for node in nodes_in(read(said[0]))}


def jobs_of(said: Names) -> dict[str, SlurmJob]:
    return {f"{job.name}-{job.id}": job for job in jobs_in(read(said[1]))}


def seen(said: Names, kept: Kept | None = None) -> ClusterState:
    spares = (Reservation("gpumedic_spares", ("n4",), frozenset()),)
    look = Look(1.8e9, nodes_in(read(said[0])), jobs_in(read(said[1])), spares)
    nothing = Seen(lambda folder: None, lambda job: None)
    return picture(look, kept or Kept(), spares="gpumedic_spares", seen=nothing)


@EACH
def test_nodes_are_read_alike(said: Names) -> None:
    nodes = nodes_of(said)

    assert list(nodes) == ["n1", "n2", "n3", "n4"]
    assert {"DRAIN"} <= nodes["n2"].state
    assert {"DOWN", "DRAIN", "NOT_RESPONDING"} == nodes["n3"].state
    assert {"IDLE", "RESERVED"} == nodes["n4"].state
    assert all(node.gpus == 8 and node.up_s > 1.79e9 for node in nodes.values())
    assert nodes["n2"].reason_by == "root"
    assert nodes["n2"].reason_s > 1.79e9
    assert nodes["n1"].reason_s == 0


@EACH
def test_jobs_are_read_alike(said: Names) -> None:
    jobs = jobs_of(said)

    train, small, broken = jobs["train-1"], jobs["small-2"], jobs["broken-6"]
    assert (set(train.state), train.why, train.restarts) == ({"PENDING"}, "BeginTime", 1)
    assert (train.comment, train.gpus_asked) == ("gpumedic: nodes=1-3 signal=USR1", 4)
    assert (train.least_nodes, train.nodes, train.batch, train.requeue) == (2, (), True, True)
    assert (set(small.state), small.nodes, small.gpus) == ({"RUNNING"}, ("n1",), ((4, 5),))
    assert (set(broken.state), broken.requeue) == ({"FAILED"}, False)
    assert jobs["held-5"].why == "JobHeldUser"
    assert jobs["wide-3"].least_nodes == 4
    assert small.submit_s < small.start_s < 2e9


@EACH
def test_a_task_of_an_array_is_called_by_the_array_and_its_own_number(said: Names) -> None:
    called = {name: job.called for name, job in jobs_of(said).items()}

    # The last task has the number of the whole array.
    assert (called["train-1"], called["many-8"], called["many-7"]) == ("1", "7_1", "7_2")


@EACH
def test_the_picture_is_the_same_whichever_version_says_it(said: Names) -> None:
    had = JobNote(nodes=("n2", "n3"), gpus=((0, 1), (4, 5)))
    state = seen(said, Kept(jobs={"1": had}))

    nodes = {node.name: (node.condition, node.owner, node.spare) for node in state.nodes}
    assert nodes == {
        "n1": (NodeCondition.READY, "", False),
        "n2": (NodeCondition.CORDONED, OWNER, False),
        "n3": (NodeCondition.DOWN, "root", False),
        "n4": (NodeCondition.READY, "", True),
    }
    jobs = {job.id: job for job in state.jobs}
    assert "6" not in jobs  # it has failed and its owner does not want it started again
    assert jobs["1"].phase is JobPhase.STOPPED  # only its requeue holds it back
    assert (jobs["1"].least_nodes, jobs["1"].most_nodes, jobs["1"].kind) == (1, 3, "elastic")
    assert jobs["1"].nodes == ("n3",)  # another job has n2 by now
    assert state.topology.nodes_of_job("1") == ("n3",)
    assert jobs["4"].phase is jobs["5"].phase is JobPhase.PENDING  # people hold these back
    assert (jobs["2"].phase, jobs["2"].gpus) == (JobPhase.RUNNING, 2)
    assert state.topology.nodes_of_job("2") == ("n1",)
    assert len(state.topology.gpus_of_node("n1")) == 8


@EACH
def test_a_node_that_we_took_out_while_it_was_down_is_there_once_it_answers(said: Names) -> None:
    silent = replace(nodes_of(said)["n3"], reason=reason_of("node_silent on n3", "p:0:cordon"))
    answers = replace(silent, state=silent.state - {"NOT_RESPONDING"})
    theirs = replace(answers, reason="fan", reason_by="ada")
    reboots = replace(answers, state=answers.state | {"REBOOT_ISSUED"})

    away = [is_away(each) for each in (silent, answers, theirs, reboots)]
    assert away == [True, False, True, True]


@pytest.mark.parametrize(
    ("why", "by_us", "phase"),
    [
        ("ReqNodeNotAvail", False, JobPhase.STOPPED),
        ("JobHeldUser", False, JobPhase.PENDING),
        ("JobHeldAdmin", False, JobPhase.PENDING),
        ("ReqNodeNotAvail", True, JobPhase.PENDING),
    ],
)
def test_a_job_has_stopped_that_slurm_put_back_as_its_node_is_away(
    why: str, by_us: bool, phase: JobPhase
) -> None:
    jobs = tuple(replace(job, why=why) for job in jobs_in(read("26.05/jobs.json")) if job.id == 1)
    look = Look(1.8e9, nodes_in(read("26.05/nodes.json")), jobs)
    ours = {"1": Return(1, "p1:0:swap_node", 1.8e9)} if by_us else {}
    kept = Kept(jobs={"1": JobNote(nodes=("n2", "n3"))}, returns=ours)  # n3 is down
    nothing = Seen(lambda folder: None, lambda job: None)

    found = picture(look, kept, spares="gpumedic_spares", seen=nothing).job("1")
    assert found is not None
    assert found.phase is phase


@pytest.mark.parametrize(
    ("held", "phase"),
    [
        # What 22.05.8 wrote after a prolog that failed.
        (("JobHeldUser", "launch failed requeued held"), JobPhase.STOPPED),
        (("JobHeldUser", "launch_failed_requeued_held"), JobPhase.STOPPED),
        (("JobHeldUser", ""), JobPhase.PENDING),
        (("JobHeldAdmin", ""), JobPhase.PENDING),
    ],
)
def test_a_requeued_job_that_a_person_holds_is_theirs_and_one_that_slurm_holds_has_stopped(
    held: tuple[str, str], phase: JobPhase
) -> None:
    rows = [row for row in read("22.05/squeue.json")["jobs"] if row["job_id"] == 1]
    rows[0] |= dict(zip(("state_reason", "state_description"), held, strict=True))
    look = Look(1.8e9, nodes_in(read("22.05/sinfo.json")), jobs_in({"jobs": rows}))
    nothing = Seen(lambda folder: None, lambda job: None)

    found = picture(look, Kept(), spares="gpumedic_spares", seen=nothing).job("1")
    assert found is not None
    assert found.phase is phase


@EACH
def test_a_job_that_we_bring_back_is_starting_while_its_requeue_holds_it(said: Names) -> None:
    state = seen(said, Kept(returns={"1": Return(1, "p1:0:restart_job", 1.8e9)}))

    found = state.job("1")
    assert found is not None
    assert found.phase is JobPhase.STARTING


def test_reservations_are_read_from_text_and_from_json_alike() -> None:
    text = reservations_in_text((GOLDEN / "22.05/reservations.txt").read_text())

    assert text == reservations_in(read("24.11/reservations.json"))
    assert text == reservations_in(read("26.05/reservations.json"))
    assert text[0].nodes == ("n4",)


@pytest.mark.parametrize("version", ["22.05", "24.11", "26.05"])
def test_the_version_and_the_settings_are_read(version: str) -> None:
    config = config_in((GOLDEN / version / "config.txt").read_text())
    year, month = version_in((GOLDEN / version / "version.txt").read_text())

    assert f"{year}.{month:02d}" == version
    assert config["RebootProgram"].endswith("reboot.sh")
    assert config["SlurmUser"].startswith("root")
    assert config["AccountingStorageType"] in ("", "accounting_storage/none")


def test_a_version_that_is_none_is_said_so() -> None:
    with pytest.raises(InputError, match=r"sinfo --version"):
        version_in("bash: sinfo: command not found")


@pytest.mark.parametrize(
    ("short", "names"),
    [
        ("", ()),
        ("(null)", ()),
        ("n1", ("n1",)),
        ("n[1-3,7],login", ("n1", "n2", "n3", "n7", "login")),
        ("r[1-2]n[08-10]", ("r1n08", "r1n09", "r1n10", "r2n08", "r2n09", "r2n10")),
        ("gpu[001-002]-ib,x-y.site", ("gpu001-ib", "gpu002-ib", "x-y.site")),
    ],
)
def test_lists_of_names_are_expanded(short: str, names: tuple[str, ...]) -> None:
    assert expand(short) == names


@pytest.mark.parametrize(
    "short", ["n[1-", "n]1", "n[a-b]", "n[1-99999999999]", "n1;reboot", "-n1", "n1 n2", "$(x)"]
)
def test_what_is_no_list_of_names_is_refused(short: str) -> None:
    with pytest.raises(InputError, match="list of nodes"):
        expand(short)


@given(st.text(max_size=40))
def test_any_text_is_a_list_of_safe_names_or_refused(text: str) -> None:
    try:
        names = expand(text)
    except InputError:
        return
    assert all(name.isascii() and name[0] != "-" and " " not in name for name in names)


@pytest.mark.parametrize(
    ("gres", "count"),
    [
        ("gpu:h100:8", 8),
        ("gpu:8(S:0-1)", 8),
        ("gres:gpu:4", 4),
        ("gres/gpu:4", 4),
        ("gres/gpu=16", 16),
        ("gpu:a100:2,gpu:h100:3,nic:1", 5),
        ("", 0),
        ("(null)", 0),
    ],
)
def test_gpus_are_counted(gres: str, count: int) -> None:
    assert gpus_in(gres) == count


def test_which_gpus_a_job_has_is_read() -> None:
    assert indices_in("gpu:h100:4(IDX:0-2,5)") == (0, 1, 2, 5)
    assert indices_in("gpu:h100:0(IDX:N/A)") == ()


@pytest.mark.parametrize(
    ("reason", "by", "owner", "why"),
    [
        (reason_of("xid 79", "p1:0:cordon"), "root", OWNER, "xid 79"),
        (reason_of("xid [79] : x", "k") + " : reboot issued", "root", OWNER, "xid (79)"),
        (reason_of("dead", "k") + " : Not responding", "slurm", OWNER, "dead"),
        ("ada: fan", "root", "ada", "fan"),
        ("NHC: check_fs failed", "root", "NHC", "check_fs failed"),
        ("fan broken", "ada", "ada", "fan broken"),
        ("Kill task failed", "root", "slurm", "Kill task failed"),
        ("gres/gpu count reported lower", "slurm", "slurm", "gres/gpu count reported lower"),
        ("not gpumedic: x", "ada", "ada", "not gpumedic: x"),
    ],
)
def test_who_took_a_node_out_is_told_by_its_reason(
    reason: str, by: str, owner: str, why: str
) -> None:
    node = SlurmNode("n1", frozenset({"IDLE", "DRAIN"}), reason, by, 1.0, 1.0, 8, (), ())

    assert (held_by(node).owner, held_by(node).reason) == (owner, why)


def test_a_lemon_is_marked_in_its_reason() -> None:
    reason = reason_of("three Xids", "p1:0:quarantine", lemon=True)
    node = SlurmNode("n1", frozenset({"IDLE", "DRAIN"}), reason, "root", 1.0, 1.0, 8, (), ())

    assert (held_by(node).mark, held_by(node).reason) == ("lemon", "three Xids")


@pytest.mark.parametrize(
    ("comment", "found"),
    [
        ("", Declared()),
        ("my own words", Declared()),
        ("llama run 7; gpumedic: nodes=2-6 unit=2", Declared(least=2, most=6, unit=2)),
        ("gpumedic: signal=SIGUSR1 checkpoint=/c/r7", Declared(signal="USR1", checkpoint="/c/r7")),
        ("gpumedic: signal=KILL checkpoint=r7 nodes=6-2", Declared()),
        ("gpumedic: interval=1800 live=yes nodes=4", Declared(4, 4, interval_s=1800.0, live=True)),
        ("gpumedic: interval=0 unit=0 nodes=x", Declared()),
    ],
)
def test_what_an_owner_declares_is_read_from_the_comment(comment: str, found: Declared) -> None:
    assert declared(comment) == found


def test_leaf_switches_are_read_from_the_topology() -> None:
    text = (
        "SwitchName=leaf0 Level=0 LinkSpeed=1 Nodes=n[1-2]\n"
        "SwitchName=leaf1 Level=0 LinkSpeed=1 Nodes=n3\n"
        "SwitchName=spine Level=1 LinkSpeed=1 Nodes=n[1-3] Switches=leaf[0-1]\n"
    )

    assert leaves_in(text) == {"n1": "leaf0", "n2": "leaf0", "n3": "leaf1"}


@pytest.mark.parametrize("answer", [None, [], {}, {"nodes": [{}]}, {"nodes": [{"state": 1}]}])
def test_an_answer_in_a_form_nobody_knows_is_said_so(answer: Any) -> None:
    with pytest.raises(InputError, match=r"22\.05 to 26\.05"):
        nodes_in(answer)


def test_what_is_kept_survives_a_restart_and_a_torn_file_does_not_stop_one(tmp_path: Path) -> None:
    path = tmp_path / "slurm.json"
    kept = Kept.read(path)
    kept.orders["p1:0:cordon"] = 1e9
    kept.jobs["7"] = JobNote(nodes=("n1", "n2"), placed=("n1",))
    kept.write(now_s=1e9 + 60)

    assert Kept.read(path) == kept
    path.write_text(path.read_text()[:40])
    assert Kept.read(path) == Kept(path=path)


@EACH
def test_priorities_fit_what_decides_and_keep_their_order(said: Names) -> None:
    known = {str(job.id): job.priority for job in jobs_of(said).values()}

    told = [(known[job.id], job.priority) for job in seen(said).jobs]
    assert all(0 <= shown < 1 << 31 for _, shown in told)
    assert sorted(told) == sorted(told, key=lambda each: each[1])
