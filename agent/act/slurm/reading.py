"""Read the cluster: by slurmrestd where one is named, else by the programs, in their version's way.

22.05 says nodes with ``sinfo --json`` and has no JSON for reservations; from 23.02 on that says
groups of nodes instead, and ``scontrol --json`` says everything.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.act.slurm.calls import Calls
from agent.act.slurm.hosts import expand
from agent.act.slurm.records import (
    Reservation,
    SlurmJob,
    SlurmNode,
    fields_of,
    jobs_in,
    nodes_in,
    reservations_in,
    reservations_in_text,
    version_in,
)
from agent.act.slurm.rest import Rest
from core.clock import Clock
from core.errors import InputError, SourceUnavailable

SCONTROL_JSON = (23, 2)  # the first whose scontrol knows --json
KEEP_S = 600.0  # what seldom changes is asked again so often: an upgrade, a new slurm.conf


@dataclass(frozen=True, slots=True)
class Said:
    """What Slurm said: nodes, jobs that it still knows, reservations."""

    nodes: tuple[SlurmNode, ...]
    jobs: tuple[SlurmJob, ...]
    reservations: tuple[Reservation, ...]


@dataclass(frozen=True, slots=True)
class Site:
    """What seldom changes: version of the programs, slurmctld's settings, each node's leaf switch.

    leaves: empty where Slurm knows no tree
    """

    version: tuple[int, int]
    config: Mapping[str, str]
    leaves: Mapping[str, str]


@dataclass(slots=True)
class Reader:
    """Asks one cluster; what seldom changes is remembered for ``KEEP_S``."""

    calls: Calls
    clock: Clock
    rest: Rest | None = None
    _site: Site | None = None
    _until_s: float = 0.0

    async def said(self) -> Said:
        """Return what Slurm says now; SourceUnavailable where it does not answer or be read."""
        try:
            if self.rest is not None:
                await self.rest.version()
                nodes, jobs, reserved = await asyncio.gather(
                    *(self.rest.get(part) for part in ("nodes", "jobs", "reservations"))
                )
                return await asyncio.to_thread(_all_of, nodes, jobs, reserved)
            if (await self.site()).version >= SCONTROL_JSON:
                nodes, jobs, reserved = await asyncio.gather(
                    self.calls.json("scontrol", "show", "nodes", "--json"),
                    self.calls.json("scontrol", "show", "jobs", "--json"),
                    self.calls.json("scontrol", "show", "reservations", "--json"),
                )
                return await asyncio.to_thread(_all_of, nodes, jobs, reserved)
            nodes, jobs, text = await asyncio.gather(
                self.calls.json("sinfo", "--all", "--json"),
                self.calls.json("squeue", "--all", "--json"),
                self.calls.text("scontrol", "-o", "show", "reservation"),
            )
            return Said(nodes_in(nodes), jobs_in(jobs), reservations_in_text(text))
        except InputError as error:
            raise SourceUnavailable(str(error)) from error

    async def site(self) -> Site:
        """Return what seldom changes; SourceUnavailable where Slurm does not say."""
        now_s = self.clock.monotonic_s()
        if self._site is None or now_s > self._until_s:
            self._site = await self._look_around()
            self._until_s = now_s + KEEP_S
        return self._site

    async def _look_around(self) -> Site:
        version, config = await asyncio.gather(
            self.calls.text("sinfo", "--version"), self.calls.text("scontrol", "show", "config")
        )
        found = config_in(config)
        tree = "tree" in found.get("TopologyPlugin", "")
        shown = await self.calls.run("scontrol", "-o", "show", "topology") if tree else None
        leaves = leaves_in(shown.out) if shown and shown.code == 0 else {}
        return Site(version_in(version), found, leaves)


def config_in(text: str) -> Mapping[str, str]:
    """Read ``scontrol show config``: ``Name = value`` lines; ``(null)`` is not set."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    found = {name.strip(): value.strip() for name, _, value in pairs}
    return {name: "" if value == "(null)" else value for name, value in found.items()}


def leaves_in(text: str) -> Mapping[str, str]:
    """Read ``scontrol -o show topology``: the switch of level 0 that each node hangs on."""
    leaf_of: dict[str, str] = {}
    for line in text.splitlines():
        said = fields_of(line)
        if said.get("Level") == "0":
            leaf_of |= dict.fromkeys(expand(said.get("Nodes", "")), said.get("SwitchName", ""))
    return leaf_of


def _all_of(nodes: Any, jobs: Any, reserved: Any) -> Said:
    return Said(nodes_in(nodes), jobs_in(jobs), reservations_in(reserved))
