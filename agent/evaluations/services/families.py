"""Families of service topologies that differ strongly, some to tune on and some held out."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

HOG, LEAK, DELAY, LOSS, ERRORS, DISK, CRASH, SURGE = (
    "cpu-hog",
    "memory-leak",
    "delay",
    "packet-loss",
    "errors",
    "disk",
    "crash",
    "surge",
)
SHAPES = ("web", "chain", "fan", "mesh")
QUEUES = "queues"


@dataclass(frozen=True, slots=True)
class Family:
    """What the systems of one family have in common.

    size: fewest and most components
    shape: "web" random layers, "chain" deep, "fan" one entry calls most, "mesh" many shared stores,
        "queues" stages that feed each other, the last one watched
    step_s, normal, abnormal: seconds between rows, fewest and most rows of each window
    metrics: what is measured -> share of the components that have it
    target: the metric that is watched at the entry, or at an extra client of it
    noise: log sd of a component's own latency
    shifts: share of the columns whose level moves before the fault; missing: share of lost scrapes
    late: share of the abnormal window that passes before the fault shows
    closed: users wait for an answer, so that slow means fewer requests
    client: the entry only stands for the users, and has nothing but what they see
    graph: share of the systems whose graph is known; links_lost: share of its links that lack
    season: swing of the load, share of it; strength: least and most, of any fault
    counters: metrics that are running totals; buckets: latencies come from a histogram
    burst: share of the latencies that are slow for no reason
    held: fewest and most rows for which a reading stands until the next scrape
    wander: log sd by which every column strays for some hundred rows
    spikes: share of the rows in which a resource doubles for no reason
    """

    name: str
    size: tuple[int, int]
    shape: str
    step_s: float
    normal: tuple[int, int]
    abnormal: tuple[int, int]
    metrics: Mapping[str, float]
    target: str
    faults: tuple[str, ...]
    noise: float = 0.15
    shifts: float = 0.0
    missing: float = 0.0
    late: float = 0.0
    closed: bool = False
    client: bool = False
    graph: float = 1.0
    links_lost: float = 0.0
    season: float = 0.1
    strength: tuple[float, float] = (0.5, 2.0)
    counters: tuple[str, ...] = ()
    buckets: bool = False
    burst: float = 0.0
    held: tuple[int, int] = (1, 1)
    wander: float = 0.0
    spikes: float = 0.0


# Processor hogs, delays and errors are what fault injectors do most.
ALL = (HOG, HOG, LEAK, DELAY, DELAY, LOSS, ERRORS, ERRORS, DISK, CRASH)

TUNING = (
    Family(
        "pods",
        (8, 16),
        "web",
        60.0,
        (120, 300),
        (4, 8),
        {
            "cpu": 1,
            "mem": 1,
            "latency_p50": 0.9,
            "latency_p90": 0.9,
            "requests": 0.9,
            "rx": 1,
            "tx": 1,
        },
        "latency_p90",
        (HOG, HOG, LEAK, DELAY, DELAY, LOSS, ERRORS),
        client=True,
        shifts=0.1,
        buckets=True,
        missing=0.02,
        late=0.1,
        burst=0.02,
    ),
    Family(
        "seconds",
        (6, 14),
        "mesh",
        1.0,
        (200, 400),
        (60, 300),
        {"cpu": 1, "mem": 1, "latency_p90": 0.4, "requests": 0.5},
        "latency_p90",
        (HOG, HOG, LEAK, DELAY, LOSS),
        closed=True,
        shifts=0.3,
        noise=0.3,
    ),
    Family(
        "cloud",
        (20, 45),
        "web",
        300.0,
        (150, 400),
        (4, 8),
        {
            "latency|Average": 0.9,
            "latency|p90": 0.9,
            "availability|Average": 0.8,
            "requests|Sum": 0.9,
        },
        "latency|Average",
        (DELAY, DELAY, LOSS, ERRORS, ERRORS, SURGE),
        shifts=0.1,
        missing=0.15,
        season=0.4,
        noise=0.25,
        strength=(0.3, 2.0),
    ),
    Family(
        "hosts",
        (10, 25),
        "chain",
        15.0,
        (60, 240),
        (12, 40),
        {
            "cpu": 1,
            "mem": 1,
            "disk": 0.8,
            "load": 1,
            "rx": 1,
            "tx": 1,
            "socket": 0.8,
            "errors": 0.6,
            "latency_p50": 0.6,
            "latency_p90": 0.6,
        },
        "latency_p90",
        ALL,
        missing=0.05,
        late=0.3,
        burst=0.01,
        counters=("rx", "tx", "disk"),
    ),
)
HELD_OUT = (
    Family(
        "stores",
        (5, 12),
        "fan",
        10.0,
        (60, 180),
        (6, 30),
        {
            "cpu_usage": 1,
            "memory_rss": 1,
            "error_rate": 0.8,
            "rps": 0.8,
            "response_time": 0.8,
            "disk": 0.6,
        },
        "error_rate",
        (HOG, HOG, DELAY, LOSS, ERRORS, CRASH, DISK),
        closed=True,
        noise=0.4,
        shifts=0.15,
        graph=0.5,
        missing=0.1,
    ),
    Family(
        "wide",
        (30, 50),
        "fan",
        30.0,
        (100, 200),
        (10, 40),
        {
            "cpu": 0.9,
            "mem": 0.9,
            "rx": 0.9,
            "tx": 0.9,
            "workload": 0.9,
            "disk": 0.5,
            "latency_p90": 0.9,
            "latency_p99": 0.9,
            "io_wait": 0.5,
        },
        "latency_p99",
        ALL,
        client=True,
        late=0.4,
        links_lost=0.1,
        shifts=0.05,
        burst=0.02,
    ),
    Family(
        "managed",
        (25, 50),
        "mesh",
        60.0,
        (300, 600),
        (3, 6),
        {
            "latency|Average": 0.7,
            "latency|p50": 0.7,
            "latency|p95": 0.7,
            "availability|Average": 0.6,
            "requests|Sum": 0.8,
            "errors|Sum": 0.5,
        },
        "latency|p95",
        (DELAY, DELAY, LOSS, ERRORS, ERRORS, SURGE),
        season=0.6,
        missing=0.25,
        shifts=0.2,
        noise=0.35,
    ),
    Family(
        "ungraphed",
        (8, 20),
        "web",
        5.0,
        (100, 300),
        (10, 60),
        {
            "cpu": 1,
            "mem": 1,
            "latency": 0.8,
            "error": 0.8,
            "workload": 0.9,
            "socket": 1,
            "diskio": 1,
        },
        "latency",
        ALL,
        graph=0.0,
        shifts=0.1,
        burst=0.01,
    ),
)

MANY = 60  # abnormal rows: so many are scraped faster than they change
LOCAL = ("cpu", "mem", "disk", "socket", "io_wait", "rx", "tx", "load")
ENDS = (("latency|Average", "latency|p90"), ("latency_p50", "latency_p90"), ("response_time",))


def mixed(rng: np.random.Generator) -> Family:
    """Draw a family at random: no two systems have the same shape, metrics, pace and noise."""
    large = rng.random() < 0.5
    ends = ENDS[rng.integers(len(ENDS))]
    share = rng.uniform(0.4, 1.0)
    metrics = {name: float(share) for name in ends}
    if rng.random() < 0.6:
        metrics[str(rng.choice(["error_rate", "availability|Average"]))] = float(share)
    if rng.random() < 0.8:
        metrics[str(rng.choice(["requests", "workload"]))] = float(rng.uniform(0.5, 1.0))
    for name in rng.choice(LOCAL, size=int(rng.integers(0, 6)), replace=False):
        metrics[str(name)] = float(rng.uniform(0.7, 1.0))
    normal = int(np.exp(rng.uniform(np.log(60), np.log(600))))
    most = int(min(np.exp(rng.uniform(np.log(4), np.log(400))), normal))
    return Family(
        "mixed",
        (20, 45) if large else (5, 16),
        str(rng.choice(SHAPES)),
        float(rng.choice([1, 5, 15, 30, 60, 300])),
        (normal, normal),
        (min(3, most), most),
        metrics,
        ends[-1],
        (*ALL, SURGE),
        noise=float(rng.uniform(0.05, 0.5)),
        shifts=float(rng.uniform(0, 0.3)),
        missing=float(max(0.0, rng.uniform(-0.1, 0.2))),
        late=float(max(0.0, rng.uniform(-0.3, 0.5))),
        closed=bool(rng.random() < 0.5),
        client=bool(rng.random() < 0.3),
        graph=0.7,
        links_lost=float(max(0, rng.uniform(-0.1, 0.2))),
        season=float(rng.uniform(0, 0.6)),
        burst=float(max(0.0, rng.uniform(-0.03, 0.03))),
        counters=tuple(name for name in ("rx", "tx", "disk") if rng.random() < 0.2),
        buckets=bool(rng.random() < 0.2),
        held=(1, int(rng.choice([1, 1, 1, 15]))) if most > MANY else (1, 1),
        wander=float(max(0.0, rng.uniform(-0.1, 0.2))),
        spikes=float(max(0.0, rng.uniform(-0.02, 0.02))),
    )
