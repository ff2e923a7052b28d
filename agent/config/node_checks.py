"""The settings of the checks that the node service and ``gpumedic check`` make of a machine."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from agent.config.kinds import Count, Folder, Name, OneSecondOrMore, PathText, Section
from agent.quantities import parse_duration as duration

_PORTS = re.compile(r"|[1-9]\d{0,2}x[1-9]\d{0,4}")


def _ports(text: str) -> str:
    if not _PORTS.fullmatch(text):
        raise ValueError("is not a number of ports and their rate in Gb/s: write it like 8x400")
    return text


class Checks(Section):
    """Checks of this machine, by the node service and `gpumedic check`."""

    interval: OneSecondOrMore = Field(
        default=duration("1m"), description="time between two rounds of the node service"
    )
    skip: tuple[Name, ...] = Field(default=(), description="checks that are not made, by name")
    infiniband: Annotated[str, AfterValidator(_ports)] = Field(
        default="", description="ports and their rate there should be, such as 8x400 (Gb/s)"
    )
    plugins: Folder = Field(
        default=Path("/etc/gpumedic/checks.d"),
        description="folder of further checks: programs with Nagios' exit codes",
    )
    time_limit: OneSecondOrMore = Field(
        default=duration("10s"), description="longest a plug-in may run; it is killed then"
    )
    parallel: Annotated[Count, Field(ge=1, le=64)] = Field(
        default=4, description="plug-ins that run at a time"
    )
    progress: tuple[PathText, ...] = Field(
        default=(), description="folders with ranks' progress, beside each user's own in /dev/shm"
    )
