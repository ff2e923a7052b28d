"""What the recovery benchmark makes of what it saw; its runs are real and take minutes."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.bench.recovery import peer_systems
from agent.bench.recovery_rows import OURS, Seen, results_of, rows_of
from agent.bench.recovery_runs import Memory, Record, Recovery, Running, running, tear
from agent.bench.recovery_systems import PEERS, Start, System
from core.figures import Row

PEER = System.name


def record(step: int, rank: int, began_s: float, ended_s: float, parameters: int = 5) -> Record:
    times = {"began_s": began_s, "ended_s": ended_s}
    what = {"step": step, "rank": rank, "world": 2, "pid": 1}
    return {**what, **times, "loss": 0.5, "parameters": parameters}


def seen(found: dict[tuple[str, int, str], list[Recovery]]) -> dict[tuple[str, str], Row]:
    rows = rows_of(Seen(recoveries=found), {}, "")
    return {(row.metric, row.note.split(";")[0]): row for row in rows}


def test_each_fault_is_held_against_the_best_peer() -> None:
    rows = seen(
        {
            ("kill", 2, PEER): [Recovery(6.0, 6.0, 14), Recovery()],
            ("kill", 2, "worse"): [Recovery(1.0, 9.0, 14)],
            ("kill", 2, OURS): [Recovery(0.2, t, 0) for t in (0.2, 0.4, 0.3)],
            ("hang", 2, OURS): [Recovery(1.2, 1.3, 1)],
            ("hang", 2, PEER): [Recovery()],
        }
    )

    assert rows["kill_full_width_s", OURS].value == 0.3
    best = rows["ratio_vs_best_peer", f"kill, 2 ranks, full width: {PEER}"]
    assert best.value == pytest.approx(0.05)
    assert best.ok is True
    assert (
        rows["ratio_vs_best_peer", "hang, 2 ranks, full width: no peer within the limit"].ok is None
    )
    assert (rows["steps_lost", OURS].ok, rows["steps_lost", PEER].value) == (False, 14.0)
    assert (rows["recovered_ratio", OURS].ok, rows["recovered_ratio", OURS].n) == (True, 4)
    assert rows["recovered_ratio", PEER].value == 1 / 3


def test_a_peer_is_started_from_wherever_its_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = PEERS[0]
    program = tmp_path / peer.folder / "bin" / peer.program
    program.parent.mkdir(parents=True)
    program.touch()
    monkeypatch.chdir(tmp_path)
    found = Seen()

    systems = peer_systems(Path(), found)

    assert {each.python for each in systems} == {str(program.parent / "python")}
    assert {name for name, why in found.skipped if "left out" in why} == {
        kind.name for each in PEERS[1:] for kind in each.systems
    }


def test_nothing_is_asked_where_all_ranks_are_gone_but_that_it_is_told() -> None:
    rows = seen(
        {("torn", 2, PEER): [Recovery(8.0, 8.0, 34)], ("torn", 2, OURS): [Recovery(6.0, 6.0, 1)]}
    )
    lost = rows["steps_lost", OURS]
    ratio = rows["ratio_vs_best_peer", f"torn, 2 ranks, full width: {PEER}"]

    assert (ratio.value, ratio.ok, lost.value, lost.ok) == (0.75, None, 1, None)


def test_memory_and_goodput_and_what_was_left_out_are_reported() -> None:
    found = Seen(
        memory={(2, OURS): Memory(2**20, 2 * 2**20, 3 * 2**20)},
        goodput={OURS: 0.9},
        skipped=[("other", "left out; to have it: do this")],
    )
    rows = {row.metric: row for row in rows_of(found, {}, "one killed every 30 s")}

    assert [rows[f"{of}_memory"].value for of in ("rank", "standby", "supervisor")] == [1, 2, 3]
    assert rows["goodput_under_kills"].ok is False
    assert rows["recovered_ratio"].value is None
    assert "to have it" in rows["recovered_ratio"].note


def test_steps_after_a_fault_are_held_against_the_same_steps_undisturbed() -> None:
    """A step that was done twice counts twice; one whose ranks differ is not the same."""
    records = [record(3, rank, 0.0, 0.5) for rank in (0, 1)]  # before the fault
    records += [record(step, rank, 2.0, 3.0) for step in (4, 5) for rank in (0, 1)]
    records += [record(4, rank, 4.0, 5.0, parameters=rank) for rank in (0, 1)]
    records += [record(6, 0, 6.0, 7.0)]  # not done by all
    results = list(results_of(records, 2, 1.0))
    rows = {
        row.metric: row
        for row in rows_of(
            Seen(results={(2, OURS): results}),
            {2: {4: (5, 0.5), 5: (6, 0.25), 6: (5, 0.5)}},
            "",
        )
    }

    assert rows["same_parameters"].value == pytest.approx(1 / 3)
    assert (rows["same_parameters"].n, rows["same_parameters"].ok) == (3, False)
    assert rows["loss_difference"].value == 1.0


def test_full_width_is_a_step_that_every_rank_began_after_the_fault(tmp_path: Path) -> None:
    now_s = time.monotonic()
    said = [
        record(7, 0, now_s - 1.0, now_s + 0.1),
        record(7, 1, now_s - 1.0, now_s - 0.5),
        record(8, 0, now_s + 0.2, now_s + 0.3),
        record(9, 0, now_s + 0.4, now_s + 0.5),
        record(9, 1, now_s + 0.4, now_s + 0.6),
    ]
    with (tmp_path / "steps").open("w") as file:
        for each in said:
            file.write(json.dumps(each) + "\n")
        file.write('{"step": 10, "ra')  # a line that is being written
    job = Running(System(), tmp_path, 2)

    assert job.whole_steps(now_s) == {9: now_s + 0.6}
    assert job.whole_steps() == {7: now_s + 0.1, 9: now_s + 0.6}


class Stubborn(System):
    """Starts a process that hears no signal, in a session of its own, and ends."""

    def starts(self, folder: Path, world: int, nodes: int, spares: int) -> Iterator[Start]:
        deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(999)"
        apart = f"[{sys.executable!r}, '-c', {deaf!r}], start_new_session=True"
        yield Start([sys.executable, "-c", f"import subprocess; subprocess.Popen({apart})"])


def test_a_job_leaves_no_process_and_no_file_whatever_it_started() -> None:
    with running(Stubborn(), 2) as job:
        job.started[0].wait()
        left = job.processes()
        job.records.append(record(1, 0, 0.0, 1.0))

    assert len(left) == 1
    assert job.processes() == {}
    assert not job.folder.exists()


def test_a_torn_checkpoint_is_half_of_the_newest(tmp_path: Path) -> None:
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(999)"])
    (tmp_path / "old.pt").write_bytes(bytes(4 * 2**20))
    newest = tmp_path / "checkpoint.pt" / "state"
    newest.parent.mkdir()
    newest.write_bytes(bytes(4 * 2**20))
    (tmp_path / "steps").write_text("")
    job = Running(System(), tmp_path, 1)
    job.records.append(record(1, 0, 0.0, 1.0) | {"pid": victim.pid})

    tear(job)

    assert victim.wait() == -9
    assert (newest.stat().st_size, (tmp_path / "old.pt").stat().st_size) == (2 * 2**20, 4 * 2**20)


def test_a_peer_that_is_not_there_is_known_by_how_to_make_it(tmp_path: Path) -> None:
    assert [peer.found(tmp_path) for peer in PEERS] == [False, False, False]
    assert all("pip install torch==" in peer.how() for peer in PEERS)
