"""A few nodes with GPUs, jobs on them, and windows of their readings, for tests of detectors."""

from collections.abc import Sequence

import numpy as np

from core.target import Target
from core.topology import Topology
from core.types import Anomaly, Breach, Event, Floats, Forecast, Severity, Window
from core.units import CATALOG

NOW_S = 1_700_000_000.0
STEP_S = 15.0
STEPS = 41
GPUS_A_NODE = 4


def times(steps: int = STEPS) -> Floats:
    """Evenly spaced, ending now."""
    return NOW_S - STEP_S * np.arange(steps - 1, -1, -1, dtype=np.float64)


def window(metric: str, targets: Sequence[Target], value: Floats) -> Window:
    return Window(metric, tuple(targets), times(value.shape[1]), value)


def nodes(count: int) -> list[Target]:
    return [Target(node=f"node-{n}") for n in range(count)]


def gpus(node_count: int) -> list[Target]:
    return [
        Target(node=f"node-{n}", gpu=f"GPU-{n}-{g}")
        for n in range(node_count)
        for g in range(GPUS_A_NODE)
    ]


def ranks(job: str, node_count: int, *, first: int = 0) -> list[Target]:
    return [
        Target(node=f"node-{n}", gpu=f"GPU-{n}-{g}", job=job, rank=str(n * GPUS_A_NODE + g))
        for n in range(first, first + node_count)
        for g in range(GPUS_A_NODE)
    ]


def topology(
    node_count: int, *, jobs: dict[str, Sequence[int]] | None = None, a_switch: int = 4
) -> Topology:
    """``jobs``: job -> its nodes, all of their GPUs; ``a_switch``: nodes a switch, two a rack."""
    placed = [(j, n) for j, (_, where) in enumerate((jobs or {}).items()) for n in where]
    pairs = [(j, n * GPUS_A_NODE + g) for j, n in placed for g in range(GPUS_A_NODE)]
    node = np.arange(node_count, dtype=np.int64)
    switches = -(-node_count // a_switch)
    return Topology(
        nodes=tuple(f"node-{n}" for n in range(node_count)),
        racks=tuple(f"rack-{r}" for r in range(-(-switches // 2))),
        switches=tuple(f"leaf-{s}" for s in range(switches)),
        gpus=tuple(f"GPU-{n}-{g}" for n in range(node_count) for g in range(GPUS_A_NODE)),
        jobs=tuple(jobs or {}),
        node_rack=node // (2 * a_switch),
        node_switch=node // a_switch,
        gpu_node=np.repeat(node, GPUS_A_NODE),
        rank_job=np.array([job for job, _ in pairs], dtype=np.int64),
        rank_gpu=np.array([gpu for _, gpu in pairs], dtype=np.int64),
    )


def anomaly(
    target: Target,
    metric: str = "node_memory_used_ratio",
    *,
    at_s: float = NOW_S,
    severity: Severity = Severity.WARNING,
) -> Anomaly:
    return Anomaly(
        target=target,
        metric=metric,
        start_s=at_s - 60,
        end_s=at_s,
        value=0.97,
        lower=0.0,
        upper=0.95,
        score=0.7,
        detector="static",
        severity=severity,
        text=f"{CATALOG[metric].text} of {target} is 97 %, limit 95 %, for 1 min",
    )


def event(
    target: Target,
    kind: str = "xid",
    code: str = "79",
    *,
    at_s: float = NOW_S,
    severity: Severity = Severity.CRITICAL,
) -> Event:
    return Event(target, at_s, kind, code, f"{kind} {code} on {target}", severity)


def breach(target: Target, *, at_s: float = NOW_S, in_s: float = 3000.0) -> Breach:
    return Breach(
        target=target,
        metric="node_memory_used_ratio",
        limit=0.95,
        made_at_s=at_s,
        horizon_s=7200.0,
        probability=0.9,
        expected_s=at_s + in_s,
        earliest_s=at_s + in_s - 300,
        latest_s=at_s + in_s + 300,
        value=0.7,
        model="prophet",
        skill=0.5,
    )


def swinging(metric: str, *, steps: int) -> tuple[Window, Forecast]:
    """Return two nodes on a daily swing that the forecast knows; the first leaves it at the end."""
    swing = 25 + 10 * np.sin(2 * np.pi * np.arange(steps) / 480)
    value = swing + 0.1 * np.random.default_rng(0).standard_normal((2, steps))
    value[0, -1] = swing[-1] + 6.0
    mean, seen = np.tile(swing, (2, 1)), window(metric, nodes(2), value)
    forecast = Forecast(
        metric=metric,
        targets=seen.targets,
        made_at_s=float(seen.time_s[0]),
        time_s=seen.time_s,
        mean=mean,
        lower=mean - 0.13,
        upper=mean + 0.13,
        coverage=0.8,
        model=("pool", "pool"),
        skill=np.ones(2),
    )
    return seen, forecast
