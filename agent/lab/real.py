"""What a real cluster on this machine offers a demonstration: a training that may be broken."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from core.target import Target

LOSSES = "losses.jsonl"
STOP_AT = "stop-at"
SAVE_NOW = "save-now"


class RealCluster(Protocol):
    """A cluster with one training on it, both started for the demonstration alone.

    name:   as ``[scheduler] backend`` has it
    faults: what can be broken, and how that is done, in a sentence
    folder: of the training: LOSSES, ``step-N.pt`` and whatever else it keeps
    job:    the training's id as the scheduler names it; "" before ``start``
    """

    name: str
    faults: Mapping[str, str]
    folder: Path
    job: str

    def start(self) -> None:
        """Start the cluster and its training; return once it steps and has a checkpoint.

        InputError where a program is missing, or something does not come.
        """
        ...

    def settings(self) -> Mapping[str, Any]:
        """Return the controller's settings: the scheduler's, and what makes the loop quick."""
        ...

    def inject(self, fault: str) -> Target:
        """Break it, for real; return what was hit. Returns at once."""
        ...

    def stop(self) -> None:
        """End everything that was started, whatever happened; nothing is left."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the training as rank 0 wrote it down.

    loss: mean over all shards before the update; attempt: how often the ranks were started before
    """

    step: int
    loss: float
    world: int
    attempt: int
    at_s: float


def steps(folder: Path) -> tuple[Step, ...]:
    """Return the steps done so far, in the order they were done; a torn last line is left out."""
    path = folder / LOSSES
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return tuple(Step(**json.loads(line)) for line in lines if line.endswith("\n"))


def end_after(folder: Path, step: int) -> None:
    """Have the training end by itself once it has done so many steps."""
    part = folder / f"{STOP_AT}.part"
    part.write_text(str(step))
    part.replace(folder / STOP_AT)
