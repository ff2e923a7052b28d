"""What every verb shares: exit codes, two consoles, JSON out, times for people."""

import json
import math
import sys
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from agent.times import rfc3339
from core.errors import InputError
from core.target import Target

out = Console()
err = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def say(text: object, style: str = "") -> None:
    """Write a line to stdout as it is: no markup, and no line break that the text does not have."""
    out.print(Text(str(text), style=style), soft_wrap=True)


def tell(text: object, style: str = "") -> None:
    """Write a line to stderr, where progress and warnings go."""
    err.print(Text(str(text), style=style), soft_wrap=True)


class ExitCode(IntEnum):
    """How a verb ended; documented in ``gpumedic --help``."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    INTERRUPTED = 130


def write_plot(file: Path, picture: bytes) -> None:
    """Write a PNG and say where; InputError where that cannot be."""
    try:
        file.write_bytes(picture)
    except OSError as error:
        raise InputError(
            f"Writing the plot to {file}: {error.strerror}. Name a file in a folder you may write."
        ) from error
    tell(f"plot: {file}")


def with_remedy(found: str, remedy: str) -> Text:
    """Return what was found, and on a line of its own what would help, where there is anything."""
    return Text(found) + Text(f"\n→ {remedy}" if remedy else "", style="bold")


def print_json(value: Any) -> None:
    """Write one JSON document to stdout; NaN and infinities must be gone already."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def at(time_s: float) -> str:
    """Write a time as RFC 3339 UTC to the second; "unknown" for what no calendar holds."""
    return rfc3339(math.floor(time_s)) or "unknown" if math.isfinite(time_s) else "unknown"


def target_name(labels: dict[str, str]) -> str:
    """Name a target from its JSON form."""
    return str(Target.from_labels(labels))
