"""Checkpoints for tests, written by torch itself, and ways to damage them."""

import json
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.checkpoint.state_dict_saver import save as save_parts

from agent.checkpoints.catalogue import Catalogue, Look
from agent.checkpoints.found import Checkpoint, Listing

NOW_S = 4_000_000_000.0  # long after any file of a test was written


def state(step: int, *, rows: int = 20) -> dict[str, Any]:
    """A small training state: a model, what an optimiser keeps, the step."""
    made = torch.Generator().manual_seed(step)
    return {
        "model": {
            "w": torch.randn(rows, 50, generator=made),
            "b": torch.zeros(7, dtype=torch.half),
        },
        "optimizer": {"m": torch.randn(rows, generator=made), "lr": 0.1},
        "step": step,
    }


def save(path: Path, step: int, *, old: bool = False, rows: int = 20) -> Path:
    """Save with torch.save, in today's form or the old one."""
    torch.save(state(step, rows=rows), path, _use_new_zipfile_serialization=not old)
    return path


def save_distributed(folder: Path, step: int) -> Path:
    """Save with torch.distributed.checkpoint in this one process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_parts(state(step), checkpoint_id=folder, no_dist=True)
    return folder


def save_safetensors(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write float32 tensors by safetensors' public format."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    body = b""
    for name, value in tensors.items():
        data = value.astype("<f4").tobytes()
        span = [len(body), len(body) + len(data)]
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": span}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def save_hugging_face(folder: Path, step: int) -> Path:
    """Write a folder as transformers' trainer does: config, two shards, their index, the rest."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    places = {}
    for number, name in enumerate(("embed", "head"), 1):
        shard = f"model-{number:05}-of-00002.safetensors"
        save_safetensors(folder / shard, {name: np.ones((number, 3))})
        places[name] = shard
    index = {"metadata": {"total_size": 36}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    torch.save({"m": torch.ones(3)}, folder / "optimizer.pt")
    return folder


def cut(path: Path, size: int) -> None:
    """Leave the first ``size`` bytes; a negative size leaves out so many at the end."""
    path.write_bytes(path.read_bytes()[:size])


def flip(path: Path, at: int, bit: int = 2) -> None:
    """Turn over one bit."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def listed(root: Path, **how: Any) -> Listing:
    """Look at a folder, reading all contents unless told otherwise."""
    return Catalogue(root, Look(**how), NOW_S).listing()


def looked_at(path: Path, **how: Any) -> Checkpoint:
    """Look at one checkpoint."""
    (found,) = listed(path, **how).checkpoints
    return found
