"""Read the structure of a pickle without running anything that it names.

A pickle names functions and calls them: who can write a checkpoint could run a program here. So
every name stands for an inert record, no module is imported, and the names are kept to be looked
at. A pickle can still ask for much memory: readers run in a worker process with a limit.
"""

import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, BinaryIO

# What torch.load(weights_only=True) takes without being told to, by the beginning of the name.
_PLAIN = ("torch.", "torch._utils.", "collections.", "builtins.", "__builtin__.", "_codecs.encode")
_NEVER = ("builtins.eval", "builtins.exec", "builtins.getattr", "builtins.__import__")
# What the index of torch.distributed.checkpoint has: its own classes, shapes, kinds of numbers and
# of layouts, the path it was saved to. No more: torch.hub.load is torch's as well.
_INDEX = re.compile(
    r"torch\.distributed\.(?:checkpoint|tensor|_tensor|_shard)\.[\w.]+"
    r"|torch\.serialization\._get_layout|torch\.Size|torch\.device|collections\.OrderedDict"
    r"|torch\.(?:u?int\d+|b?float\d*\w*|complex\d+|bool|half|double|quint\w+|qint\w+|bits\w+)"
    r"|pathlib\.(?:_local\.)?\w*Path|builtins\.(?:set|frozenset)|__builtin__\.(?:set|frozenset)"
)
# What reading broken bytes as a pickle may end with.
BROKEN = (
    pickle.UnpicklingError,
    *(EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError),
    *(UnicodeDecodeError, RecursionError),
)


class Record:
    """Stands for whatever the pickle named: keeps what it was given, and does nothing."""

    __slots__ = ("state",)  # an index of a large job has a million of these
    name = ""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *args: Any) -> "Record":
        """Return another record: a pickle may call what it made."""
        return Record(*args)

    def __setitem__(self, key: Any, value: Any) -> None:
        return

    def append(self, item: Any) -> None:
        """Take what the pickle appends to a list of its own kind."""

    def extend(self, items: Any) -> None:
        """Take what the pickle appends to a list of its own kind."""

    def part(self, field: str) -> Any:
        """Return a field of the object that this stands for, or None."""
        state = getattr(self, "state", None)  # a pickle may make an object and never begin it
        if isinstance(state, tuple) and len(state) == 2:  # of a class with slots
            state = {**(state[0] or {}), **(state[1] or {})}
        return state.get(field) if isinstance(state, Mapping) else None


class Inert(pickle.Unpickler):
    """An unpickler that builds records; ``names`` are those the pickle asked for.

    storages: what the pickle refers to beside itself: key -> (name of its type, elements)
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.names: set[str] = set()
        self.storages: dict[str, tuple[str, int]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return an inert class for whatever is asked for."""
        full = f"{module}.{name}"
        self.names.add(full)
        if full == "collections.OrderedDict":
            return OrderedDict
        return type("Named", (Record,), {"__slots__": (), "name": full})

    def persistent_load(self, pid: Any) -> Any:
        """Note a reference to a tensor's storage, which lies beside the pickle."""
        kind, *rest = pid if isinstance(pid, tuple) else (pid,)
        if kind == "storage" and len(rest) >= 4 and isinstance(rest[3], int):
            storage, key = rest[0], rest[1]
            self.storages[str(key)] = (str(getattr(storage, "name", "")), rest[3])
        return Record(pid)


def read_pickle(data: bytes) -> tuple[Any, Inert]:
    """Return what a pickle holds, as records, and what it named; one of BROKEN where it is none."""
    reader = Inert(io.BytesIO(data))
    return reader.load(), reader


def unsafe_names(names: set[str]) -> tuple[str, ...]:
    """Return what ``torch.load(weights_only=True)`` would not load unasked."""
    return tuple(sorted(n for n in names if not n.startswith(_PLAIN) or n.startswith(_NEVER)))


def strange_names(names: set[str]) -> tuple[str, ...]:
    """Return what the index of a distributed checkpoint never names."""
    return tuple(sorted(name for name in names if not _INDEX.fullmatch(name)))


def step_in(value: Any) -> int | None:
    """Return the step that a checkpoint's own dictionary gives, or None."""
    if not isinstance(value, Mapping):
        return None
    for key in ("global_step", "step", "iteration", "iter", "num_steps", "steps"):
        found = value.get(key)
        if isinstance(found, int) and not isinstance(found, bool) and found >= 0:
            return found
    return None
