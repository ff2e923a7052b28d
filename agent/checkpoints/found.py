"""What there is to say of a checkpoint: its format, its state and a plain reason for it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Format(StrEnum):
    """Who wrote it."""

    DISTRIBUTED = "torch.distributed.checkpoint"
    TORCH_ZIP = "torch.save"
    TORCH_LEGACY = "torch.save (legacy)"
    SAFETENSORS = "safetensors"
    HUGGING_FACE = "hugging face"
    FOLDER = "folder of files"
    UNKNOWN = "unknown"


class State(StrEnum):
    """Whether it can be gone back to; only a complete one is valid.

    complete:      everything that was looked at is as it should be
    being written: not whole yet, and a process has a file of it open for writing
    unreadable:    this process may not read it, or the storage gave an error
    wrong format:  a file is not what its name or its folder says
    torn:          parts are missing: a save that never ended, or files that went later
    truncated:     a file ends before its own index says
    bit-flipped:   as long as it should be, but the contents are not what was written
    """

    COMPLETE = "complete"
    BEING_WRITTEN = "being written"
    UNREADABLE = "unreadable"
    WRONG_FORMAT = "wrong format"
    TORN = "torn"
    TRUNCATED = "truncated"
    BIT_FLIPPED = "bit-flipped"


# A text that begins so is said of the file; another stands by itself.
_VERBS = ("is ", "has ", "ends ", "begins ", "holds ", "lacks ", "names ", "cannot ")

# With several troubles at once the first of these is the checkpoint's state.
_WORST_FIRST = (
    State.UNREADABLE,
    State.WRONG_FORMAT,
    State.TORN,
    State.TRUNCATED,
    State.BIT_FLIPPED,
)


class Checked(StrEnum):
    """How far it was looked at.

    headers:    names, sizes and indexes; what lies between them was not read
    contents:   every byte was held against a checksum
    no checksums: every header; its format has no checksums, and no manifest lies beside it
    """

    HEADERS = "headers"
    CONTENTS = "contents"
    NO_CHECKSUMS = "no checksums"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong, with the file it is wrong with; "" for the checkpoint's only one."""

    state: State
    file: str
    text: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at a file, or at a folder, found.

    step:    as its contents say, None where they do not
    checked: the least of its files
    notes:   what is worth a word and no trouble
    known:   how many of its files are of a known format
    """

    format: Format
    troubles: tuple[Trouble, ...] = ()
    step: int | None = None
    checked: Checked = Checked.HEADERS
    notes: tuple[str, ...] = ()
    known: int = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint, as it was at a look.

    name:    of the file or folder, below the folder that was looked at
    step:    None where neither name, contents nor manifest say
    saved_s: when it was finished: by its manifest, else by its newest file
    world, fence, save_s, took_s: who saved it, under which token, how long the job stood for it and
             how long it took until it was durable; as its manifest says
    sealed:  whether a manifest that fits lies beside it
    """

    name: str
    path: str
    format: Format
    state: State
    reason: str
    step: int | None
    saved_s: float
    size_bytes: int
    files: int
    checked: Checked
    notes: tuple[str, ...] = ()
    world: str = ""
    fence: int | None = None
    save_s: float | None = None
    took_s: float | None = None
    sealed: bool = False

    @property
    def valid(self) -> bool:
        """Say whether a job can go back to it, as far as it was looked at."""
        return self.state is State.COMPLETE

    @property
    def age_key(self) -> tuple[int, int, float]:
        """Return what is larger for a newer one.

        The fence token first: after a roll-back the newest state has a lower step than the old.
        Then the step, for times move when files are copied.
        """
        return (
            -1 if self.fence is None else self.fence,
            -1 if self.step is None else self.step,
            self.saved_s,
        )


@dataclass(frozen=True, slots=True)
class Listing:
    """The checkpoints of a folder, newest first.

    passed_over: how many other files there are
    """

    folder: str
    looked_s: float
    checkpoints: tuple[Checkpoint, ...]
    passed_over: int = 0

    @property
    def newest_valid(self) -> Checkpoint | None:
        """Return the newest that can be gone back to, or None."""
        return next((each for each in self.checkpoints if each.valid), None)

    def named(self, name: str) -> Checkpoint | None:
        """Return the one of that name, or None."""
        return next((each for each in self.checkpoints if each.name == name), None)


def newest_first(checkpoints: Iterable[Checkpoint]) -> tuple[Checkpoint, ...]:
    """Sort by age, the newest first."""
    return tuple(sorted(checkpoints, key=lambda each: each.age_key, reverse=True))


def worst(troubles: Sequence[Trouble]) -> State:
    """Return the state of a checkpoint with these troubles."""
    found = {trouble.state for trouble in troubles}
    return next((state for state in _WORST_FIRST if state in found), State.COMPLETE)


def said(troubles: Sequence[Trouble], *, most: int = 3) -> str:
    """Say the troubles in a line, those of the worst kind first."""
    ordered = sorted(troubles, key=lambda trouble: _WORST_FIRST.index(trouble.state))
    parts = [_sentence(each) for each in ordered[:most]]
    if len(ordered) > most:
        parts.append(f"and {len(ordered) - most} more")
    return "; ".join(parts)


def _sentence(trouble: Trouble) -> str:
    if trouble.text.startswith(_VERBS):
        return f"{trouble.file or 'it'} {trouble.text}"
    return f"{trouble.file}: {trouble.text}" if trouble.file else trouble.text


def least_checked(checks: Iterable[Checked]) -> Checked:
    """Return how far a whole was checked whose parts were checked so far."""
    found = set(checks)
    for each in (Checked.HEADERS, Checked.NO_CHECKSUMS):
        if each in found:
            return each
    return Checked.CONTENTS if found else Checked.HEADERS
