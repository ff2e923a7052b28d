"""A training with dropout, running means and a schedule, which kills itself where it is told.

In some steps a second optimizer does an update first, after a backward pass of its own, as that of
an adversary does.

STEPS: how many; FAULTS: JSON list of [rank, step, place, signal], each done once, to the supervisor
too where a fifth is true; ONCE: a folder that remembers which were done; SHARE: of a step's time
that copies in memory may take; HOLD: a FIFO at which rank 0 waits in step 10; LOST: once in step
10, rank 0 sends rank 1 more than a socket takes, and rank 1 stops before it has read it.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import gpumedic_job as gm
import numpy as np
import torch
from gpumedic_job.layout import FOLDER_ENV, UID_ENV, beat_path, read_beat
from torch import nn

TWICE = range(36, 40)
FAULTS = json.loads(os.environ.get("FAULTS", "[]"))


def say(**fields: Any) -> None:
    sys.stdout.write(json.dumps({"pid": os.getpid(), **fields}) + "\n")


def fault(place: str) -> None:
    """Die here if that is wanted; which generation it happens in does not matter."""
    for number, (rank, step, where, sent, *whole) in enumerate(FAULTS):
        done = Path(os.environ["ONCE"]) / str(number)
        if (rank, step, where) == (job.rank, job.step, place) and not done.exists():
            done.touch()
            for pid in (os.getppid(), os.getpid()) if whole else (os.getpid(),):
                os.kill(pid, sent)


def lose_a_send() -> None:
    done = Path(os.environ["ONCE"]) / "lost"
    if done.exists():
        return
    much = torch.zeros(64 << 20)
    if job.rank == 1:
        done.touch()
        torch.distributed.irecv(much, 0)  # gloo sends only to who listens
        os.kill(os.getpid(), signal.SIGSTOP)
    torch.distributed.send(much, 1)


class Halting(torch.optim.Adam):
    """Updates its two groups one after the other, and may die between them."""

    def step(self, closure: Any = None) -> Any:
        groups = self.param_groups
        for part in (groups[:1], groups[1:]):
            self.param_groups = part
            super().step(closure)
            self.param_groups = groups
            fault("inside")


class Telling(torch.optim.lr_scheduler.StepLR):
    """Says how far its rank seems to be while the state is put into it."""

    def load_state_dict(self, state: Any) -> None:
        beat = read_beat(beat_path(Path(os.environ[FOLDER_ENV]), os.environ[UID_ENV]))
        say(taking=beat and beat.phase.name)
        super().load_state_dict(state)


def digest() -> str:
    found = hashlib.sha256()
    for each in model.parameters():
        found.update(each.detach().numpy().tobytes())
    return found.hexdigest()


torch.manual_seed(7)
torch.set_num_threads(1)
forked = "gpumedic_job.standby" in sys.modules
say(standby="RANK" not in os.environ, forked=forked, drawn=np.random.random_sample())  # noqa: NPY002
body = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.Dropout(0.2), nn.ReLU())
head = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
model = nn.Sequential(body, head)
optimizer = Halting([{"params": body.parameters()}, {"params": head.parameters()}], lr=1e-2)
schedule = Telling(optimizer, step_size=5, gamma=0.9)
second = torch.optim.SGD(head.parameters(), lr=1e-3, momentum=0.9)
share = float(os.environ.get("SHARE", "1e9"))
job = gm.Training(model, optimizer, shared=[second, schedule], copy_share=share)
torch.manual_seed(100 + job.rank)
say(rank=job.rank, world=job.world, generation=job.generation, joined=True)
for step in job.steps(int(os.environ["STEPS"])):
    with step:
        fault("before")
        if "HOLD" in os.environ and (job.rank, step) == (0, 10):
            Path(os.environ.pop("HOLD")).read_text()
        inputs = torch.randn(8, 16, generator=torch.Generator().manual_seed(1000 * step + job.rank))
        if step in TWICE:
            optimizer.zero_grad()
            job.model(inputs).square().mean().backward()
            second.step()
            fault("between")
        loss = job.model(inputs).square().mean()
        optimizer.zero_grad()
        fault("forward")
        if "LOST" in os.environ and step == 10:
            lose_a_send()
        loss.backward()
        optimizer.step()
        schedule.step()
        fault("after")
        if os.environ.get("BUG") == str(int(step)):
            raise ValueError("a bug of the script")
    say(rank=job.rank, step=int(step), generation=job.generation, done=job.step > step)
say(rank=job.rank, end=job.step, digest=digest())
