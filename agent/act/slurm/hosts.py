"""Slurm's short form for names of nodes: ``n[1-3,07],login`` and back to single names."""

import re
from collections.abc import Iterator
from itertools import product

from core.errors import InputError

MOST_NAMES = 1 << 17
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_PART = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?\Z")


def is_name(text: str) -> bool:
    """Say whether text can be one node's, reservation's or user's name and nothing else."""
    return len(text) <= 255 and _NAME.match(text) is not None


def expand(short: str) -> tuple[str, ...]:
    """Return the single names in Slurm's order; InputError where the text is no list of names.

    ``(null)`` and the like are how Slurm writes that there are none.
    """
    if not short or short.startswith("("):
        return ()
    names = [name for part in _split(short) for name in _expanded(part, short)]
    for name in names:
        if not is_name(name):
            raise _unreadable(short, f"{name[:80]!r} is no name")
    return tuple(names)


def _split(short: str) -> Iterator[str]:
    """Yield what stands between the commas outside brackets."""
    depth, start = 0, 0
    for at, sign in enumerate(short):
        depth += (sign == "[") - (sign == "]")
        if sign == "," and depth == 0:
            yield short[start:at]
            start = at + 1
    yield short[start:]


def _expanded(part: str, short: str) -> list[str]:
    pieces = _PART.findall(part)
    if "".join(f"[{inside}]" if inside else plain for inside, plain in pieces) != part:
        raise _unreadable(short, "its brackets do not match")
    choices = [_numbers(inside, short) if inside else [plain] for inside, plain in pieces]
    count = 1
    for choice in choices:
        count *= len(choice)
    if count > MOST_NAMES:
        raise _unreadable(short, f"it names more than {MOST_NAMES:,} nodes")
    return ["".join(chosen) for chosen in product(*choices)]


def _numbers(inside: str, short: str) -> list[str]:
    found: list[str] = []
    for piece in inside.split(","):
        match = _RANGE.match(piece)
        if match is None:
            raise _unreadable(short, f"{piece[:80]!r} is no number or range")
        first, last = match[1], match[2] or match[1]
        if int(last) - int(first) >= MOST_NAMES:
            raise _unreadable(short, f"it names more than {MOST_NAMES:,} nodes")
        found += [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
    return found


def _unreadable(short: str, why: str) -> InputError:
    return InputError(
        f"Reading the list of nodes {short[:80]!r}: {why}. Slurm writes such as n[1-3,7],login; "
        "report it with the version that wrote this."
    )
