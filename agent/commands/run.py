"""Verbs that start a process: run, node, controller, demo."""

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from agent.commands.console import AsJson, lasting, out, print_json, tell
from agent.commands.options import ConfigFiles, Duration, listen_address, load_settings

if TYPE_CHECKING:
    from agent.config import Loaded

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


NODE_LISTEN = "127.0.0.1:9642"


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
    as_json: LogJson = False,
) -> None:
    """Serve this machine's readings for Prometheus: small, for every GPU node."""
    from agent.start import run_node

    flags = {"host.node": name, "log.format": "json" if as_json else None}
    loaded = load_settings(config, flags)
    asyncio.run(run_node(loaded, listen=listen, duration_s=duration))


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
    as_json: AsJson = False,
) -> None:
    """Break and heal a simulated cluster, with its page."""
    from agent.demo import DemoSettings
    from agent.demo import demo as run_demo
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
    ending = f"ends after {lasting(duration)}" if duration else "Ctrl-C ends it"
    tell(f"Simulated cluster at http://{listen} ({ending}) ...")
    result = asyncio.run(run_demo(wanted, tell=tell))
    print_json(to_json(result)) if as_json else print_result(to_json(result))


def print_result(result: dict[str, Any]) -> None:
    """Lay what came of a simulated cluster out as a table."""
    grid = Table(title="What came of it", title_justify="left", show_header=False)
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
