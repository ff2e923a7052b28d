"""``gpumedic replay``: play recorded telemetry to the controller, or to a real Prometheus."""

import asyncio
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from agent.commands.console import AsJson, at, err, print_json, say, tell
from agent.commands.options import Duration, listen_address, seconds
from core.durations import lasting

if TYPE_CHECKING:
    from agent.replaying import Part, Played, PlaySettings


def replay(
    file: Annotated[Path, typer.Argument(help="A recording: parquet or CSV, a row a reading.")],
    layout: Annotated[
        str, typer.Option(help="How it is laid out: genai, or long (series, time, value).")
    ] = "long",
    metric: Annotated[
        str, typer.Option(help="Of the long layout: what its values are in the catalogue.")
    ] = "node_memory_used_ratio",
    step: Annotated[str, typer.Option(help="Of the long layout: time between readings.")] = "1m",
    limit: Annotated[
        float | None, typer.Option(help="Limit of --metric, for the catalogue's own.")
    ] = None,
    horizon: Annotated[str, typer.Option(help="How far ahead to warn, such as 2h.")] = "2h",
    false_alarms_per_day: Annotated[
        float,
        typer.Option(min=0.001, max=24, help="False warnings that are put up with, each series."),
    ] = 0.1,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS:PORT", callback=listen_address, help="Serve its present as /metrics."
        ),
    ] = None,
    openmetrics: Annotated[
        Path | None, typer.Option(help="Write its past into this file, for promtool to load.")
    ] = None,
    now_at: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the recording that is past.")
    ] = 0.5,
    speed: Annotated[float, typer.Option(min=0.001, help="Recorded seconds in a real one.")] = 1.0,
    duration: Duration = 0.0,
    as_json: AsJson = False,
) -> None:
    """Play a recording through the controller as fast as it goes: was it warned of in time?

    With --listen or --openmetrics it is given to a real Prometheus instead.
    """
    from agent.replaying import Part, PlaySettings, read
    from core.units import CATALOG

    if metric not in CATALOG:
        near = ", ".join(get_close_matches(metric, CATALOG, n=3, cutoff=0.0))
        text = f"{metric!r} is not in the catalogue; near it are {near}"
        raise typer.BadParameter(text, param_hint="--metric")
    frames = read(file, layout, metric=metric, step_s=seconds(step, "--step"))
    part = Part.of(frames, now_at=now_at, speed=speed)
    if openmetrics is not None:
        _write(part, openmetrics, as_json=as_json)
    if listen is not None:
        tell(f"Serving {file} at http://{listen}/metrics ...")
        asyncio.run(part.serve(listen, duration_s=duration))
    if openmetrics is None and listen is None:
        wanted = PlaySettings(
            horizon_s=seconds(horizon, "--horizon"),
            false_alarms_per_day=false_alarms_per_day,
            limits={} if limit is None else {metric: limit},
            duration_s=duration,
        )
        _play(part, wanted, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel="Experiments")(replay)


def _write(part: "Part", path: Path, *, as_json: bool) -> None:
    from core.clock import RealClock

    rows = part.write_past(path, clock=RealClock())
    if as_json:
        print_json({"file": str(path), "readings": rows})
        return
    say(f"{rows} readings written to {path}; load them into Prometheus' data folder with")
    say(f"  promtool tsdb create-blocks-from openmetrics {path} DATA")


def _play(part: "Part", wanted: "PlaySettings", *, as_json: bool) -> None:
    from agent.replaying import play
    from core.codec import to_json

    with Progress(console=err, transient=True) as bar:
        task = bar.add_task("playing", total=1.0)
        found = asyncio.run(play(part, wanted, progress=lambda s: bar.update(task, completed=s)))
    print_json(to_json(found)) if as_json else _print(found)


def _print(found: "Played") -> None:
    for each in found.warnings:
        head = f"incident {each.incident_id}: {each.target} {each.metric} beyond {each.limit:g}"
        if each.crossed_s is None or each.ahead_s is None:
            came = "it did not cross within the horizon"
        else:
            came = f"it crossed at {at(each.crossed_s)}, {lasting(each.ahead_s)} later"
        say(f"{at(each.warned_s)}  {head} (p = {each.probability:.2f}); {came}.")
    say(
        f"{lasting(found.played_s)} of {found.series} series: {found.incidents} incidents, "
        f"{len(found.warnings)} warnings; {found.foreseen} of {found.crossings} crossings foreseen."
    )
