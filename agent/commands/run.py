"""Verbs that start a process: run, node, controller, demo."""

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from agent.commands.console import AsJson, ExitCode, out, print_json, say, tell
from agent.commands.options import ConfigFiles, Duration, listen_address, load_settings
from core.durations import lasting

if TYPE_CHECKING:
    from agent.config import Loaded
    from agent.demo import DemoResult

PANEL = "Start here"
Prometheus = Annotated[
    str | None, typer.Option("--prometheus", metavar="URL", help="Where Prometheus answers.")
]
Listen = Annotated[
    str | None,
    typer.Option(
        "--listen", metavar="ADDRESS:PORT", callback=listen_address, help="Where to serve."
    ),
]
Node = Annotated[str | None, typer.Option("--node", help="This machine's node name.")]
LogJson = Annotated[bool, typer.Option("--json", help="Log JSON lines, on a terminal too.")]


class Mode(StrEnum):
    """``core.types.Autonomy`` in words; importing that would cost ``--help`` its speed."""

    OBSERVE = "observe"
    SUGGEST = "suggest"
    APPROVE = "approve"
    AUTO = "auto"


class RealKind(StrEnum):
    """Real clusters that this machine can run."""

    TORCHRUN = "torchrun"
    SLURM = "slurm"


NODE_LISTEN = "127.0.0.1:9642"
# A verified healing takes seconds under the launcher and minutes under Slurm; machines are slow.
REAL_LIMIT_S = 300.0


def run(
    config: ConfigFiles = None,
    prometheus: Prometheus = None,
    listen: Listen = None,
    node: Node = None,
    duration: Duration = 0.0,
    as_json: LogJson = False,
) -> None:
    """Watch this machine and a local Prometheus, in one process, with a page. Changes nothing."""
    flags = {"prometheus.url": prometheus, "server.listen": listen, "host.node": node}
    _start(config, flags, with_host=True, duration=duration, as_json=as_json)


def controller(
    config: ConfigFiles = None,
    prometheus: Prometheus = None,
    listen: Listen = None,
    duration: Duration = 0.0,
    as_json: LogJson = False,
) -> None:
    """Watch a cluster through its Prometheus: forecast, diagnose, tell; act where allowed to."""
    flags = {"prometheus.url": prometheus, "server.listen": listen}
    _start(config, flags, with_host=False, duration=duration, as_json=as_json)


def node(
    config: ConfigFiles = None,
    listen: Annotated[
        str,
        typer.Option(
            "--listen",
            metavar="ADDRESS:PORT",
            callback=listen_address,
            help="Where to serve /metrics.",
        ),
    ] = NODE_LISTEN,
    name: Node = None,
    duration: Duration = 0.0,
    once: Annotated[
        bool, typer.Option("--once", help="Read once, print all that is read, and end.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Log JSON lines, on a terminal too; print JSON once.")
    ] = False,
) -> None:
    """Serve this machine's readings for Prometheus: small, for every GPU node.

    --once shows what can be read here and what cannot, with the reason.
    """
    flags = {"host.node": name, "log.format": "json" if as_json else None}
    loaded = load_settings(config, flags)
    if once:
        _read_once(loaded, as_json=as_json)
        return
    from agent.start import start_node

    start_node(loaded, listen=listen, duration_s=duration)


def _read_once(loaded: "Loaded", *, as_json: bool) -> None:
    from agent.node_once import as_lines, read_once
    from agent.start import node_name

    settings = loaded.settings
    found = read_once(node_name(settings), settings.host.volumes)
    if as_json:
        print_json(found)
        return
    for line in as_lines(found):
        say(line)


