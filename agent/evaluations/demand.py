"""How well the GPUs wanted in half an hour and an hour are foretold, against the last value.

A month of four clusters' queues (running and queued GPUs), and a day's request rate of a serving
cluster. The figure is the loss at the 90 % quantile, what one provisions for: nine times dearer to
have a GPU too few than one too many.
"""

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from core.figures import Row, at_most
from core.types import Floats
from detectors.forecast.demand import LEVELS, Wanted, demand

QUEUES = Path("traces") / "helios_earth_vc_load.csv"
REQUESTS = Path("telemetry") / "gentd26_cluster_load.csv.gz"
LEADS_S = (1200.0, 1800.0, 3600.0)
LEVEL = 0.9
WEEK_S = 7 * 86400.0
# Hours of requests before the first origin: there is one day in all.
REQUESTS_BEGIN_S = 6 * 3600.0
REQUESTS_STEP_S = 60.0
# A rate is told by the mean of some minutes: single minutes hold few requests.
MEAN_MIN = 10


def demand_rows(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Yield the ratio of losses and the share of time that the quantile was enough."""
    time_s, gpus = queues(folder)
    yield from _of_set("queues", time_s, gpus, (WEEK_S, 35 if quick else 7))
    time_s, rate = requests(folder)
    yield from _of_set("requests", time_s, rate, (REQUESTS_BEGIN_S, 5))


def queues(folder: Path) -> tuple[Floats, Floats]:
    """Return (T,) seconds and (S, T) GPUs running and queued of each cluster."""
    with (folder / QUEUES).open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    clusters = sorted({row["vc"] for row in read})
    own = [[row for row in read if row["vc"] == cluster] for cluster in clusters]
    wanted = [
        [float(row["running_gpu_num"]) + float(row["pending_gpu_num"]) for row in rows]
        for rows in own
    ]
    return np.array([float(row["t_s"]) for row in own[0]]), np.array(wanted)


def requests(folder: Path) -> tuple[Floats, Floats]:
    """Return (T,) seconds and (1, T) requests a second, means of ten minutes; 0 where none came."""
    with gzip.open(folder / REQUESTS, "rt", encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    rate = np.zeros(max(int(row["step"]) for row in read) + 1)
    for row in read:
        both = row["qps_api"], row["qps_generative"]
        rate[int(row["step"])] = sum(float(one) for one in both if one)
    mean = np.convolve(rate, np.ones(MEAN_MIN) / MEAN_MIN, mode="valid")
    return REQUESTS_STEP_S * np.arange(float(len(mean))), mean[None]


def _of_set(name: str, time_s: Floats, wanted: Floats, origins: tuple[float, int]) -> Iterator[Row]:
    """Yield figures for origins from some seconds on, every so many steps."""
    begin_s, every = origins
    step_s = float(time_s[1] - time_s[0])
    window = round(min(begin_s, WEEK_S) / step_s)
    last = len(time_s) - round(LEADS_S[-1] / step_s)
    at = np.arange(round(begin_s / step_s), last, every)
    told = np.stack([_told(time_s, wanted, int(one), window) for one in at])
    for index, lead_s in enumerate(LEADS_S):
        ahead = at + int(np.ceil(lead_s / step_s))
        truth, now = wanted[:, ahead].T, wanted[:, at].T
        ours, naive = (_loss(truth, guess).mean() for guess in (told[:, :, index], now))
        label = f'{{set="{name}",lead="{lead_s / 60:.0f}min"}}'
        yield at_most(
            f"demand_loss_ratio_vs_last{label}",
            float(ours / naive),
            1.0,
            unit="ratio",
            n=truth.size,
            note="loss at the 90 % quantile over the last value's",
        )
        enough = float((truth <= told[:, :, index] + 1e-9).mean())
        yield Row(f"demand_enough_at_0.9{label}", enough, "ratio", n=truth.size)


def _told(time_s: Floats, wanted: Floats, at: int, window: int) -> Floats:
    """Return (S, L) what is foretold at one origin."""
    part = slice(max(0, at - window), at + 1)
    seen = demand(Wanted(time_s[part], wanted[:, part]), lead_s=LEADS_S)
    return seen.gpus[:, :, LEVELS.index(LEVEL)]


def _loss(truth: Floats, guess: Floats) -> Floats:
    short = truth - guess
    return np.maximum(LEVEL * short, (LEVEL - 1) * short)
