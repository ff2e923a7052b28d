"""A small training to be broken: four fixed shards of data in doubles, and a loss a step.

A file to run, not to import. Under ``gpumedic launch`` it is handed over; where RANK and WORLD_SIZE
are set it is a torchrun script that reads its newest whole checkpoint; else it is one process, the
undisturbed run. The loss of a step is the mean over all shards, so that it is the same, to the last
digits, on however many ranks: rank r has the shards r, r + world, ...

DIR/losses.jsonl gets a line a step by rank 0; DIR/stop-at, once written, names the last step;
where DIR/save-now is, a torchrun script saves after the step it is in. It goes on where a disk is
full, and says so. Where GPUMEDIC_PROGRESS is set, each rank of such a script tells of its steps
there.
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from core.clock import RealClock

SHARDS, ENDLESS = 4, 10_000_000


class Work:
    """What a rank does in a step; ``end`` is the last step but one, once it is known."""

    def __init__(self, asked: argparse.Namespace) -> None:
        torch.manual_seed(asked.seed)
        torch.set_num_threads(1)
        layers = (torch.nn.Linear(16, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
        self.model = torch.nn.Sequential(*layers).double()
        self.optimizer = torch.optim.Adam(self.model.parameters(), 3e-3)
        self.folder, self.end = Path(asked.folder), int(asked.steps)
        self._seed, self._pace_s = int(asked.seed), float(asked.pace)
        self._log = os.open(self.folder / "losses.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def step(self, model: torch.nn.Module, step: int, rank: int, world: int) -> float:
        """Do a step; return the loss over all shards, alike on all ranks."""
        time.sleep(self._pace_s)
        losses = [self._loss(model, step, shard) for shard in range(rank, SHARDS, world)]
        own: Any = torch.stack(losses).sum()
        self.optimizer.zero_grad()
        (own * world / SHARDS).backward()
        end = self._wanted_end() if rank == 0 else 0.0
        told = torch.tensor([own.item(), end], dtype=torch.float64)
        if dist.is_initialized():
            dist.all_reduce(told)
        self.optimizer.step()
        self.end = min(self.end, int(told[1]) or ENDLESS)
        return float(told[0]) / SHARDS

    def tell(self, step: int, loss: float, world: int, attempt: int) -> None:
        """Write down that a step was done."""
        said = {"step": step, "loss": loss, "world": world, "attempt": attempt}
        line = json.dumps({**said, "at_s": RealClock().now_s()})
        os.write(self._log, line.encode() + b"\n")

    def is_asked_to_save(self) -> bool:
        """Say once whether somebody wants a checkpoint now."""
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "save-now").unlink()
            return True
        return False

    def _loss(self, model: torch.nn.Module, step: int, shard: int) -> torch.Tensor:
        chance = torch.Generator().manual_seed((self._seed * ENDLESS + step) * SHARDS + shard)
        inputs = torch.randn(16, 16, generator=chance, dtype=torch.float64)
        wanted = inputs[:, :4].prod(1, keepdim=True) + inputs.sum(1, keepdim=True).sin()
        found: torch.Tensor = (model(inputs) - wanted).square().mean()
        return found

    def _wanted_end(self) -> float:
        with contextlib.suppress(OSError, ValueError):
            return float((self.folder / "stop-at").read_text())
        return 0.0


def handed_over(work: Work, save_every: int) -> None:
    """Train with the job-side hook: a dead rank costs no step."""
    import gpumedic_job  # noqa: PLC0415 - `gpumedic launch` puts it on the path

    checkpoints = work.folder / "checkpoints"
    job = gpumedic_job.Training(
        work.model, work.optimizer, checkpoint=checkpoints, save_every=save_every
    )
    for step in _steps(job, work):
        loss = None
        with step:
            loss = work.step(job.model, int(step), job.rank, job.world)
        if job.rank == 0 and job.step > step and loss is not None:
            work.tell(int(step), loss, job.world, job.generation - 1)


def _steps(job: Any, work: Work) -> Iterator[Any]:
    """Yield steps until the last, which may become known on the way."""
    end = -1
    while end != work.end:
        end = work.end
        for step in job.steps(end):
            yield step
            if work.end != end:
                break


class Told:
    """What a rank of a torchrun script tells of its steps, waiting for the others left out."""

    def __init__(self, model: DistributedDataParallel) -> None:
        from gpumedic_job import Progress  # noqa: PLC0415 - only who tells needs it

        self._progress, self._waited_s = Progress(), 0.0
        model.register_comm_hook(model.process_group, self._averaged)

    def done(self, step: int, loss: float) -> None:
        """Tell that a step is done."""
        self._progress.step(step, loss=loss, comm_wait_s=self._waited_s)
        self._waited_s = 0.0

    def saved(self, step: int) -> None:
        """Tell that a checkpoint is whole; the time that it took is no step's."""
        self._progress.saved(step)

    def _averaged(
        self,
        group: dist.ProcessGroup,
        bucket: dist.GradBucket,  # type: ignore[name-defined]
    ) -> torch.futures.Future[torch.Tensor]:
        """Average gradients as without it, and measure how long that takes: others may be late."""
        began_s = time.monotonic()

        def done(averaged: torch.futures.Future[torch.Tensor]) -> torch.Tensor:
            self._waited_s += time.monotonic() - began_s
            return averaged.value()

        return allreduce_hook(group, bucket).then(done)


