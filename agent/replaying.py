"""A recording played to the controller in virtual time, or given to a real Prometheus."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from agent.assembly import Inputs, assemble
from agent.collect.replay import (
    GENAI_PODS,
    Columns,
    Mapped,
    ReplayExporter,
    ReplaySource,
    openmetrics,
    read_recording,
    shift_to,
)
from agent.config import Settings
from agent.controller import Controller
from agent.log import start_logging
from agent.node import NodeService
from agent.service import Service
from agent.serving import serve
from agent.systemd import Systemd
from core.clock import Clock, ManualClock, RealClock, ScaledClock
from core.errors import InputError
from core.target import Target
from core.types import Floats, Window
from core.units import CATALOG, Bad

# A recording that counts its steps from 0 is played from here, a whole day: 2024-01-01.
START_S = 1_704_067_200.0
EPOCH_LIKE_S = 1e8
# A series that flaps about its limit crosses it once.
QUIET_S = 1800.0
GENAI, LONG = "genai", "long"


def read(path: Path, layout: str, *, metric: str, step_s: float) -> tuple[Window, ...]:
    """Return a recording on its own time, or from 2024 on where it only counts steps.

    layout: ``genai``, or ``long`` with columns series, time and value, which are ``metric``
    """
    if layout not in (GENAI, LONG):
        raise InputError(f"Reading {path}: there is no layout {layout!r}, only {GENAI} and {LONG}.")
    own = Columns("series", "time", "value", step_s=step_s, metrics={"": Mapped(metric)})
    frames = read_recording(path, GENAI_PODS if layout == GENAI else own)
    if min(float(frame.time_s[0]) for frame in frames) > EPOCH_LIKE_S:
        return frames
    shift_s = shift_to(frames, start_s=START_S)
    return tuple(
        Window(frame.metric, frame.targets, frame.time_s + shift_s, frame.value) for frame in frames
    )


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A recording split in past and future.

    start_s, now_s, end_s: recorded time; speed: recorded seconds in a real one
    """

    frames: tuple[Window, ...]
    start_s: float
    now_s: float
    end_s: float
    speed: float

    @classmethod
    def of(cls, frames: tuple[Window, ...], *, now_at: float, speed: float) -> "Part":
        """Split where ``now_at``, a share of the recording, is past."""
        start_s = min(float(frame.time_s[0]) for frame in frames)
        end_s = max(float(frame.time_s[-1]) for frame in frames)
        return cls(frames, start_s, start_s + now_at * (end_s - start_s), end_s, speed)

    def write_past(self, path: Path, *, clock: Clock) -> int:
        """Write the past, ending now, as OpenMetrics; returns how many readings there are."""
        past = [
            Window(frame.metric, frame.targets, frame.time_s[kept], frame.value[:, kept])
            for frame in self.frames
            if (kept := frame.time_s <= self.now_s).any()
        ]
        count = 0
        try:
            with path.open("w") as file:
                for line in openmetrics(past, shift_s=clock.now_s() - self.now_s):
                    count += not line.startswith("#")
                    file.write(line)
        except OSError as error:
            raise InputError(
                f"Writing {path}: {error.strerror}. Name a file in a folder you may write."
            ) from error
        return count

    def exporter(self) -> ReplayExporter:
        """Return a reader of the recording's present, which goes on from now."""
        clock = ScaledClock(start_s=self.now_s, speed=self.speed)
        return ReplayExporter(self.frames, clock)

    async def serve(self, listen: str, *, duration_s: float) -> None:
        """Serve the present as /metrics, going on from now, until a signal or ``duration_s``."""
        real = RealClock()
        page = NodeService((self.exporter(),), clock=real)

        async def nothing() -> None:
            return

        await Service(
            systemd=Systemd(os.environ, real),
            periodic=(),
            servers=(lambda stop: serve(page.app, listen, stop),),
            status=lambda: f"Serving a recording at {listen}.",
            healthy=lambda: True,
            reload=nothing,
            close=nothing,
            duration_s=duration_s,
        ).run()


@dataclass(frozen=True, slots=True)
class PlaySettings:
    """What to warn of.

    false_alarms_per_day: the budget of each series
    duration_s: recorded seconds to play, 0 for all
    """

    horizon_s: float = 7200.0
    false_alarms_per_day: float = 0.1
    limits: Mapping[str, float] = field(default_factory=dict)
    duration_s: float = 0.0
    refit_steps: int = 10

    def limit(self, metric: str) -> float:
        """Return the limit of a metric, NaN where it has none."""
        return self.limits.get(metric, CATALOG[metric].limit)


