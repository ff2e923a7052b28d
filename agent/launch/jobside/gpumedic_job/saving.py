"""Saves of a running job: in the background, whole or not at all, and only by the newest world."""

import errno
import io
import os
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_loader import load as load_parts
from torch.distributed.checkpoint.state_dict_saver import async_save

from .checkpoints import Found, newest, part_of, place_of, prune, sweep
from .fence import Fenced, World, claim, now_ns, passed
from .manifest import Saved, measure, sync, sync_one, write
from .state import Parts, named, unnamed

DISTRIBUTED, SINGLE = "torch.distributed.checkpoint", "torch.save"
_STRUCTURE = "structure"
_FULL = (errno.ENOSPC, errno.EDQUOT)
State = dict[str, Any]
# One process saves what all have alike, and it knows.
warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a save.

    step:    None where the folder was refused before any save
    stall_s: how long the training stood for it; took_s: until it was durable
    saved_s: when that was, seconds since the epoch by the file system's clock; None: it failed
    problem: why there is no checkpoint of this step, "" where there is
    fenced:  a newer world saves here: this process must end
    note:    what else went wrong, "" for nothing: the checkpoint is there
    """

    step: int | None
    stall_s: float
    took_s: float
    saved_s: float | None = None
    problem: str = ""
    fenced: bool = False
    note: str = ""


class Saver:
    """Saves states as ``FOLDER/step_N`` by torch.distributed.checkpoint, one after another.

    keep, keep_every: the newest so many whole ones stay, and those whose step the other divides
    world: of this process (see ``fence``); None: when it entered, so that who began last is newest
    group: a gloo group of all ranks that save together, where each has a part of the state; None:
           this process saves alone
    tell:  hears of each save's end, in another thread; default: problems go to stderr

    The training stands only while the state is copied. A save that fails leaves nothing behind.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        keep: int = 3,
        keep_every: int = 0,
        world: World | None = None,
        group: dist.ProcessGroup | None = None,
        tell: Callable[[Outcome], object] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._keep, self._keep_every, self._group = max(1, keep), keep_every, group
        self._leads = group is None or dist.get_rank(group) == 0
        self._world = world
        self._tell = tell or _say
        self._pinned = torch.cuda.is_available()
        self._stager = DefaultStager(StagingOptions(self._pinned, False, False, self._pinned))
        self._part: Path | None = None
        self._idle = threading.Event()
        self._idle.set()
        self._stale: Fenced | None = None

    @property
    def busy(self) -> bool:
        """Say whether a save is under way."""
        return not self._idle.is_set()

    def enter(self, world: World | None = None) -> None:
        """Claim the folder, and remove what older worlds left half done; Fenced, OSError."""
        found = _agreed(self._claimed(world or self._world) if self._leads else None, self._group)
        if isinstance(found, Exception):
            raise found
        self._world = found

    def enter_aside(self, world: World) -> None:
        """Do so in a thread: a file system that hangs must not hold up the training."""
        self._world = world
        threading.Thread(target=self._try_enter, args=(world,), daemon=True).start()

    def save(self, state: State, step: int) -> None:
        """Begin to save a state; returns when it is copied.

        Waits for the save before, where that is not done: ask ``busy`` to put one off. Raises
        Fenced where a newer world saves here; any other failure is told to ``tell``.
        """
        self.wait()
        if self._stale is not None:
            raise self._stale
        if self._world is None:
            self.enter()
        began_s = time.monotonic()
        self._part = part = part_of(self.folder, step, self._world or (0, 0))
        self._idle.clear()
        try:
            future = async_save(
                state,
                storage_writer=FileSystemWriter(part),
                async_stager=self._stager,
                process_group=self._group,
                no_dist=self._group is None,
            )
        except BaseException:
            self._idle.set()
            raise
        if not isinstance(future, Future):
            raise TypeError("the copy was to be made at once")
        stall_s = time.monotonic() - began_s
        future.add_done_callback(lambda done: self._end(done, step, began_s, stall_s))

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until no save is under way; say whether that is so."""
        return self._idle.wait(timeout_s)

    def restore(self, state: State) -> int:
        """Fill a state with the newest checkpoint of which every byte fits; return its step, or 0.

        state: as for ``save``; its tensors are written to
        """
        self.enter()
        best = newest(self.folder, _say_line) if self._leads else None
        place = _agreed(None if best is None else (str(best.path), best.manifest.step), self._group)
        if place is None:
            return 0
        path, step = place
        alone = self._group is None
        load_parts(
            state, storage_reader=FileSystemReader(path), process_group=self._group, no_dist=alone
        )
        return int(step or 0)

    def close(self) -> None:
        """Wait for the last save, and let go of the memory for copies."""
        self.wait()
        self._stager.close()

    def _claimed(self, world: World | None) -> World | Exception:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            world = world or (now_ns(self.folder), 0)
            claim(self.folder, world)
            sweep(self.folder, world, self._part)
        except (Fenced, OSError) as error:
            return error
        return world

    def _try_enter(self, world: World) -> None:
        found = self._claimed(world)
        if isinstance(found, Fenced):  # another error is told by the save, which has it too
            self._stale = found
            self._tell(Outcome(None, 0.0, 0.0, problem=str(found), fenced=True))

    def _end(self, done: "Future[Any]", step: int, began_s: float, stall_s: float) -> None:
        """Make a checkpoint of what was written; whatever goes wrong is told."""
        saved_s, problem, fenced, note = None, "", False, ""
        try:
            done.result()
            if self._leads and self._part is not None:
                saved_s = self._finish(self._part, step, began_s, stall_s)
                note = self._prune()
        except Fenced as error:
            self._stale, problem, fenced = error, str(error), True
        except BaseException as error:  # nobody else would hear of it
            problem = self._why(error)
        try:
            if problem:
                self._clear()
            took_s = time.monotonic() - began_s
            self._tell(Outcome(step, stall_s, took_s, saved_s, problem, fenced, note))
        finally:
            self._part = None
            self._idle.set()

    def _finish(self, part: Path, step: int, began_s: float, stall_s: float) -> float:
        """Seal what was written, give it its name behind the fence; return when it was saved."""
        sync(part)
        world = self._world or (0, 0)
        manifest = measure(part, _saved(part, step, world, stall_s), form=DISTRIBUTED)
        took_s = time.monotonic() - began_s
        write(part, replace(manifest, took_s=took_s).sealed())
        with passed(self.folder, world):
            part.rename(place_of(self.folder, step))
        sync_one(self.folder)
        return manifest.saved_s

    def _prune(self) -> str:
        """Drop what need not stay; return why that failed, "" where it did not."""
        try:
            prune(self.folder, self._keep, self._keep_every)
        except OSError as error:
            return (
                f"old checkpoints in {self.folder} were not removed: {error}. Let this user remove "
                "them, before the disk is full"
            )
        return ""

    def _clear(self) -> None:
        """Remove what a failed save has left, and on a full disk what need not stay."""
        if self._part is not None and self._leads:
            shutil.rmtree(self._part, ignore_errors=True)
            self._prune()  # the save's own problem is told

    def _why(self, error: BaseException) -> str:
        """Say why a save failed, and what is left."""
        causes = [*_causes(error)]
        found = next((each for each in causes if isinstance(each, OSError)), causes[-1])
        if isinstance(found, OSError) and found.errno in _FULL:
            free = shutil.disk_usage(self.folder).free
            why = (
                f"the disk of {self.folder} is full ({free:,} bytes free while saving). Make room "
                "there, keep fewer (keep=), or save to another disk"
            )
        else:
            why = f"saving in {self.folder} failed: {type(found).__name__}: {_first_line(found)}"
        return f"{why}. What was saved before stays."


def save(parts: Parts, path: Path, step: int, world: World) -> None:
    """Write parameters, optimizer and step to one file by torch.save, whole or not at all.

    Raises Fenced where a newer launch, or a newer generation of this one, has claimed the folder.
    """
    began_s = time.monotonic()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            torch.save({**_values(parts), "step": step}, file)
            file.flush()
            os.fsync(file.fileno())
        stall_s = time.monotonic() - began_s
        manifest = measure(part, _saved(part, step, world, stall_s), form=SINGLE)
        (only,) = manifest.files
        with passed(path.parent, world):
            part.replace(path)
            write(path, replace(manifest, files=(replace(only, path=path.name),)).sealed())
    finally:
        part.unlink(missing_ok=True)


def state_of(parts: Parts) -> State:
    """Return what all ranks have alike as named tensors, which any program can read by name."""
    structure, tensors = named(_values(parts))
    text = io.BytesIO()
    torch.save(structure, text)
    state: dict[str, Any] = {
        _STRUCTURE: torch.frombuffer(bytearray(text.getvalue()), dtype=torch.uint8)
    }
    # By the first part of their names, which come to the same: torch writes two lines for its log
    # for each entry at the top, 0.1 ms in all.
    for name, tensor in tensors.items():
        top, _, rest = name.partition(".")
        state.setdefault(top, {})[rest] = tensor
    return state


def load(parts: Parts, found: Found) -> int:
    """Take the state of a checkpoint that a ``Saver`` wrote of ``state_of``; return its step."""
    reader = FileSystemReader(found.path)
    entries = reader.read_metadata().state_dict_metadata
    state = {
        name: torch.empty(each.size, dtype=each.properties.dtype)
        for name, each in entries.items()
        if isinstance(each, TensorStorageMetadata)
    }
    load_parts(state, storage_reader=reader, no_dist=True)
    structure = state.pop(_STRUCTURE).numpy().tobytes()
    values = unnamed(torch.load(io.BytesIO(structure), weights_only=True), state)
    parts.model.load_state_dict(values["model"])
    parts.optimizer.load_state_dict(values["optimizer"])
    for each, saved in zip(parts.shared, values["shared"], strict=True):
        each.load_state_dict(saved)
    parts.order[:] = values["order"]
    return int(found.manifest.step or 0)


def _values(parts: Parts) -> State:
    return {
        "model": parts.model.state_dict(),
        "optimizer": parts.optimizer.state_dict(),
        "shared": [each.state_dict() for each in parts.shared],
        "order": list(parts.order),
    }


def _saved(part: Path, step: int, world: World, stall_s: float) -> Saved:
    """Return what the manifest says; the fence token grows with each launch and generation."""
    return Saved(
        saved_s=part.stat().st_mtime,
        step=step,
        world=f"{world[0]}.{world[1]}",
        fence=world[0] + world[1],
        save_s=stall_s,
    )


def _agreed(value: Any, group: dist.ProcessGroup | None) -> Any:
    """Return the first rank's value on all."""
    if group is None:
        return value
    shared = [value]
    dist.broadcast_object_list(shared, group=group, group_src=0)
    return shared[0]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came of; torch keeps each rank's own in ``failures``."""
    yield error
    for each, _ in getattr(error, "failures", {}).values():
        yield from _causes(each)
    if (before := error.__cause__ or error.__context__) is not None:
        yield from _causes(before)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _say(outcome: Outcome) -> None:
    if outcome.problem:
        _say_line(f"no checkpoint of step {outcome.step}: {outcome.problem}")
    if outcome.note:
        _say_line(outcome.note)


def _say_line(text: str) -> None:
    sys.stderr.write(f"gpumedic: {text}\n")