def restarted(work: Work, save_every: int) -> None:
    """Train as a torchrun script does, or alone: from the newest checkpoint that can be read."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    attempt = int(
        os.environ.get("TORCHELASTIC_RESTART_COUNT") or os.environ.get("SLURM_RESTART_COUNT") or 0
    )
    model: torch.nn.Module = work.model
    told = None
    began = (int(RealClock().now_s() * 1e9), 0)
    if rank == 0 and save_every:
        _shut_out_older(work, began)
    first = _load(work)
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
        model = parallel = DistributedDataParallel(work.model)
        told = Told(parallel) if "GPUMEDIC_PROGRESS" in os.environ else None
    for step in itertools.count(first):
        if step >= work.end:
            break
        loss = work.step(model, step, rank, world)
        if told:
            told.done(step, loss)
        if rank == 0:
            work.tell(step, loss, world, attempt)
            due = save_every and ((step + 1) % save_every == 0 or work.is_asked_to_save())
            if due and _try_to_save(work, step + 1, began) and told:
                told.saved(step + 1)
    if dist.is_initialized():
        dist.destroy_process_group()


def _shut_out_older(work: Work, began: tuple[int, int]) -> None:
    """From now on nobody saves who began before: an orphan of a requeued job would go on."""
    from gpumedic_job.fence import claim  # noqa: PLC0415 - only who saves needs it

    folder = work.folder / "checkpoints"
    folder.mkdir(exist_ok=True)
    claim(folder, began)


def _try_to_save(work: Work, step: int, began: tuple[int, int]) -> bool:
    """Save, or go on without, as the next one may succeed; say whether it is saved."""
    try:
        _save(work, step, began)
    except OSError as error:
        print(f"step {step} is not saved: {error}", flush=True)  # noqa: T201 - to the job's own log
        return False
    return True


def _save(work: Work, step: int, began: tuple[int, int]) -> None:
    """Write a checkpoint, whole or not at all; Fenced where one saves that began later."""
    from gpumedic_job.fence import passed  # noqa: PLC0415 - only who saves needs it

    folder, state = work.folder / "checkpoints", io.BytesIO()
    parts = {"model": work.model.state_dict(), "optimizer": work.optimizer.state_dict()}
    torch.save({**parts, "step": step}, state)
    part, path = folder / f"part-{os.getpid()}", folder / f"step-{step}.pt"
    try:
        with part.open("wb") as file:
            file.write(state.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        with passed(folder, began):
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _load(work: Work) -> int:
    """Take the state of the newest checkpoint that can be read; return its step."""
    found = (work.folder / "checkpoints").glob("step-*.pt")
    for path in sorted(found, key=lambda each: -int(each.stem[5:])):
        with contextlib.suppress(Exception):  # torn: an older one
            state = torch.load(path, weights_only=True)
            work.model.load_state_dict(state["model"])
            work.optimizer.load_state_dict(state["optimizer"])
            return int(state["step"])
    return 0


def main(train: Callable[[Work, int], None]) -> None:
    """Train to the last step."""
    words = argparse.ArgumentParser()
    words.add_argument("--folder", required=True)
    words.add_argument("--steps", type=int, default=ENDLESS)
    words.add_argument("--save-every", type=int, default=20)
    words.add_argument("--pace", type=float, default=0.1)
    words.add_argument("--seed", type=int, default=0)
    asked = words.parse_args()
    train(Work(asked), asked.save_every)


if __name__ == "__main__":
    main(handed_over if "GPUMEDIC_JOB_SOCKET" in os.environ else restarted)
