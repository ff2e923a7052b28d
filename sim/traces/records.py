"""Rows of a csv, json or parquet file, plain or gzipped, one after another: never the whole file.

A row is known by where it stands, so that whoever reads can say which one is wrong.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from core.errors import InputError

Cells = Sequence[object]
Placed = tuple[int, Cells]

_CHUNK = 1 << 16  # characters of json, rows of parquet: memory stays at a few MiB
_GROUP = 8192
_SKIP = re.compile(r"[ \t\r\n,]*")


@dataclass(slots=True)
class Records:
    """An open table: the names of its columns and an iterator over (place, cells).

    unit: what a place counts, ``line`` or ``row``, from 1
    """

    path: Path
    columns: tuple[str, ...]
    rows: Iterator[Placed]
    unit: str = "line"


def open_records(path: Path, *, names: tuple[str, ...] = ()) -> Records:
    """Open a table; its ending says how it is written: csv, json, jsonl, parquet, with .gz or not.

    names: columns of a csv file that has no header line; "" as found in its first line
    InputError where there is no file, nothing in it, or it is not what its ending says.
    """
    if not path.is_file():
        raise InputError(
            f"reading {path}: there is no such file. Give the path of a csv, json, jsonl or "
            "parquet file, plain or as .gz."
        )
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = next((suffix for suffix in reversed(suffixes) if suffix != ".gz"), "")
    if kind == ".parquet":
        return _parquet(path)
    if kind in {".json", ".jsonl", ".ndjson"} or path.name.startswith("cluster_job_log"):
        return _json(path)
    if kind in {".csv", ".txt", ""}:
        return _csv(path, names)
    raise InputError(
        f"reading {path}: its ending {kind!r} is none of .csv, .json, .jsonl, .parquet, plain or "
        "with .gz. Rename or convert it."
    )


def _text(path: Path, *, by_line: bool) -> Iterator[str]:
    """Yield a text file's lines or pieces, gzipped or not; says where it is no text."""
    line = 0
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            plain: Any = gzip.GzipFile(fileobj=raw) if zipped else raw
            text = io.TextIOWrapper(plain, encoding="utf-8-sig", newline="")
            for part in text if by_line else iter(lambda: text.read(_CHUNK), ""):
                line += part.count("\n")
                yield part
    except UnicodeDecodeError as error:
        raise InputError(
            f"reading {path}: after line {line} there is a byte {error.object[error.start]:#04x} "
            "that is not UTF-8. Give the file as UTF-8 text."
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"reading {path}: the compressed file is damaged after line {line} ({error}). "
            "Fetch it again."
        ) from error
    except OSError as error:
        raise InputError(f"reading {path}: {error.strerror}. Make it readable.") from error


def _csv(path: Path, names: tuple[str, ...]) -> Records:
    rows = _csv_rows(path)
    first = next(rows, None)
    if first is None:
        raise InputError(
            f"reading {path}: the file is empty. It needs a header line and a line for each row."
        )
    found = tuple(str(name).strip() for name in first[1])
    if names and found != names:
        return Records(path, names, chain([first], rows))
    if twice := sorted({name for name in found if found.count(name) > 1}):
        raise InputError(
            f"reading {path}: its header names {', '.join(twice)} twice. Name each column once."
        )
    return Records(path, found, rows)


def _csv_rows(path: Path) -> Iterator[Placed]:
    reader = csv.reader(_text(path, by_line=True), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(
            f"reading {path}, line {reader.line_num}: {error}. Each line must be one row of "
            "comma-separated cells."
        ) from error


def _json(path: Path) -> Records:
    objects = _json_objects(path)
    first = next(objects, None)
    if first is None:
        raise InputError(
            f"reading {path}: found no object in it. It must hold a JSON array of objects, or an "
            "object a line."
        )
    columns = tuple(first[1])
    return Records(path, columns, _json_rows(chain([first], objects), columns))


def _json_rows(
    objects: Iterable[tuple[int, dict[str, object]]], columns: tuple[str, ...]
) -> Iterator[Placed]:
    for line, found in objects:
        yield line, [found.get(name) for name in columns]


def _json_objects(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the objects of an array, or one after another, each with the line it begins on."""
    decode = json.JSONDecoder().raw_decode
    pieces = _text(path, by_line=False)
    text, at, line, in_array = "", 0, 1, False
    while True:
        begin = _SKIP.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        line += text.count("\n", at, begin)
        at = begin
        if text[at : at + 1] == "[" and not in_array:
            in_array, at = True, at + 1
            continue
        try:
            value, end = decode(text, at)
        except json.JSONDecodeError as error:
            more = next(pieces, "")
            if more:
                text, at = text[at:] + more, 0
                continue
            if text[at : at + 1] in {"", "]"}:
                return
            raise _bad_json(path, line, error.msg, text.count("\n", at, error.pos)) from error
        if not isinstance(value, dict):
            raise InputError(
                f"reading {path}, line {line}: found {str(value)[:40]!r}; expected an object with "
                "a key for each column."
            )
        yield line, value
        line += text.count("\n", at, end)
        at = end


def _bad_json(path: Path, line: int, found: str, further: int) -> InputError:
    return InputError(
        f"reading {path}, line {line + further}: {found[:1].lower()}{found[1:]}, in the object "
        f"that begins on line {line}. It must hold a JSON array of objects, or an object a line."
    )


def _parquet(path: Path) -> Records:
    # 100 ms that only such a file pays.
    import pyarrow  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    try:
        table = parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(
            f"reading {path}: it is no parquet file ({error}). Fetch it again, or name it for "
            "what it is."
        ) from error
    return Records(path, tuple(table.schema_arrow.names), _parquet_rows(table), unit="row")


def _parquet_rows(table: Any) -> Iterator[Placed]:
    row = 0
    for batch in table.iter_batches(batch_size=_GROUP):
        for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            row += 1
            yield row, cells
