"""``gpumedic order``: have a node's service do something; what schedulers' programs may call."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from agent.commands.console import AsJson, print_json, say


class Kind(StrEnum):
    """What a node takes orders about."""

    LIMIT_POWER = "limit_power"
    LIMIT_CLOCKS = "limit_clocks"
    RESET_GPU = "reset_gpu"
    REBOOT_NODE = "reboot_node"


Token = Annotated[
    Path | None,
    typer.Option("--token-file", help="The node's token; without it: GPUMEDIC_TOKEN holds one."),
]


def order(
    kind: Annotated[Kind, typer.Argument(help="What to do.")],
    url: Annotated[str, typer.Option(help="The node service, such as http://node-3:9642.")],
    key: Annotated[str, typer.Option(help="The order's own: the same key acts once.")],
    watts: Annotated[
        float | None, typer.Option(min=0, help="Of each GPU; 0: as it was before.")
    ] = None,
    share: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of the clock; 1: as it was before.")
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="A GPU's UUID.")] = None,
    token_file: Token = None,
    as_json: AsJson = False,
) -> None:
    """Have a node limit its GPUs' power or clocks, reset a GPU, or reboot.

    Only where the node takes orders and its root helper allows this one (docs/node-service.md).
    """
    from agent.access import read_token
    from agent.act.roothelper import DEADLINE_S
    from agent.client import Client
    from agent.node_orders import PATH

    told = {"watts": None if watts is None else round(watts), "share": share, "gpu": gpu}
    token = read_token(token_file) if token_file else ""
    answer = Client(url, token=token).post(
        PATH,
        timeout_s=DEADLINE_S,
        kind=kind.value,
        key=key,
        **{name: value for name, value in told.items() if value is not None},
    )
    if as_json:
        print_json(answer)
    else:
        say(f"{kind.value}: {len(answer['done'])} done.")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel="Look and decide")(order)