@dataclass(frozen=True, slots=True)
class Warned:
    """One expected crossing, as first told in an incident, and what the recording then did.

    crossed_s: the first crossing within the horizon after the warning; None: there was none
    ahead_s: crossed_s - warned_s; None likewise
    """

    incident_id: str
    target: Target
    metric: str
    limit: float
    warned_s: float
    expected_s: float
    probability: float
    crossed_s: float | None
    ahead_s: float | None


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a recording.

    crossings: times a series went beyond its limit after half an hour within it
    foreseen: crossings with a warning before them, no earlier than the horizon
    """

    series: int
    played_s: float
    incidents: int
    crossings: int
    foreseen: int
    warnings: tuple[Warned, ...]


async def play(
    part: Part, wanted: PlaySettings, *, progress: Callable[[float], None] = lambda share: None
) -> Played:
    """Run the controller over a recording, watching only, and hold its warnings against it."""
    step_s = min(float(np.diff(frame.time_s).min(initial=np.inf)) for frame in part.frames)
    if not np.isfinite(step_s):
        raise InputError("Replaying: the recording has one point in time and needs more.")
    end_s = min(part.end_s, part.start_s + (wanted.duration_s or np.inf))
    clock = ManualClock(part.start_s)
    start_logging(level="warning", form="auto", clock=clock, stream=sys.stderr)
    inputs = Inputs(sources=(ReplaySource(part.frames, clock),))
    warnings: dict[tuple[str, Target, str], Warned] = {}
    incidents: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="gpumedic-replay-") as folder:
        app = await assemble(_settings(Path(folder), step_s, wanted), inputs, clock=clock)
        controller = app.controller
        try:
            for number in range(int((end_s - part.start_s) / step_s) + 1):
                if number % wanted.refit_steps == 0:
                    await controller.refit()
                await controller.cycle()
                incidents.update(incident.id for incident in controller.watch.recent())
                _note_warnings(controller, warnings, now_s=clock.now_s())
                progress(number * step_s / max(step_s, end_s - part.start_s))
                await clock.advance(step_s)
        finally:
            await app.close()
    return _held_against(part, wanted, warnings.values(), incidents=len(incidents), end_s=end_s)


def _settings(folder: Path, step_s: float, wanted: PlaySettings) -> Settings:
    chosen: dict[str, Any] = {
        "cluster": "replay",
        "state_dir": folder,
        "cycle": {"interval": f"{step_s:.0f}s", "refit": f"{wanted.refit_steps * step_s:.0f}s"},
        "history": {"step": f"{step_s:.0f}s"},
        "detect": {"silence_after": f"{5 * step_s:.0f}s"},
        "forecast": {
            "horizon": f"{wanted.horizon_s:.0f}s",
            "false_alarms_per_day": wanted.false_alarms_per_day,
            "limits": dict(wanted.limits),
        },
    }
    return Settings(**chosen)


def _note_warnings(
    controller: Controller, warnings: dict[tuple[str, Target, str], Warned], *, now_s: float
) -> None:
    """Keep the first warning an incident gives of a series that is not beyond its limit yet."""
    for incident in controller.watch.live():
        for breach in incident.breaches:
            if _beyond(np.array([breach.value]), breach.metric, breach.limit)[0]:
                continue
            key = (incident.id, breach.target, breach.metric)
            warnings.setdefault(
                key,
                Warned(
                    incident_id=incident.id,
                    target=breach.target,
                    metric=breach.metric,
                    limit=breach.limit,
                    warned_s=now_s,
                    expected_s=breach.expected_s,
                    probability=breach.probability,
                    crossed_s=None,
                    ahead_s=None,
                ),
            )


def _held_against(
    part: Part, wanted: PlaySettings, warnings: Iterable[Warned], *, incidents: int, end_s: float
) -> Played:
    """Hold the warnings against what the recording did afterwards."""
    crossings = {
        (target, frame.metric): _crossings(frame.time_s, row, frame.metric, limit)
        for frame in part.frames
        if not np.isnan(limit := wanted.limit(frame.metric))
        for target, row in zip(frame.targets, frame.value[:, frame.time_s <= end_s], strict=True)
    }
    held, foreseen = [], set()
    for warning in warnings:
        name = (warning.target, warning.metric)
        after_s = crossings[name] - warning.warned_s
        due = after_s[(after_s > 0) & (after_s <= wanted.horizon_s)]
        if not due.size:
            held.append(warning)
            continue
        crossed_s = warning.warned_s + float(due[0])
        held.append(replace(warning, crossed_s=crossed_s, ahead_s=float(due[0])))
        foreseen.add((name, crossed_s))
    return Played(
        series=sum(len(frame.targets) for frame in part.frames),
        played_s=end_s - part.start_s,
        incidents=incidents,
        crossings=sum(len(times) for times in crossings.values()),
        foreseen=len(foreseen),
        warnings=tuple(held),
    )


def _crossings(time_s: Floats, value: Floats, metric: str, limit: float) -> Floats:
    """Return when a series went beyond its limit, after QUIET_S within it; unseen is within."""
    beyond_s = time_s[: len(value)][_beyond(value, metric, limit)]
    since_s = np.diff(beyond_s, prepend=time_s[0])
    return np.asarray(beyond_s[since_s > QUIET_S])


def _beyond(value: Floats, metric: str, limit: float) -> np.ndarray[tuple[int, ...], Any]:
    return np.asarray(value < limit if CATALOG[metric].bad is Bad.LOW else value > limit)
