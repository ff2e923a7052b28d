"""What is measured of a service topology: names, noise, gaps, counters, histograms."""

from collections.abc import Callable

import numpy as np

from agent.evaluations.services.families import Family
from agent.evaluations.services.wiring import System
from core.types import Floats

MOVED_SD = 3.0  # standard deviations at which users notice


def measure(
    family: Family, system: System, state: dict[str, Floats], normal: int, rng: np.random.Generator
) -> tuple[tuple[str, ...], Floats]:
    """Return V column names and (T, V) readings of what the family measures."""
    count, steps = state["load"].shape
    names, columns = [], []
    for metric, share in family.metrics.items():
        for k in range(count):
            watched = k == 0 and metric == family.target
            client_only = family.client and k == 0 and not _seen_by_users(metric)
            if (rng.random() > share and not watched) or client_only:
                continue
            value = _reading(metric, system, {key: x[k] for key, x in state.items()}, k, rng)
            if metric in family.counters:
                value = np.cumsum(np.maximum(value, 0))
            elif rng.random() < family.shifts and not watched:
                at = int(rng.uniform(0.75, 1.0) * normal)
                value[at:] *= np.exp(rng.normal(0, 0.25))
            if family.buckets and metric.startswith("latency"):
                value = _bucketed(value)
            lost = rng.random(steps) < family.missing * rng.random() * 2 * (not watched)
            value[lost] = np.nan
            value[state["gone"][k] > 0] = np.nan if rng.random() < 0.5 else 0.0
            names.append(f"{system.names[k]}|{metric}")
            columns.append(value)
    return tuple(names), np.array(columns).T


def watched(columns: tuple[str, ...], value: Floats, normal: int, usual: str) -> tuple[str, bool]:
    """Name the column at the entry that users would complain about, and say whether it moved."""
    entry = usual.split("|", maxsplit=1)[0] + "|"
    best, most = usual, MOVED_SD
    for k, name in enumerate(columns):
        if name.startswith(entry) and _seen_by_users(name) and "p99" not in name:
            before, after = value[:normal, k], value[normal:, k]
            if np.isnan(after).all():
                continue
            moved = np.nanmean(after) - np.nanmean(before)
            scales = float(abs(moved) / (np.nanstd(before) + 1e-9))
            if scales > most:
                best, most = name, scales
    return best, most > MOVED_SD


def _seen_by_users(metric: str) -> bool:
    return any(word in metric for word in ("latency", "error", "availability", "response"))


def _reading(
    metric: str, system: System, own: dict[str, Floats], k: int, rng: np.random.Generator
) -> Floats:
    """Return one component's (T,) readings of a metric, by what its name says."""
    jitter = np.exp(0.08 * rng.standard_normal(own["load"].size))
    for words, read in READ:
        if any(word in metric for word in words):
            return read(own, jitter)
    if "mem" in metric:
        walk = np.cumsum(rng.standard_normal(jitter.size)) * 1e-3
        return np.asarray(system.memory[k] * (1 + walk + 0.02 * own["busy"] + own["leak"]))
    slowed = 1 - 0.2 * np.minimum(own["delay"], 1)
    return np.asarray(own["load"] * system.bytes[k] * jitter * slowed)


Reader = Callable[[dict[str, Floats], Floats], Floats]
READ: tuple[tuple[tuple[str, ...], Reader], ...] = (
    (("p9",), lambda own, jitter: own["latency"] * 2.5 * jitter),
    (("latency", "response"), lambda own, jitter: own["latency"] * jitter),
    (("availability",), lambda own, jitter: np.round(100 * (1 - own["error"] * jitter), 2)),
    (("errors|Sum",), lambda own, jitter: own["error"] * jitter * own["load"]),
    (("error",), lambda own, jitter: own["error"] * jitter),
    (("requests", "rps", "workload"), lambda own, jitter: np.round(own["load"] * jitter * 60) / 60),
    (("cpu",), lambda own, jitter: 100 * own["busy"] * jitter),
    (("load",), lambda own, jitter: np.round(4 * own["busy"] * jitter, 2)),
    (
        ("socket",),
        lambda own, jitter: np.round(20 + own["load"] * (0.05 + own["latency"]) * 10 * jitter),
    ),
    (("io_wait",), lambda own, jitter: 0.01 * own["disk"] / own["disk"].mean() * jitter),
    (("disk",), lambda own, jitter: own["disk"].copy()),
)


def _bucketed(value: Floats) -> Floats:
    """Read off a histogram with few buckets, as many exporters do."""
    edges = np.geomspace(0.005, 10, 16)
    return np.asarray(edges[np.clip(np.searchsorted(edges, value), 0, edges.size - 1)] * 0.92)
