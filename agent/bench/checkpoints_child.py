"""What only torch can do for the bench of checkpoints, in a process of its own.

``python -m agent.bench.checkpoints_child make FOLDER MB`` writes a checkpoint of each kind,
``... load FILE RUNS`` prints the CPU seconds of each load as JSON, ``... stall FOLDER MB RUNS`` the
seconds that a training stands for a save, at once and in the background.
"""

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict_saver import save

from agent.launch.jobside.gpumedic_job.saving import Outcome, Saver

LARGE, SMALL, PARTS = "large.pt", "step_1.pt", "step_2"


def make(folder: Path, megabytes: int) -> None:
    """Write a large file, a small one, and a small distributed checkpoint."""
    torch.manual_seed(0)
    tensors = {f"layer{n}": torch.randn(2**18) for n in range(max(1, megabytes * 2**20 // 2**20))}
    torch.save({"model": tensors, "step": 7}, folder / LARGE)
    small = {"model": {"w": torch.randn(200, 50)}, "step": 1}
    torch.save(small, folder / SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no process group is there is what is wanted
        save(small, checkpoint_id=folder / PARTS, no_dist=True)


def load(path: Path, runs: int) -> list[float]:
    """Return the CPU seconds of so many loads, after one that does not count."""
    torch.set_num_threads(1)
    spent = []
    for _ in range(runs + 1):
        began_s = time.process_time()
        torch.load(path, map_location="cpu", weights_only=True)
        spent.append(time.process_time() - began_s)
    return spent[1:]


def stall(folder: Path, megabytes: int, runs: int) -> dict[str, Any]:
    """Save so many times in each way, in turn, after one of each that does not count."""
    torch.set_num_threads(1)
    state = {f"layer{n}": torch.randn(2**18) for n in range(megabytes)}
    told: list[Outcome] = []
    saver = Saver(folder / "aside", keep=1, tell=told.append)
    at_once = []
    for _ in range(runs + 1):
        began_s = time.perf_counter()
        half = folder / "at_once.part"
        with half.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        half.replace(folder / "at_once.pt")
        at_once.append(time.perf_counter() - began_s)
        saver.save({"model": state}, len(at_once))
        saver.wait()
    problems = [each.problem for each in told if each.problem]
    if problems:
        raise OSError(problems[0])
    aside = [each.stall_s for each in told]
    took = [each.took_s for each in told]
    size = sum(each.nbytes for each in state.values())
    return {"at once": at_once[1:], "aside": aside[1:], "took": took[1:], "bytes": size}


if __name__ == "__main__":
    verb, path, *numbers = sys.argv[1:]
    match verb:
        case "make":
            make(Path(path), int(numbers[0]))
        case "load":
            sys.stdout.write(json.dumps(load(Path(path), int(numbers[0]))))
        case _:
            sys.stdout.write(json.dumps(stall(Path(path), int(numbers[0]), int(numbers[1]))))
