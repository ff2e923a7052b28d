"""A training's log says how far it is, in the forms that trainers write."""

import math
import os
from pathlib import Path

import pytest

from agent.local_jobs.holders import Holder
from agent.local_jobs.owners import Owner, Scheduler
from agent.progress.lines import Said, forms, newest, said
from agent.progress.logs import LogReader
from core.clock import ManualClock

BAR = "\N{FULL BLOCK}\N{LEFT ONE QUARTER BLOCK}        "


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"step": 41, "loss": 0.5}', Said(42, 0.5)),
        ('{"step": 41}', Said(42)),
        (
            " [2026-01-02 03:04:05] iteration      100/  500000 | consumed samples:        25600 | "
            "elapsed time per iteration (ms): 1234.5 | throughput per GPU (TFLOP/s/GPU): 400.1 | "
            "learning rate: 1.000000E-04 | global batch size:   256 | lm loss: 2.345678E+00 | "
            "loss scale: 1.0 | grad norm: 1.234 | number of skipped iterations:   0 | ",
            Said(100, 2.345678, 1.2345),
        ),
        (
            "Training epoch 0, iteration 9/999 | lr: 1e-05 | global_batch_size: 8 | global_step: 9"
            " | reduced_train_loss: 9.5 | train_step_timing in s: 1.25",
            Said(10, 9.5, 1.25),
        ),
        (
            "[2026-01-02 03:04:05,678] [INFO] [logging.py:96:log_dist] [Rank 0] step=10, "
            "skipped=0, lr=[1e-05], mom=[(0.9, 0.999)]",
            Said(10),
        ),
        ("steps: 10 loss: 2.3456 iter time (s): 1.5 samples/sec: 42.6", Said(10, 2.3456, 1.5)),
        (
            "[titan] 2026-01-02 03:04:05 - root - INFO - \x1b[31mstep: 10  \x1b[32mloss:  8.1234"
            "  \x1b[38;2;180;60;0mgrad_norm:  1.2000  memory: 40.00GiB(50%)\x1b[39m",
            Said(10, 8.1234),
        ),
        ("iter 100: loss nan, time 250.00ms, mfu 10.00%", Said(101, math.nan, 0.25)),
        (
            f"Epoch 3:  12%|{BAR}| 120/1000 [00:10<01:20, 11.00it/s, v_num=0, train_loss=2.30]",
            Said(3120, 2.3),
        ),
        (f" 12%|{BAR}| 120/1000 [01:23<10:03,  1.46it/s]", Said(120)),
        (f" 12%|{BAR}| 120/1000 [01:23<10:03,  2.50s/it]", Said(120, None, 2.5)),
        ("INFO train: Step 100 | Loss: 2.5 | lr 1e-4", Said(100, 2.5)),
        ("step=7, train_loss=1.5", Said(7, 1.5)),
        ("loading checkpoint shards: done", None),
        ("torch 2.13.0, step by step", None),
        ("step 5 loss 1.2.3", None),
        ("step 1 " + "x" * 3000, None),
        ("", None),
    ],
)
def test_a_line_says_how_far_it_is(line: str, expected: Said | None) -> None:
    assert repr(said(line)) == repr(expected)


def test_the_newest_whole_line_counts() -> None:
    """A progress bar rewrites its line; the last line is still being written."""
    log = "step 1 loss 3.0\nstep 2 loss 2.0\nsaving ...\r\nstep 3 lo"
    bars = f" 1%|{BAR}| 1/100 [00:01<01:40, 1.0it/s]\r 2%|{BAR}| 2/100 [00:02<01:40, 1.0it/s]\r 3%"

    assert newest(log) == Said(2, 2.0)
    assert newest(bars) == Said(2)
    assert newest("step 3 loss 1.0") is None
    assert newest("") is None


def test_every_form_has_a_step_and_comes_to_an_end_on_a_line_that_is_none() -> None:
    """A pattern with two nested repeats would take minutes on such a line."""
    for form in forms():
        assert "step" in form.pattern.groupindex
        assert form.said("iteration 1 | " * 140) is None


def test_a_number_that_no_training_reaches_is_no_step() -> None:
    """One job's log must not take the readings of all."""
    assert newest("step 7 loss 2\nstep " + "9" * 400 + " loss 1\n") == Said(7, loss=2.0)


async def test_a_jobs_log_is_found_by_its_process(tmp_path: Path, clock: ManualClock) -> None:
    """Steps, loss and the time of a step by what comes to it between two looks."""
    log, streams = tmp_path / "slurm-7.out", tmp_path / "proc/41/fd"
    streams.mkdir(parents=True)
    os.mkfifo(tmp_path / "pipe")
    (streams / "1").symlink_to(log)
    (streams / "2").symlink_to(tmp_path / "pipe")
    here = [held(41, "7"), held(42, "7", rank="1"), held(43, "8"), held(44, "")]
    told: list[str] = []
    reader = LogReader(lambda: here, lambda: told, clock, tmp_path / "proc")
    log.write_text("starting\n")
    seen = [values(reader)]
    for step, text in ((100, "step 100 loss 2.5"), (100, "saving"), (120, "step 120 loss nan")):
        log.write_text(f"step {step} loss 9\n{text}\n")
        await clock.advance(10)
        seen.append(values(reader))
    told.append("7")
    seen.append(values(reader))

    steps, loss, took = "job_steps_total", "job_loss", "job_step_time_s"
    assert seen == [
        {},
        {(steps, "7"): 100, (loss, "7"): 2.5},
        {(steps, "7"): 100, (loss, "7"): 2.5},
        {(steps, "7"): 120, (took, "7"): 1.0},
        {},
    ]


def held(pid: int, job: str, rank: str = "0") -> Holder:
    return Holder(pid, "1", "ann", "python", Owner(Scheduler.SLURM, job), rank)


def values(reader: LogReader) -> dict[tuple[str, str], float]:
    return {(r.metric, r.target.job): r.value for r in reader.snapshot().readings}
