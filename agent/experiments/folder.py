"""The folder of an experiment: each run's result and truth as JSON, all of them as Parquet."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agent.experiments.results import RunResult, RunSpec
from agent.experiments.truth import truth_of
from core.codec import from_json, to_json
from core.errors import InputError

Rows = list[dict[str, Any]]
_LISTS = (
    "faults",
    "orders",
    "plans",
    "timeline",
    "spans",
    "settings",
    "uses_gpu_s",
    "losses_gpu_s",
)
_RUN = [
    ("run", pa.string()),
    ("policy", pa.string()),
    ("setting", pa.string()),
    ("seed", pa.int64()),
]
_SCHEMAS = {
    "timeline": [
        ("time_s", pa.float64()),
        ("goodput_ratio", pa.float64()),
        ("nodes_out", pa.int64()),
    ],
    "faults": [
        ("fault", pa.string()),
        ("target", pa.string()),
        ("onset_s", pa.float64()),
        ("mended_s", pa.float64()),
        ("severity", pa.float64()),
        ("interrupted", pa.int64()),
    ],
    "actions": [
        ("kind", pa.string()),
        ("target", pa.string()),
        ("started_s", pa.float64()),
        ("ended_s", pa.float64()),
        ("worked", pa.bool_()),
        ("plan", pa.string()),
    ],
    "jobs": [
        ("job", pa.string()),
        ("gpus", pa.int64()),
        ("phase", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
    ],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that runs are kept in; ``open_folder`` makes one."""

    path: Path

    def of(self, spec: RunSpec) -> Path:
        """Return where a run is kept; its name holds all that its result depends on."""
        words = [spec.policy, f"seed-{spec.seed}", spec.digest]
        return self.path / "runs" / "-".join(words)

    def kept(self, spec: RunSpec) -> RunResult | None:
        """Return the run's result if it is here already; a half-written one is not."""
        file = self.of(spec) / "result.json"
        if not file.exists():
            return None
        try:
            return from_json(RunResult, json.loads(file.read_text()))
        except (InputError, ValueError) as error:
            raise InputError(
                f"Taking up {file}: {error}. Delete the file to have the run computed again."
            ) from error

    def keep(self, spec: RunSpec, result: RunResult) -> None:
        """Write a run: ``truth.json`` first, and ``result.json`` whole or not at all."""
        into = self.of(spec)
        into.mkdir(parents=True, exist_ok=True)
        _write(into / "truth.json", truth_of(spec, result))
        _write(into / "result.json", to_json(result))

    def write_tables(self, results: Mapping[str, RunResult]) -> None:
        """Write the Parquet files of all runs, each by the name of its folder under ``runs``."""
        _table(self.path / "runs.parquet", [_run_row(name, r) for name, r in results.items()])
        parts: dict[str, Rows] = {name: [] for name in _SCHEMAS}
        for name, result in results.items():
            own = {**_key(name, result)}
            parts["timeline"] += _with(own, _timeline_rows(result))
            parts["faults"] += _with(own, map(asdict, result.faults))
            parts["actions"] += _with(own, map(asdict, result.orders))
            parts["jobs"] += _with(own, map(asdict, result.spans))
        for name, rows in parts.items():
            schema = pa.schema([*_RUN, *_SCHEMAS[name]])
            pq.write_table(pa.Table.from_pylist(rows, schema=schema), self.path / f"{name}.parquet")

    def write_page(self, html: str) -> None:
        """Write the report."""
        (self.path / "report.html").write_text(html, encoding="utf-8")


def open_folder(path: Path) -> Folder:
    """Return the folder, made if need be; InputError where nothing can be written into it."""
    try:
        (path / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"Writing results into {path}: {error.strerror}. Name a folder that you may "
            "write, --out DIR."
        ) from error
    if not os.access(path / "runs", os.W_OK):
        raise InputError(
            f"Writing results into {path}: you may not write there. Name another folder, --out DIR."
        )
    return Folder(path)


def setting_of(result: RunResult) -> str:
    """Return the settings in words, "" for none."""
    return ", ".join(f"{key}={value}" for key, value in result.settings)


def _key(name: str, result: RunResult) -> dict[str, Any]:
    return {
        "run": name,
        "policy": result.policy,
        "setting": setting_of(result),
        "seed": result.seed,
    }


def _run_row(name: str, result: RunResult) -> dict[str, Any]:
    """Return one row: scalars as they are, and a column for each setting, use and loss."""
    row = {"run": name, **to_json(result)}
    for part in _LISTS:
        row.pop(part)
    row |= {f"set.{key}": value for key, value in result.settings}
    row |= {f"use.{use}_gpu_s": value for use, value in result.uses_gpu_s}
    return row | {f"loss.{cause}_gpu_s": value for cause, value in result.losses_gpu_s}


def _timeline_rows(result: RunResult) -> Rows:
    line = result.timeline
    if line is None:
        return []
    columns = zip(line.time_s, line.goodput_ratio, line.nodes_out, strict=True)
    return [
        {"time_s": float(time_s), "goodput_ratio": float(ratio), "nodes_out": int(out)}
        for time_s, ratio, out in columns
    ]


def _with(own: dict[str, Any], rows: Iterable[dict[str, Any]]) -> Rows:
    return [{**own, **row} for row in rows]


def _table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows whose columns may differ: settings and causes are those that there were."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    pq.write_table(pa.table(columns), path)


def _write(path: Path, data: object) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(data, allow_nan=False))
    part.replace(path)
