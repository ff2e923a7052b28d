"""What is measured of a service topology: names, noise, gaps, counters, histograms."""

from collections.abc import Callable

import numpy as np

from agent.evaluations.services.families import Family
from agent.evaluations.services.living import smooth
from agent.evaluations.services.wiring import System
from core.types import Floats

SLOWLY = 0.99  # of a wander is still there a row later
USERS_SEE = (
    "latency", "error", "availability", "response", "duration", "success", "5xx", "message_age",
)  # fmt: skip
MOVED_SD = 3.0  # standard deviations at which users notice


def measure(
    family: Family, system: System, state: dict[str, Floats], normal: int, rng: np.random.Generator
) -> tuple[tuple[str, ...], Floats]:
    """Return V column names and (T, V) readings of what the family measures."""
    count, steps = state["load"].shape
    names, columns = [], []
    astray = _astray(family, (len(family.metrics), count, steps), rng)
    for row, (metric, share) in enumerate(family.metrics.items()):
        for k in range(count):
            watched = k == 0 and metric == family.target
            client_only = family.client and k == 0 and not _seen_by_users(metric)
            if (rng.random() > share and not watched) or client_only:
                continue
            value = _reading(metric, system, {key: x[k] for key, x in state.items()}, k, rng)
            value = _lived(family, metric, value * astray[row, k], rng)
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
    return any(word in metric for word in USERS_SEE)


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


def _astray(family: Family, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return the factor by which every column strays for no reason; shares do not."""
    if not family.wander:
        return np.ones(shape)
    factor = np.exp(family.wander * smooth(rng, shape, SLOWLY))
    for row, metric in enumerate(family.metrics):
        if "avail" in metric or "success" in metric:
            factor[row] = 1.0
    return np.asarray(factor)


def _lived(family: Family, metric: str, value: Floats, rng: np.random.Generator) -> Floats:
    """Let a resource spike, and hold each reading until the next scrape."""
    if family.spikes and not _seen_by_users(metric):
        value = np.where(rng.random(value.size) < family.spikes, 2 * value, value)
    if family.held[1] > 1:
        held = int(rng.integers(family.held[0], family.held[1] + 1))
        at = np.maximum(np.arange(value.size) - rng.integers(held), 0) // held * held
        value = value[at]
    return np.asarray(value)


Reader = Callable[[dict[str, Floats], Floats], Floats]
READ: tuple[tuple[tuple[str, ...], Reader], ...] = (
    (("p9", "Maximum"), lambda own, jitter: own["latency"] * 2.5 * jitter),
    (
        ("latency", "response", "duration", "message_age"),
        lambda own, jitter: own["latency"] * jitter,
    ),
    (
        ("availability", "success"),
        lambda own, jitter: np.round(100 * (1 - own["error"] * jitter), 2),
    ),
    (("errors|Sum",), lambda own, jitter: own["error"] * jitter * own["load"]),
    (("error", "5xx"), lambda own, jitter: own["error"] * jitter),
    (("queue",), lambda own, jitter: np.round(own["queue"] * jitter)),
    (
        ("requests", "rps", "workload", "calls", "messages"),
        lambda own, jitter: np.round(own["load"] * jitter * 60) / 60,
    ),
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