def demo(
    scenario: Annotated[str, typer.Option(help="A built-in scenario.")] = "demo",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same faults.")] = 0,
    speed: Annotated[float, typer.Option(min=1, help="Simulated seconds in a real one.")] = 60.0,
    mode: Annotated[Mode, typer.Option(help="How far it may go with every action.")] = Mode.AUTO,
    duration: Duration = 0.0,
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS:PORT", callback=listen_address, help="Where to serve.")
    ] = "127.0.0.1:8642",
    verbose: Annotated[bool, typer.Option("--verbose", help="Log every cycle.")] = False,
    cluster: Annotated[
        RealKind | None, typer.Option(help="Break and heal a real one on this machine instead.")
    ] = None,
    fault: Annotated[
        str | None,
        typer.Option(help="What is broken of the real one (kill-node); `?` lists what can be."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Break and heal a cluster: a simulated one with its page, or a real one with a training.

    Exit code 1 where the real one was not healed, or its training's losses are not what they would
    have been (docs/real-jobs.md); 130 where it was ended before that.
    """
    if cluster is not None and fault == "?":
        return _list_faults(cluster, as_json=as_json)
    if cluster is not None:
        limit_s = duration or REAL_LIMIT_S
        raise typer.Exit(_real(cluster, fault or "kill-node", limit_s=limit_s, as_json=as_json))
    if fault is not None:
        text = "is of a real cluster: give --cluster torchrun or --cluster slurm too"
        raise typer.BadParameter(text, param_hint="--fault")
    from agent.demo import DemoSettings
    from agent.demo import demo as run_demo
    from agent.words import gpu_time, percent
    from core.codec import to_json

    wanted = DemoSettings(
        scenario=scenario,
        seed=seed,
        speed=speed,
        duration_s=duration,
        listen=listen,
        log_level="info" if verbose else "warning",
        mode=mode,
    )
    result = asyncio.run(run_demo(wanted, tell=tell))
    if as_json:
        return print_json(to_json(result))
    print_result(_in_short(result))
    return say(
        f"Healed, the GPUs gave {percent(result.goodput_ratio)} of their best, left alone "
        f"{percent(result.baseline_goodput_ratio)}: {gpu_time(result.lost_gpu_s)} were lost "
        f"instead of {gpu_time(result.baseline_lost_gpu_s)}."
    )


def _in_short(result: "DemoResult") -> dict[str, Any]:
    """Return what came of a simulated cluster for people; its worth is said in a sentence."""
    from rca.words import say_short

    first_s = result.first_verified_s
    return {
        "scenario": f"{result.scenario}, seed {result.seed}",
        "simulated": lasting(result.simulated_s),
        "faults": [say_short(each) for each in result.faults],
        "incidents": f"{result.incidents}, {result.diagnosed} of them with a cause",
        "actions": result.actions,
        "plans that helped": result.verified,
        "first helped after": "none has yet" if first_s is None else lasting(first_s),
        "plans": [f"- {say_short(each)}" for each in result.plans],
    }


def _list_faults(kind: RealKind, *, as_json: bool) -> None:
    from agent.lab.slurm_training import SlurmTraining
    from agent.lab.torchrun import TorchrunTraining

    faults = (SlurmTraining if kind is RealKind.SLURM else TorchrunTraining).faults
    print_json(dict(faults)) if as_json else print_result(dict(faults), title="What can be broken")


def _real(kind: RealKind, fault: str, *, limit_s: float, as_json: bool) -> int:
    """Break and heal a real cluster; return the exit code."""
    from agent.demo_real import as_plain, cluster_of, demo_real, scratch
    from agent.lab.mounts import with_own_mounts

    if fault == "disk-full":
        with_own_mounts()
    with scratch() as folder:
        at = Path(folder)
        made = cluster_of(kind.value, fault, at)
        try:
            result = asyncio.run(demo_real(made, fault, at=at, limit_s=limit_s, tell=tell))
        except asyncio.CancelledError:
            return ExitCode.INTERRUPTED
    plain = as_plain(result)
    print_json(plain) if as_json else print_result(as_plain(result, short=True))
    return 0 if result.healed else 1


def print_result(result: dict[str, Any], *, title: str = "What came of it") -> None:
    """Lay what came of a cluster out as a table."""
    grid = Table(title=title, title_justify="left", show_header=False)
    for key, value in result.items():
        text = "\n".join(map(str, value)) if isinstance(value, list) else str(value)
        grid.add_row(
            key.replace("_", " "), Text(f"{value:.4g}" if isinstance(value, float) else text)
        )
    out.print(grid)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    for verb in (run, node, controller, demo):
        app.command(rich_help_panel=PANEL)(verb)


def _start(
    config: list[Path] | None,
    flags: Mapping[str, object],
    *,
    with_host: bool,
    duration: float,
    as_json: bool,
) -> None:
    from agent.start import run_controller

    flags = {**flags, "log.format": "json" if as_json else None}

    def read() -> "Loaded":
        return load_settings(config, flags)

    asyncio.run(run_controller(read(), read=read, with_host=with_host, duration_s=duration))
