"""What lies in the memory that a worker shares with its supervisor; imports no torch.

A *beat* says how far a worker is. A *slot* holds the state after some step; two slots, for even and
odd steps, so that one is whole while the other is being written. It begins with a header: the step,
the size of the pickle, the size of all, and how much of the next slot is sent to another node.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

BEAT = struct.Struct("<qqqq")
HEADER = struct.Struct("<qqqq")
NO_STEP = -1
ALIGN = 64

SOCKET_ENV = "GPUMEDIC_JOB_SOCKET"
UID_ENV = "GPUMEDIC_JOB_WORKER"
FOLDER_ENV = "GPUMEDIC_JOB_FOLDER"


class Phase(IntEnum):
    """Where in a step a worker is; ARRIVED means it only waits for the others: they compute."""

    OUTSIDE = 0
    STARTED = 1
    ARRIVED = 2


@dataclass(frozen=True, slots=True)
class Beat:
    """The last sign of a worker: ``step`` is the one it is in or will do next."""

    generation: int
    step: int
    phase: Phase
    time_ns: int


def beat_path(folder: Path, uid: str) -> Path:
    """Return where a worker says how far it is."""
    return folder / f"beat.{uid}"


def own_path(folder: Path, seat: int, step: int) -> Path:
    """Return the slot of what only the rank in this seat has: random states, buffers."""
    return folder / f"own.{seat}.{step % 2}"


def seat_of(path: Path) -> int:
    """Return whose own slot this is."""
    return int(path.name.split(".")[1])


def copy_path(folder: Path, step: int) -> Path:
    """Return this node's slot of what all ranks have alike: parameters, optimizer."""
    return folder / f"copy.{step % 2}"


def read_beat(path: Path) -> Beat | None:
    """Return the beat, None where the worker never gave one."""
    try:
        generation, step, phase, time_ns = BEAT.unpack(path.read_bytes()[: BEAT.size])
    except (OSError, struct.error):
        return None
    return Beat(generation, step, Phase(phase), time_ns) if time_ns else None


def slot_step(path: Path) -> int:
    """Return after how many steps the slot's state is, NO_STEP where it is not whole."""
    try:
        with path.open("rb") as file:
            return int(HEADER.unpack(file.read(HEADER.size))[0])
    except (OSError, struct.error):
        return NO_STEP
