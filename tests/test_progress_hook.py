"""Ranks say how far they are without ever failing, and what they say is read whole."""

import contextlib
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.checks.check import Health
from agent.collect.reading import Reading
from agent.launch.jobside.gpumedic_job.progress import CHECK, PREFIX, RECORD, SIZE
from agent.progress.check import Progress as ProgressCheck
from agent.progress.reader import ProgressReader
from agent.progress.records import Record, decode, read, records
from core.clock import ManualClock
from core.target import Target
from core.types import Window
from detectors.progress import Hangs, Losses
from tests.real import small_volume

JOBSIDE = Path(__file__).parent.parent / "agent/launch/jobside"
HOOK = JOBSIDE / "gpumedic_job/progress.py"


@dataclass(slots=True)
class Writers:
    """A process with ranks in it."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[str] | None" = None

    def do(self, line: str) -> None:
        """Run a line of Python there and wait for its end."""
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"


@contextlib.contextmanager
def writing(folder: Path, **environ: str) -> Iterator[Writers]:
    known = {"PYTHONPATH": str(JOBSIDE), "GPUMEDIC_PROGRESS": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-S", str(Path(__file__).parent / "progress_writers.py")],
        env={"PATH": os.environ["PATH"], **known, **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Writers(folder, environ, process)
        finally:
            process.kill()


def found(folder: Path) -> list[Record]:
    return list(records((folder,), memory=folder / "no other"))


def test_what_a_rank_says_is_read_while_it_lives(tmp_path: Path) -> None:
    with writing(tmp_path, WORLD_SIZE="8") as ranks:
        ranks.do("begin('llm 70b', 3)")
        quiet = found(tmp_path)
        ranks.do("ranks[0].step(41, loss=2.5, grad_norm=1.5, data_wait_s=0.25, comm_wait_s=0.5)")
        ranks.do("ranks[0].step(42, loss=float('nan')); ranks[0].saved(40)")
        (said,) = found(tmp_path)
        pid = ranks.process and ranks.process.pid
    after = found(tmp_path)

    assert quiet == after == []
    assert (said.job, said.rank, said.world, said.pid) == ("llm_70b", 3, 8, pid)
    assert (said.step, said.steps, said.nan_steps, said.saved_step) == (42, 2, 1, 40)
    assert (said.data_s, said.comm_s) == (0.25, 0.5)
    assert math.isnan(said.loss)
    assert said.saved_s >= said.at_s - 60
    assert 0 < said.step_s < 60


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"GPUMEDIC_JOB": "mine", "SLURM_JOB_ID": "7", "RANK": "2"}, "mine.2"),
        ({"SLURM_JOB_ID": "7", "SLURM_PROCID": "5"}, "7.5"),
        ({"TORCHELASTIC_RUN_ID": "../../etc", "RANK": "0"}, "______etc.0"),
        ({"TORCHELASTIC_RUN_ID": "none", "RANK": "x"}, None),
    ],
)
def test_job_and_rank_are_what_the_launcher_says(
    tmp_path: Path, environ: dict[str, str], name: str | None
) -> None:
    code = f"exec(open({str(HOOK)!r}).read()); p = Progress(); p.step(1)"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code],
        env={"GPUMEDIC_PROGRESS": str(tmp_path), **environ},
        stderr=subprocess.PIPE,
    ) as process:
        assert process.communicate()[1] == b""

    assert [file.name for file in tmp_path.iterdir()] == ([name] if name else [])


def test_another_user_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    """In the folder that is a user's own; one that was named has the rights it was given."""
    own = Path("/dev/shm") / f"{PREFIX}{os.getuid()}"
    with writing(tmp_path / "named") as ranks:
        ranks.do("os.umask(0o077); begin('j', 0).step(1)")
        ranks.do(f"del os.environ['GPUMEDIC_PROGRESS']; begin('test-{os.getpid()}', 1).step(1)")
        modes = [file.stat().st_mode & 0o777 for file in (own, tmp_path / "named/j.0")]
        mine = [record for record in records() if record.job == f"test-{os.getpid()}"]
    (own / f"test-{os.getpid()}.1").unlink()
    with contextlib.suppress(OSError):  # another job's records may lie there
        own.rmdir()

    assert modes == [0o755, 0o644]
    assert [record.rank for record in mine] == [1]


