"""Recorded fault injections of demo systems, cut into cases as the README beside them says."""

import csv
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.evaluations.services.cases import Case
from core.types import Floats, Ints

# All from the README beside the recordings.
CONTROLS = 12
CONTROL_ROWS, CONTROL_ROWS_OF_DAY = 60, 5
ABNORMAL_S = (20.0, 320.0)
GUARD_S = (-40.0, 420.0)
NORMAL_ROWS = 240


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """columns: V names; time_s: (R,); value: (R, V); text: other columns, R entries each."""

    columns: tuple[str, ...]
    time_s: Floats
    value: Floats
    text: Mapping[str, Sequence[str]]


def systems(folder: Path) -> Iterator[tuple[str, list[Case], list[Case]]]:
    """Yield every recorded system with its cases and with windows of it without a fault."""
    for meta in sorted(folder.glob("*/meta.json")):
        told = json.loads(meta.read_text())
        of_day = "inject" in told["cases"][0]
        cut = _by_day if of_day else _by_case
        yield meta.parent.name, *cut(meta.parent, told)


def _by_case(folder: Path, told: Mapping[str, Any]) -> tuple[list[Case], list[Case]]:
    table = _read(folder / "cases.csv.gz")
    case_of, phase = (np.array(table.text[name]) for name in ("case", "phase"))
    cases, quiet = [], []
    for about in told["cases"]:
        own = case_of == about["id"]
        before = np.flatnonzero(own & (phase == "normal"))
        after = np.flatnonzero(own & (phase == "abnormal"))
        cases.append(_case(table, (before, after), told, about))
        split = np.split(before, [-CONTROL_ROWS])
        quiet.append(_case(table, (split[0], split[1]), told, _faultless(about)))
    return cases, quiet[:: max(1, len(quiet) // CONTROLS)][:CONTROLS]


def _by_day(folder: Path, told: Mapping[str, Any]) -> tuple[list[Case], list[Case]]:
    table = _read(*sorted(folder.glob("day*")))
    since = table.time_s[:, None] - np.array([about["inject"] for about in told["cases"]])
    free = ~((since > GUARD_S[0]) & (since < GUARD_S[1])).any(axis=1)
    cases, quiet = [], []
    for k, about in enumerate(told["cases"]):
        hit = (since[:, k] >= ABNORMAL_S[0]) & (since[:, k] <= ABNORMAL_S[1])
        near = _near(free, since[:, k])
        cases.append(_case(table, (near, np.flatnonzero(hit)), told, about))
    clear = np.flatnonzero(free)
    for share in np.linspace(0.1, 0.95, CONTROLS):
        cut = clear[int(share * clear.size) :][:CONTROL_ROWS_OF_DAY]
        rest = free.copy()
        rest[cut] = False
        near = _near(rest, table.time_s - table.time_s[cut[0]])
        quiet.append(_case(table, (near, cut), told, _faultless(told["cases"][0])))
    return cases, quiet


def _read(*paths: Path) -> _Table:
    rows: list[list[str]] = []
    for path in paths:
        with gzip.open(path, "rt", newline="") as file:
            header, *body = csv.reader(file)
        rows += body
    rows.sort(key=lambda row: float(row[0]))
    measured = [k for k, name in enumerate(header) if "|" in name]
    value = [[float(row[k]) if row[k] else np.nan for k in measured] for row in rows]
    return _Table(
        tuple(header[k] for k in measured),
        np.array([float(row[0]) for row in rows]),
        np.array(value),
        {name: [row[k] for row in rows] for k, name in enumerate(header) if k and "|" not in name},
    )


def _near(free: NDArray[np.bool_], since: Floats) -> Ints:
    rows = np.flatnonzero(free)
    return np.sort(rows[np.argsort(np.abs(since[rows]), kind="stable")[:NORMAL_ROWS]])


def _faultless(about: Mapping[str, Any]) -> dict[str, Any]:
    return {**about, "truth": [], "fault": "none"}


def _case(
    table: _Table, cut: tuple[Ints, Ints], told: Mapping[str, Any], about: Mapping[str, Any]
) -> Case:
    before, after = cut
    return Case(
        table.columns,
        table.value[before],
        table.value[after],
        table.time_s[before],
        table.time_s[after],
        tuple((a, b) for a, b in told["graph"]["edges"]),
        about["target"],
        tuple(about["truth"]),
        about["fault"],
    )
