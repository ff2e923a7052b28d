"""``gpumedic xid``: what an error code of NVIDIA's driver means, and what to do about it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table
from rich.text import Text

from agent.commands.console import AsJson, out, print_json, say

if TYPE_CHECKING:
    from detectors.faults.catalogue import SXid, Xid

PANEL = "Start here"


def xid(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CODE|LINE]", help="A code, or a line of the kernel's log."),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List every code.")] = False,
    recovery: Annotated[
        str,
        typer.Option(help="The GPU's recovery action by its driver, such as reset_gpu, or 1."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Explain an Xid or SXid: meaning, cause, action, and on whose word."""
    from agent.error_codes import as_plain, meant, recovery_named
    from core.errors import InputError
    from detectors.faults.catalogue import xids

    text = " ".join(what or ()).strip()
    if bool(text) is list_all:
        raise InputError(
            "gpumedic xid takes a code (79), a line of the kernel's log in quotes, or --list; "
            f"found {'both' if text else 'none'} of them."
        )
    action = recovery_named(recovery)
    if list_all:
        rows = tuple(xids()[code] for code in sorted(xids()))
        return print_json({"xids": [as_plain(row) for row in rows]}) if as_json else _list(rows)
    found = meant(text)
    if as_json:
        return print_json(as_plain(found, action))
    return _explain(found, as_plain(found, action))


def _explain(known: "Xid | SXid", plain: dict[str, Any]) -> None:
    said = plain["advice"]
    say(f"{plain['name']}: {known.meaning}", style="bold")
    rows = {
        "vendor's name": plain.get("mnemonic", ""),
        "severity": plain["severity"],
        "caused by": plain.get("origin", ""),
        "workload": plain.get("workload", ""),
        "what to do": said["words"] or "nothing",
        "action": said["action"] or "none",
        "by the word of": said["by"],
        "vendor": _joined(plain.get("immediate", ""), plain.get("investigate", "")),
        "on its own": "" if plain.get("alone", True) else "it says something beside another only",
        "in context": plain.get("context", ""),
        "why": plain.get("why", ""),
        "source": plain["source"],
    }
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows.items():
        if value:
            grid.add_row(Text(name, style="dim"), Text(value))
    out.print(grid)


def _joined(immediate: str, investigate: str) -> str:
    return f"{immediate}; to investigate: {investigate}" if investigate else immediate


def _list(rows: "tuple[Xid, ...]") -> None:
    whole = (Column(name, no_wrap=True) for name in ("Xid", "severity", "caused by", "action"))
    grid = Table(*whole, "meaning")
    for row in rows:
        action = row.step.action or "none"
        grid.add_row(*map(Text, (str(row.code), row.severity, row.origin, action, row.meaning)))
    out.print(grid)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel=PANEL)(xid)
