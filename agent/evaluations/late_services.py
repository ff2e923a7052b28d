"""Whether services that answer late are told of, soon, and only they; on seeds not tuned on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.evaluations.odd_series import LEVEL, clean
from core.figures import Row, at_least, at_most
from core.target import Target
from core.types import Floats, Severity, Window
from detectors.progress import Lateness
from detectors.progress.lateness import LATENCY
from sim.library import scenario
from sim.scenario import ServiceSpec
from sim.telemetry import readings
from sim.world import World

SURGE, CANARY = "inference-surge", "bad-canary"
FIRST_SEED, DAY_S, STEP_S, WITHIN_S = 100, 86_400.0, 15.0, 1800.0
SPREADS = (0.05, 0.1, 0.2, 0.3)  # of a latency's logarithm
SERIES = 100
# One a hundred days, as of any other anomaly by default.
MOST_PER_DAY, SOON_S = 0.01, 300.0


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """(S, T) latencies of services; where the newest 5 min of one held an answer that was late."""

    window: Window
    late: NDArray[np.bool_]


def rows(*, quick: bool, progress: Callable[[str, int, int], None]) -> Iterator[Row]:
    """Yield how many late services are found and how soon, and warnings while none was late."""
    for name in (SURGE, CANARY):
        seeds = 5 if quick else 25
        delay_s = np.array([_delay_s(name, FIRST_SEED + seed) for seed in range(seeds)])
        label = f'{{scenario="{name}"}}'
        found = float(np.isfinite(delay_s).mean())
        if name == SURGE:
            yield at_least(f"late_service_recall{label}", found, 1.0, unit="ratio", n=seeds)
        else:
            note = "releases 1.5 to 3 times slower, of which the smaller are a day's swing"
            yield Row(f"late_service_recall{label}", found, "ratio", n=seeds, note=note)
        median_s = float(np.nanmedian(delay_s)) if found else np.nan
        yield at_most(f"late_service_delay_s{label}", median_s, SOON_S, unit="s", n=seeds)
        progress(f"late services, {name}", seeds, seeds)
    days, count = (0.5, 4) if quick else (3.0, 12)
    for kind, served in (("simulated", _simulated(count, days)), ("noise", _noise(days))):
        false, total = len(_false(served)), len(served.window.targets) * days
        label = f'{{set="{kind}"}}'
        note = f"{false} in {total:g} series-days"
        yield at_most(
            f"late_service_false_per_day{label}", false / total, MOST_PER_DAY, unit="", note=note
        )


def _delay_s(name: str, seed: int) -> float:
    """Return how long after its onset a fault's service is warned of; NaN: not in half an hour."""
    script = scenario(name)
    onset_s = script.start_s + script.faults[0].onset_s
    world = World.build(script, seed=seed)
    world.advance(onset_s + WITHIN_S)
    (window,) = readings(world, (LATENCY,), _times(script.start_s, onset_s + WITHIN_S))
    said = (time_s - onset_s for time_s, _ in _warned(window) if time_s >= onset_s)
    return next(said, np.nan)


def _warned(window: Window) -> Iterator[tuple[float, int]]:
    """Yield when a warning begins and of which row."""
    detector, live = Lateness(), set[Target]()
    row = {target: number for number, target in enumerate(window.targets)}
    for column, time_s in enumerate(window.time_s.tolist()):
        here = slice(column, column + 1)
        part = replace(window, time_s=window.time_s[here], value=window.value[:, here])
        seen = detector.look({LATENCY: part}, topology=None, now_s=time_s).anomalies
        now = {one.target for one in seen if one.severity is not Severity.INFO}
        yield from ((time_s, row[target]) for target in sorted(now - live, key=str))
        live = now


def _false(served: Served) -> list[float]:
    column = {time_s: number for number, time_s in enumerate(served.window.time_s.tolist())}
    return [at_s for at_s, row in _warned(served.window) if not served.late[row, column[at_s]]]


def _simulated(count: int, days: float) -> Served:
    """Make services of all loads and daily swings, no fault among them; some are too small."""
    script, value = scenario(SURGE), []
    spec = script.jobs[0].service or ServiceSpec(rate=900.0, replicas=28)
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        rng = np.random.default_rng(seed)
        drawn = (rng.uniform(*ends) for ends in ((450.0, 945.0), (0.1, 0.6), (0.05, 0.3)))
        rate, daily, burst = map(float, drawn)
        job = replace(script.jobs[0], service=replace(spec, rate=rate, daily=daily, burst=burst))
        world = World.build(replace(script, faults=(), jobs=(job,)), seed=seed)
        time_s = _times(world.now_s, world.now_s + days * DAY_S)
        world.advance(float(time_s[-1]))
        value.append(readings(world, (LATENCY,), time_s)[0].value[0])
    shown = np.array(value)
    back = np.stack([np.roll(shown, by, axis=1) for by in range(21)])
    return Served(_window(shown, time_s), np.nanmax(back, axis=0) > spec.objective_s)


def _noise(days: float) -> Served:
    noise, time_s = clean(SERIES, days=days, step_s=STEP_S, seed=FIRST_SEED)
    spread = np.array(SPREADS)[np.arange(SERIES) // 4 % len(SPREADS)]
    value = np.exp(spread[:, None] * (noise - LEVEL))
    return Served(_window(value, time_s), np.zeros(value.shape, np.bool_))


def _window(value: Floats, time_s: Floats) -> Window:
    return Window(LATENCY, tuple(Target(job=f"{k}") for k in range(len(value))), time_s, value)


def _times(begin_s: float, end_s: float) -> Floats:
    return np.arange(begin_s + STEP_S, end_s + STEP_S / 2, STEP_S, dtype=np.float64)
