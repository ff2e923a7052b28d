"""Checks of numbers and names in specifications, with a sentence for what is wrong."""

import difflib
from collections.abc import Iterable

from core.errors import InputError


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known name is meant, or which there are."""
    names = tuple(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"


def one_of(what: str, word: str, known: Iterable[str]) -> None:
    """Refuse a word that is none of the known ones."""
    if word not in known:
        raise InputError(f"{what} is {word!r}; {nearest(word, known)}.")


def ratios(what: str, spec: object, names: Iterable[str]) -> None:
    """Refuse parts of a specification that lie outside 0 to 1; None is no value."""
    for name in names:
        value = getattr(spec, name)
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{what}: {name} is {value:g}; it must lie between 0 and 1.")


def not_negative(what: str, spec: object, names: Iterable[str]) -> None:
    """Refuse parts below 0, and nan."""
    for name in names:
        value = getattr(spec, name)
        if value is not None and not value >= 0:
            raise InputError(f"{what}: {name} is {value:g}; it must be 0 or more.")


def positive(what: str, spec: object, names: Iterable[str]) -> None:
    """Refuse parts that are not above 0."""
    for name in names:
        value = getattr(spec, name)
        if value is not None and not value > 0:
            raise InputError(f"{what}: {name} is {value:g}; it must be above 0.")