def test_a_second_writer_and_a_child_change_nothing(tmp_path: Path) -> None:
    with writing(tmp_path) as first, writing(tmp_path) as second:
        first.do("begin('j', 0).step(5)")
        second.do("begin('j', 0).step(99)")
        first.do("pid = os.fork(); pid or (ranks[0].step(77), os._exit(0)); os.waitpid(pid, 0)")
        both = [record.step for record in found(tmp_path)]
        first.do("ranks[0].step(6)")
        later = [record.step for record in found(tmp_path)]

    assert (both, later) == ([5], [6])


def test_without_a_place_to_write_a_job_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "real").mkdir()
    (tmp_path / "real/j.1").symlink_to(tmp_path / "file")
    with writing(tmp_path / "file") as ranks:
        ranks.do("begin('j', 0).step(1); ranks[0].saved(1); list(ranks[0].waited([1, 2]))")
        ranks.do("ranks[0].step('no number', loss='x')")
        ranks.do("os.environ['GPUMEDIC_PROGRESS'] = '/proc/no/such'; begin('j', 0).step(1)")
        ranks.do(f"os.environ['GPUMEDIC_PROGRESS'] = {str(tmp_path / 'real')!r}")
        ranks.do("begin('j', 1).step(1)")

    assert (tmp_path / "file").read_text() == ""


def test_a_full_memory_does_not_fail_a_job(tmp_path: Path) -> None:
    with small_volume(tmp_path / "small", 4096) as folder:
        (folder / "all").write_bytes(b"x" * 4096)
        with writing(folder) as ranks:
            ranks.do("begin('j', 0).step(1)")
            full = found(folder)

    assert full == []


def test_waiting_for_data_is_measured(tmp_path: Path) -> None:
    """Time in the loop's body is not waiting; the batches are those of the loader."""
    with writing(tmp_path) as ranks:
        ranks.do("begin('j', 0); assert list(ranks[0].waited(range(3))) == [0, 1, 2]")
        ranks.do("ranks[0].step(0)")
        (said,) = found(tmp_path)

    assert 0 < said.data_s <= said.step_s


def whole(**changed: object) -> Record:
    plain = Record("j", 0, 1, 8, 41, 1000.0, 10, 5.0, 1.0, 0.5, 2.5, 1.0, 0, 40, 990.0)
    return replace(plain, **changed)  # type: ignore[arg-type]


@given(st.binary(max_size=2 * SIZE))
def test_bytes_that_are_no_record_are_none(data: bytes) -> None:
    assert decode(data, "j", 0) is None


@given(st.data())
def test_a_record_with_any_bit_wrong_is_none(data: st.DataObject) -> None:
    import zlib

    said = RECORD.pack(b"gmPr", 1, SIZE, 7, 8, 41, 10**9, 10, 5.0, 1.0, 0.5, 2.5, 1.0, 0, 40, 0)
    good = said + CHECK.pack(zlib.crc32(said))
    at = data.draw(st.integers(0, 8 * SIZE - 1))
    bad = bytearray(good)
    bad[at // 8] ^= 1 << at % 8

    record = decode(good, "j", 3)
    assert record is not None
    assert (record.step, record.pid, record.world, record.at_s) == (41, 7, 8, 1.0)
    assert decode(bytes(bad), "j", 3) is None


def test_strange_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "j.0")
    (tmp_path / "j.1").symlink_to("/etc/passwd")
    (tmp_path / "j.2").mkdir()
    (tmp_path / "notes.txt").write_bytes(b"x" * SIZE)
    (tmp_path / "j.3").write_bytes(b"x" * SIZE)
    others = tmp_path / f"{PREFIX}{os.getuid() + 1}"
    others.mkdir()

    assert [read(file) for file in sorted(tmp_path.iterdir())] == [None] * 6
    assert records((), memory=tmp_path) == ()


def readings(reader: ProgressReader) -> dict[tuple[str, str], float]:
    return {(r.metric, r.target.rank): r.value for r in reader.snapshot().readings}


