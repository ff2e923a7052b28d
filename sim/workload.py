"""What a scenario names of its workload and machines, from the data files to tables.

Every figure of ``data/mixes.toml``, ``data/models.toml`` and ``data/gpus.toml`` has its source
there.
"""

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import InputError
from sim.checks import nearest
from sim.engine.rows_jobs import MIX, MODEL, SERVICE
from sim.engine.rows_machines import GPU_TYPE
from sim.engine.tables import Table
from sim.engine.words import NONE, JobKind
from sim.scenario import ServiceSpec

_DATA = Path(__file__).parent / "data"
_H100 = "h100"
_LAG_S = 90.0
_AIR_CELSIUS = 24.0
_WARM_CELSIUS = 63.68  # computing, in air of 24: 0.062 degC/W of an H100


def mixes() -> tuple[str, ...]:
    """Return the names of the job mixes."""
    return tuple(_file("mixes")["mix"])


def mix_table(name: str, gpus: int) -> Table:
    """Return the rows of a mix that fit a cluster of so many GPUs; their weights sum to 1.

    Jobs larger than the cluster are left out, for a site with such a cluster has none of them;
    InputError where no other is in the mix.
    """
    mix = _named("mix", "job mix", name)
    fitting = [row for row in mix["rows"] if row["gpus"] <= gpus]
    if not fitting:
        least = min(row["gpus"] for row in mix["rows"])
        raise InputError(
            f"job mix {name!r}: its smallest job needs {least} GPUs and the cluster has {gpus}; "
            "add nodes or name another mix."
        )
    table = np.zeros(len(fitting), dtype=MIX)
    for name_of in ("longest_s", "interval_s", "stall_s", "save_s", "bytes_per_s"):
        table[name_of] = mix[name_of]
    for name_of in ("gpus", "weight", "median_s", "sigma", "completes", "cancelled"):
        table[name_of] = [row[name_of] for row in fitting]
    table["kind"] = JobKind.TRAINING
    table["priority"] = [row.get("priority", 0) for row in fitting]
    table["weight"] /= table["weight"].sum()
    return table


def models_table(names: Iterable[str]) -> Table:
    """Return the measured scaling of models, a row each in that order."""
    wanted = [_named("model", "measured model", name) for name in names]
    table = np.zeros(len(wanted), dtype=MODEL)
    for row, model in zip(table, wanted, strict=True):
        row["alpha_c"], row["beta_c"] = model["computing"]
        row["alpha_n"], row["beta_n"] = model["network"]
        row["alpha_r"], row["beta_r"] = model["within"]
        for name in ("gamma", "noise", "batch", "local_batch"):
            row[name] = model[name]
    return table


def models() -> Mapping[str, tuple[float, float]]:
    """Return the measured models, each with the median and 90th percentile of its fit's error."""
    return {name: tuple(model["error"]) for name, model in _file("models")["model"].items()}


def gpu_types(names: Iterable[str]) -> Table:
    """Return GPU types, a row each in that order."""
    wanted = [_named("gpu", "GPU type", name) for name in names]
    fastest = _file("gpus")["gpu"][_H100]["tflops"]
    table = np.zeros(len(wanted), dtype=GPU_TYPE)
    for row, gpu in zip(table, wanted, strict=True):
        row["speed"] = gpu["tflops"] / fastest
        for name in ("memory_bytes", "watts", "idle_watts", "load_watts", "boost_hz", "idle_hz"):
            row[name] = gpu[name]
        row["throttle_celsius"] = gpu["throttle_celsius"]
        row["hold_celsius"] = gpu["throttle_celsius"] + 1
        row["resistance"] = (_WARM_CELSIUS - _AIR_CELSIUS) / gpu["load_watts"][-1]
        row["lag_s"] = _LAG_S
        row["link_bytes_per_s"] = gpu["link_bytes_per_s"]
    return table


def service_table(specs: Iterable[ServiceSpec]) -> Table:
    """Return services that have not begun, a row each in that order."""
    wanted = list(specs)
    table = np.zeros(len(wanted), dtype=SERVICE)
    names = ("rate", "daily", "burst", "replicas", "warm_s", "gpus_each", "batch", "batch_s")
    for row, spec in zip(table, wanted, strict=True):
        for name in (*names, "batch_more_s", "objective_s", "canary"):
            row[name] = getattr(spec, name)
    table["job"] = NONE
    table["canary_slow"] = table["surge"] = table["good"] = 1
    return table


def _named(kind: str, what: str, name: str) -> Mapping[str, Any]:
    file = "mixes" if kind == "mix" else f"{kind}s"
    known: Mapping[str, Mapping[str, Any]] = _file(file)[kind]
    if name not in known:
        raise InputError(f"there is no {what} {name!r}; {nearest(name, known)}.")
    return known[name]


@cache
def _file(name: str) -> Mapping[str, Any]:
    return tomllib.loads((_DATA / f"{name}.toml").read_text())
