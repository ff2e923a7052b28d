"""Folders that are one checkpoint: Hugging Face's with its shards, and any other set of files."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.checkpoints.distributed import SUFFIX
from agent.checkpoints.found import Checked, Format, Seen, State, Trouble, least_checked
from agent.checkpoints.names import (
    MAYBE_SUFFIXES,
    SAFETENSORS_SUFFIX,
    TORCH_SUFFIXES,
    unfinished,
)
from agent.checkpoints.safetensors import look_at_safetensors, read_header
from agent.checkpoints.torch_files import is_torch_file, look_at_torch_file
from agent.launch.jobside.gpumedic_job.manifest import is_manifest

_CONFIGS = ("config.json", "adapter_config.json")
_TRAINER_STATE = "trainer_state.json"
_INDEX_SUFFIX = ".index.json"
_WEIGHTS = ("model", "pytorch_model", "adapter_model", "diffusion_pytorch_model", "consolidated")
_WEIGHT_SUFFIXES = (SAFETENSORS_SUFFIX, ".bin")
# What goes on with a training beside its model, by the names that trainers give it.
_BESIDE_MODEL = re.compile(r"optim|sched|rng_state|random_states|training_args|scaler|sampler")
_MAX_JSON_BYTES = 256 * 2**20


def is_hugging_face(names: Sequence[str]) -> bool:
    """Say whether a folder with files of these names is one that transformers or peft wrote."""
    if any(name.endswith(_INDEX_SUFFIX) or name == _TRAINER_STATE for name in names):
        return True
    return any(name in _CONFIGS for name in names) and any(_weights(name) for name in names)


def has_config(names: Sequence[str]) -> bool:
    """Say whether there is a configuration, with or without the weights it describes."""
    return any(name in _CONFIGS for name in names)


def holds_a_model(names: Sequence[str]) -> bool:
    """Say whether there are weights in files of these names, which may lie in folders below.

    Beside config.json not only Hugging Face's own: FSDP saves a model's shards in a folder of
    torch.distributed.checkpoint, DeepSpeed in one of ``torch.save``.
    """
    return any(_is_of_model(Path(name)) for name in names)


def _is_of_model(path: Path) -> bool:
    known = path.name.endswith((*TORCH_SUFFIXES, SAFETENSORS_SUFFIX, SUFFIX))
    beside = _BESIDE_MODEL.search(str(path)) and "model" not in path.name
    return not beside and (known or _weights(path.name))


def look_at_hugging_face(
    folder: Path, names: Sequence[str], *, contents: bool, needs_model: bool
) -> Seen:
    """Look at the shards, what their index says, and every other file of the folder.

    needs_model: whether a model has to be here, and is not below either
    """
    seen = look_at_files(folder, names, contents=contents)
    troubles = list(seen.troubles)
    indexes = [name for name in names if name.endswith(_INDEX_SUFFIX)]
    for name in indexes:
        troubles += _held_to_index(folder, name, names)
    if needs_model and not indexes:
        text = "no weights are there, neither here nor in a folder below: the save did not end"
        troubles.append(Trouble(State.TORN, "", text))
    step, trouble = _trainer_step(folder, names)
    troubles += [trouble] if trouble else []
    for name in names:
        if name in _CONFIGS:
            _, trouble = _read_json(folder / name)
            troubles += [trouble] if trouble else []
    return Seen(
        Format.HUGGING_FACE if is_hugging_face(names) else Format.FOLDER,
        tuple(_once(troubles)),
        seen.step if step is None else step,
        seen.checked,
        seen.notes,
        seen.known,
    )


def look_at_files(folder: Path, names: Sequence[str], *, contents: bool) -> Seen:
    """Look at each file of a folder in its own format; names may lie in folders below."""
    troubles: list[Trouble] = []
    notes: list[str] = []
    checked: list[Checked] = []
    step = None
    for name in names:
        seen = look_at_file(folder / name, contents=contents)
        if seen is None:
            if unfinished(name):
                troubles.append(half_written(name))
            continue
        troubles += [Trouble(each.state, name, each.text) for each in seen.troubles]
        notes += seen.notes
        checked.append(seen.checked)
        step = seen.step if step is None else step
    return Seen(
        *(Format.FOLDER, tuple(troubles), step, least_checked(checked), tuple(notes)),
        known=len(checked),
    )


def half_written(name: str) -> Trouble:
    """Say that a temporary file was left behind."""
    text = "is the temporary file of a save that did not end"
    return Trouble(State.TORN, name, text)


def look_at_file(path: Path, *, contents: bool) -> Seen | None:
    """Look at a file in the format that its name says; None where it says none."""
    name = path.name
    if is_manifest(name):
        return None
    if name.endswith(SAFETENSORS_SUFFIX):
        return look_at_safetensors(path)
    maybe = name.endswith(MAYBE_SUFFIXES)
    of_weights = maybe and _weights(name)
    if name.endswith(TORCH_SUFFIXES) or of_weights or (maybe and is_torch_file(path)):
        return look_at_torch_file(path, contents=contents)
    return None


def _weights(name: str) -> bool:
    return name.endswith(_WEIGHT_SUFFIXES) and name.startswith(_WEIGHTS)


def _held_to_index(folder: Path, name: str, names: Sequence[str]) -> Iterator[Trouble]:
    """Yield each shard that the index names and that is missing or lacks a tensor."""
    index, trouble = _read_json(folder / name)
    if trouble is not None:
        yield trouble
        return
    places = index.get("weight_map")
    if not isinstance(places, Mapping) or not all(isinstance(v, str) for v in places.values()):
        yield Trouble(State.BIT_FLIPPED, name, "has no weight_map from tensors to files")
        return
    for shard in sorted(set(places.values())):
        tensors = {tensor for tensor, where in places.items() if where == shard}
        if shard not in names:
            yield Trouble(State.TORN, shard, f"is not there: {len(tensors)} tensors lie in it")
        elif shard.endswith(SAFETENSORS_SUFFIX):
            header, broken = read_header(folder / shard)
            if broken is None and (lacking := tensors - header.keys()):
                text = f"lacks {len(lacking)} of its tensors, {min(lacking)} the first"
                yield Trouble(State.TORN, shard, f"{text}: it is of another save")


def _trainer_step(folder: Path, names: Sequence[str]) -> tuple[int | None, Trouble | None]:
    if _TRAINER_STATE not in names:
        return None, None
    state, trouble = _read_json(folder / _TRAINER_STATE)
    step = state.get("global_step")
    return (step if isinstance(step, int) else None), trouble


def _read_json(path: Path) -> tuple[Mapping[str, Any], Trouble | None]:
    """Return a JSON object, {} with what is wrong where there is none."""
    with path.open("rb") as file:
        data = file.read(_MAX_JSON_BYTES)
    if not data.strip(b"\0 \n\t"):
        text = "is empty" if not data else f"is {len(data):,} zeros: it was never written"
        return {}, Trouble(State.TRUNCATED, path.name, text)
    try:
        found = json.loads(data)
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()) - 1 or "Unterminated" in error.msg:
            text = f"ends after {len(data):,} bytes, within its JSON"
            return {}, Trouble(State.TRUNCATED, path.name, text)
        return {}, Trouble(State.BIT_FLIPPED, path.name, f"is damaged JSON ({error})")
    except (ValueError, RecursionError) as error:
        return {}, Trouble(State.BIT_FLIPPED, path.name, f"is damaged JSON ({error})")
    if not isinstance(found, dict):
        return {}, Trouble(State.WRONG_FORMAT, path.name, "is JSON, but no object")
    return found, None


def _once(troubles: Sequence[Trouble]) -> Sequence[Trouble]:
    return tuple(dict.fromkeys(troubles))