def test_times_are_of_the_steps_since_the_last_look(clock: ManualClock) -> None:
    now = clock.now_s()
    planned = [
        (whole(at_s=now, saved_s=now - 30), whole(rank=1, comm_s=0.0)),
        (whole(step=51, steps=20, step_s=25.0, data_s=11.0, comm_s=1.5, saved_s=now - 30),),
        (whole(step=51, steps=20, step_s=25.0, data_s=11.0, comm_s=1.5, saved_s=0.0),),
        (whole(pid=2, step=40, steps=0, step_s=0.0, data_s=0.0, comm_s=0.0),),
    ]
    reader = ProgressReader("n1", lambda: planned.pop(0), clock)

    first, second, third, anew = (readings(reader) for _ in range(4))

    assert first["job_steps_total", ""] == 42
    assert first["job_step_time_s", ""] == pytest.approx(0.5)
    assert first["rank_step_time_s", "0"] == pytest.approx(0.35)
    assert first["rank_data_wait_s", "1"] == pytest.approx(0.1)
    assert first["job_loss", ""] == 2.5
    assert first["job_checkpoint_age_s", ""] == pytest.approx(30)
    assert ("rank_collective_time_s", "1") not in first
    assert second["job_step_time_s", ""] == pytest.approx(2.0)
    assert second["rank_step_time_s", "0"] == pytest.approx(0.9)
    assert second["rank_collective_time_s", "0"] == pytest.approx(0.1)
    assert third["rank_step_time_s", "0"] == pytest.approx(0.9)
    assert ("job_checkpoint_age_s", "") not in third
    assert anew["job_steps_total", ""] == 41
    assert ("job_step_time_s", "") not in anew


def window(metric: str, given: list[list[Reading]], every_s: float) -> dict[str, Window]:
    """Return one metric's readings of several looks as the controller has them."""
    target = next(r.target for looks in given for r in looks if r.metric == metric)
    value = [next(r.value for r in looks if r.metric == metric) for looks in given]
    time_s = np.arange(float(len(given))) * every_s
    return {metric: Window(metric, (target,), time_s, np.array([value]))}


@pytest.mark.parametrize(
    ("detector", "metric", "nans", "said"),
    [
        (Hangs(), "job_steps_total", 0, "stands at step"),
        (Losses(), "job_nan_steps_total", 3, "no number"),
    ],
    ids=["hang", "nan-loss"],
)
def test_the_controllers_detectors_understand_it(
    clock: ManualClock, detector: Hangs | Losses, metric: str, nans: int, said: str
) -> None:
    """Steps of a second until look 200; then the count stands, or the loss is no number."""
    every_s, now = 5.0, clock.now_s()
    planned = [
        whole(step=5 * min(k, 200), steps=5 * min(k, 200), step_s=5.0 * min(k, 200), saved_s=now)
        for k in range(300)
    ]
    planned = [replace(r, nan_steps=nans) if k >= 250 else r for k, r in enumerate(planned)]
    at = iter(planned)
    reader = ProgressReader("n1", lambda: (next(at),), clock)
    looks = [list(reader.snapshot().readings) for _ in planned]

    symptoms = detector.look(
        window(metric, looks, every_s), topology=None, now_s=every_s * (len(planned) - 1)
    )

    assert [anomaly.target for anomaly in symptoms.anomalies] == [Target(job="j")]
    assert said in symptoms.anomalies[0].text


@pytest.mark.parametrize(
    ("ranks", "health", "said"),
    [
        ([], 0, "no training here"),
        ([{}, {"rank": 1}, {"rank": 2}], 0, "job j at step 41"),
        ([{"at_s": -400.0}, {"rank": 5, "step": 40, "at_s": -401.0}], 2, "rank 5 at step 40"),
        ([{"at_s": -400.0, "step_s": 1e4}], 0, "at step 41"),
        ([{"at_s": -4000.0, "step": -1, "steps": 0}], 0, "at step -1"),
        ([{"data_s": 2.0}], 1, "waits for data for 40%"),
        ([{}, {"rank": 1}, {"rank": 2, "step_s": 7.0}], 1, "rank 2 computes 0.55 s a step"),
    ],
)
def test_a_node_judges_the_jobs_on_it(
    clock: ManualClock, ranks: list[dict[str, float]], health: int, said: str
) -> None:
    now = clock.now_s()
    found = tuple(whole(**{**each, "at_s": now + each.get("at_s", 0.0)}) for each in ranks)

    state = ProgressCheck(lambda: found, clock).run()

    assert state.health == health
    assert said in state.reason


def test_a_loss_that_is_no_number_is_told_when_it_comes(clock: ManualClock) -> None:
    now = clock.now_s()
    planned = [whole(at_s=now, nan_steps=2), whole(at_s=now, nan_steps=3)]
    check = ProgressCheck(lambda: (planned.pop(0),), clock)

    first, second = check.run(), check.run()

    assert (first.health, second.health) == (Health.HEALTHY, Health.UNHEALTHY)
    assert "no number in rank 0" in second.reason
