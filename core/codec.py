"""JSON for every value that flows: ``to_json`` and ``from_json`` are each other's inverse.

The form follows the dataclass: a field is a key, a tuple is a list, an enum is its word, an array
is a nested list with ``null`` for NaN. A key that is unknown or missing is an error that names it.
"""

import math
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from core.errors import InputError

T = TypeVar("T")
Reader = Callable[[Any], Any]


def to_json(value: object) -> Any:
    """Return ``value`` as plain lists, dicts and scalars that ``json.dumps`` takes as they are.

    NaN becomes null, an infinite float the text ``inf`` or ``-inf``: JSON has neither.
    """
    if is_dataclass(value):
        return {part.name: to_json(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Enum):
        return value.value
    return _plain(value)


def from_json(kind: type[T], data: object) -> T:
    """Build a ``kind`` from what ``to_json`` gave; InputError says which field does not fit."""
    try:
        return cast(T, _reader(cast(Any, kind))(data))
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"reading {kind.__name__} from JSON: {error}") from error


def _plain(value: object) -> Any:
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return None if math.isnan(value) else str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"no JSON form for {type(value).__name__}")


@cache
def _reader(kind: Any) -> Reader:
    """Return the function that reads JSON into ``kind``; one is made per type, once."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _union_reader(arguments)
    if origin is tuple:
        return _tuple_reader(arguments)
    if origin is np.ndarray:
        return _array_reader(arguments)
    if is_dataclass(kind):
        return _dataclass_reader(cast(type, kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    return _scalar_reader(kind)


def _dataclass_reader(kind: type) -> Reader:
    hints = get_type_hints(kind)
    readers = {part.name: _reader(hints[part.name]) for part in fields(kind)}
    required = {
        part.name
        for part in fields(kind)
        if part.default is MISSING and part.default_factory is MISSING
    }

    def read(data: Any) -> Any:
        if not isinstance(data, dict):
            raise TypeError(f"{kind.__name__} must be an object, found {type(data).__name__}")
        if unknown := data.keys() - readers.keys():
            raise ValueError(f"{kind.__name__} has no field {sorted(unknown)[0]!r}")
        if missing := required - data.keys():
            raise ValueError(f"{kind.__name__} lacks the field {sorted(missing)[0]!r}")
        return kind(**{name: readers[name](item) for name, item in data.items()})

    return read


def _tuple_reader(arguments: tuple[Any, ...]) -> Reader:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        item_reader = _reader(arguments[0])
        return lambda data: tuple(item_reader(item) for item in _listed(data))
    readers = [_reader(argument) for argument in arguments]
    return lambda data: tuple(read(item) for read, item in zip(readers, _listed(data), strict=True))


def _array_reader(arguments: tuple[Any, ...]) -> Reader:
    dtype = get_args(arguments[1])[0]
    return lambda data: np.array(_no_null(_listed(data)), dtype=dtype)


def _union_reader(arguments: tuple[Any, ...]) -> Reader:
    """Read the first member that takes the data; scalars match by exact type, so True is no int."""
    readers = [(kind, _reader(kind)) for kind in arguments if kind is not NoneType]
    scalars = {kind: read for kind, read in readers if kind in (bool, int, float, str)}

    def read(data: Any) -> Any:
        if data is None and NoneType in arguments:
            return None
        if (exact := scalars.get(type(data))) is not None:
            return exact(data)
        errors = []
        for _, reader in readers:
            try:
                return reader(data)
            except (TypeError, ValueError, KeyError) as error:
                errors.append(str(error))
        raise ValueError(" and ".join(errors))

    return read


def _scalar_reader(kind: Any) -> Reader:
    def read(data: Any) -> Any:
        if kind is float:
            return _as_float(data)
        if type(data) is not kind:
            raise TypeError(f"expected {kind.__name__}, found {data!r:.80}")
        return data

    return read


def _as_float(data: Any) -> float:
    if data is None:
        return math.nan
    if data in ("inf", "-inf") or (isinstance(data, int | float) and not isinstance(data, bool)):
        return float(data)
    raise TypeError(f"expected a number, found {data!r:.80}")


def _no_null(data: list[Any]) -> list[Any]:
    return [
        _no_null(item) if isinstance(item, list) else math.nan if item is None else item
        for item in data
    ]


def _listed(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise TypeError(f"expected a list, found {data!r:.80}")
    return data
