"""A CSV table of many columns: what its start says of it, and all of it by Arrow's reader."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.collect.csv_series import called, delimiter_of, is_cell, number
from core.errors import InputError

if TYPE_CHECKING:
    import pyarrow

# What is looked at of a file to tell its columns apart; a header of 100,000 names is 2 MB.
LOOKED_AT_BYTES = 8 << 20
LOOKED_AT_ROWS = 20
NO_VALUE = ("", "NA", "N/A", "n/a", "na", "NaN", "nan", "NULL", "null", "None", "none", "-")


@dataclass(frozen=True, slots=True)
class Head:
    """The start of a CSV file. comments: lines before the header."""

    delimiter: str
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    comments: int

    @property
    def named(self) -> bool:
        """Say whether the first row holds names, so neither numbers nor times."""
        comma = self.delimiter != ","
        return not any(is_cell(cell, decimal_comma=comma) for cell in self.names if cell)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Say of each column whether it begins with numbers, or with nothing."""
        comma = self.delimiter != ","
        cells = [[row[at] for row in self.rows if at < len(row) and row[at]] for at in self._range]
        return tuple(
            2 * sum(_is_number(cell, comma) for cell in column) >= len(column) for column in cells
        )

    @property
    def row_bytes(self) -> float:
        """Return the mean length of a row."""
        return sum(len(cell) + 1 for row in self.rows for cell in row) / len(self.rows)

    @property
    def _range(self) -> range:
        return range(len(self.names))


def head_of(path: Path) -> Head:
    """Look at the start of a CSV file with a header; InputError where it is none."""
    head = start_of(path)
    if len(head.names) < 2 or not head.rows:
        rows = len(head.rows) + (not head.named)
        wide = f" of {len(head.names)} columns" if rows else " below its header"
        raise InputError(
            f"reading {path}: found {rows} rows{wide}. It needs a header, and rows of a time and "
            "values."
        )
    if not head.named:
        raise InputError(
            f"reading {path}: its first row holds numbers, so its columns have no names. Put a "
            "header above it, or read one column of it with --column and its number."
        )
    return head


def start_of(path: Path) -> Head:
    """Look at the start of a CSV file; its first row is a header only if ``named``."""
    with path.open("rb") as file:
        raw = file.read(LOOKED_AT_BYTES)
    if not raw.strip():
        raise InputError(f"reading {path}: it is empty. It needs a header, times and values.")
    if b"\0" in raw[:65536]:
        raise InputError(f"reading {path}: it is binary, not CSV or Parquet. Export it as one.")
    text = raw.decode("utf-8-sig", errors="replace")
    lines = text.splitlines()
    lines = lines[:-1] if len(raw) == LOOKED_AT_BYTES else lines
    comments = next((at for at, line in enumerate(lines) if line[:1] != "#"), len(lines))
    delimiter = delimiter_of("\n".join(lines[comments : comments + LOOKED_AT_ROWS]))
    body = io.StringIO("\n".join(lines[comments : comments + LOOKED_AT_ROWS + 1]))
    try:
        cells = csv.reader(body, delimiter=delimiter)
        rows = [row for cut in cells if any(row := tuple(cell.strip() for cell in cut))]
    except csv.Error as error:
        raise InputError(f"reading {path}: it is not CSV ({error}).") from error
    return Head(delimiter, rows[0] if rows else (), tuple(rows[1:]), comments)


def _is_number(cell: str, comma: bool) -> bool:
    return bool(cell) and number(cell, decimal_comma=comma) is not None


def read_csv(
    path: Path, head: Head, text: Sequence[str], numbers: Sequence[str]
) -> "pyarrow.Table":
    """Read some columns as text and some as float64; InputError names the cell that is not."""
    import pyarrow as pa  # noqa: PLC0415  # heavy
    from pyarrow import csv as arrow  # noqa: PLC0415  # heavy

    types = dict.fromkeys(text, pa.string()) | dict.fromkeys(numbers, pa.float64())
    try:
        return arrow.read_csv(
            path,
            read_options=arrow.ReadOptions(
                column_names=list(head.names), skip_rows=head.comments + 1, use_threads=False
            ),
            parse_options=arrow.ParseOptions(delimiter=head.delimiter),
            convert_options=arrow.ConvertOptions(
                column_types=types,
                include_columns=[*text, *numbers],
                null_values=NO_VALUE,
                strings_can_be_null=True,
                decimal_point="," if head.delimiter != "," else ".",
            ),
        )
    except pa.ArrowInvalid as error:
        raise InputError(f"reading {path}: {_csv_trouble(str(error), head)}") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"reading {path}: {str(error).splitlines()[0][:200]}.") from error


def _csv_trouble(said: str, head: Head) -> str:
    """Put what the CSV reader says into words that name the column and what to do."""
    mixed = re.search(r"CSV column #(\d+):(?: Row #(\d+):)? CSV conversion .*value '(.*)'", said)
    if mixed:
        name = head.names[int(mixed[1])]
        row = f" in line {mixed[2]}" if mixed[2] else ""
        return (
            f"the column {called(name)} mixes numbers and text, such as {mixed[3][:40]!r}{row}. "
            "Correct it, or leave the column out with --columns."
        )
    wide = re.search(r"Expected (\d+) columns, got (\d+)", said)
    if wide:
        return (
            f"its header names {wide[1]} columns and a row has {wide[2]}. Every row needs as many "
            "cells as the header."
        )
    return f"it is not CSV ({said.splitlines()[0][:200]})."
