"""Look at one checkpoint in its own format, a file or a folder with folders below."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agent.checkpoints.distributed import is_distributed, look_at_distributed
from agent.checkpoints.folders import (
    half_written,
    has_config,
    holds_a_model,
    is_hugging_face,
    look_at_file,
    look_at_files,
    look_at_hugging_face,
)
from agent.checkpoints.found import Format, Seen, State, Trouble, least_checked
from agent.checkpoints.names import unfinished
from agent.checkpoints.torch_files import look_at_torch_file


def look_at(path: Path, names: Sequence[str], *, contents: bool) -> Seen:
    """Look at a checkpoint whose files have these names; OSError where one cannot be read."""
    seen = (
        _look_at_folder(path, names, contents=contents)
        if path.is_dir()
        else _look_at_single(path, contents=contents)
    )
    if not unfinished(path.name):
        return seen
    return replace(seen, troubles=(half_written(path.name), *seen.troubles))


def _look_at_single(path: Path, *, contents: bool) -> Seen:
    found = look_at_file(path, contents=contents)
    if found is not None:
        return found
    if unfinished(path.name):
        return Seen(Format.UNKNOWN)
    return look_at_torch_file(path, contents=contents)  # it was found for its contents


def _look_at_folder(path: Path, names: Sequence[str], *, contents: bool) -> Seen:
    by_folder: dict[str, list[str]] = {}
    for name in names:
        by_folder.setdefault(str(Path(name).parent), []).append(Path(name).name)
    parts = []
    for below, own in by_folder.items():
        needs_model = _needs_model(below, own, names)
        seen = _look_at_level(path / below, own, contents=contents, needs_model=needs_model)
        if below != ".":
            told = tuple(replace(each, file=str(Path(below, each.file))) for each in seen.troubles)
            seen = replace(seen, troubles=told)
        parts.append(seen)
    if not names:
        trouble = Trouble(State.TORN, path.name, "is an empty folder: its save did not end")
        return Seen(Format.UNKNOWN, (trouble,), known=0)
    whole = _whole([part for part in parts if part.known or part.troubles])
    if whole.known or whole.troubles:
        return whole
    text = f"holds no file of a known format, only {', '.join(names[:3])}"
    trouble = Trouble(State.WRONG_FORMAT, path.name, text)
    return Seen(Format.UNKNOWN, (trouble,), known=0)


def _needs_model(below: str, own: Sequence[str], names: Sequence[str]) -> bool:
    """Say whether a level has a configuration, and the model it is of lies nowhere near.

    Above it as well: a pooling module has none of its own, nor has a tokenizer in its own folder.
    """
    if not (is_hugging_face(own) or has_config(own)):
        return False
    above, paths = set(Path(below).parents), map(Path, names)
    near = (path for path in paths if path.is_relative_to(below) or path.parent in above)
    return not holds_a_model([str(path) for path in near])


def _look_at_level(
    folder: Path, names: Sequence[str], *, contents: bool, needs_model: bool
) -> Seen:
    """Look at the files directly in a folder."""
    if is_distributed(names):
        seen = look_at_distributed(folder, names, contents=contents)
        rest = look_at_files(folder, names, contents=contents)
        return _whole([seen, rest]) if rest.known or rest.troubles else seen
    if is_hugging_face(names) or has_config(names):
        return look_at_hugging_face(folder, names, contents=contents, needs_model=needs_model)
    return look_at_files(folder, names, contents=contents)


def _whole(parts: Sequence[Seen]) -> Seen:
    forms = {part.format for part in parts} - {Format.FOLDER}
    return Seen(
        forms.pop() if len(forms) == 1 else Format.FOLDER,
        tuple(trouble for part in parts for trouble in part.troubles),
        next((part.step for part in parts if part.step is not None), None),
        least_checked(part.checked for part in parts),
        tuple(note for part in parts for note in part.notes),
        sum(part.known for part in parts),
    )
