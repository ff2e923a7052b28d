"""Runs a launch on this node: alone, as the coordinator of several, or as one of them."""

import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from agent.launch.arguments import Endpoint, local_address
from agent.launch.cluster import token_for
from agent.launch.control import Control, control_path
from agent.launch.launcher import Journal, Launcher
from agent.launch.node import Command, NodeAgent, free_port
from agent.launch.plan import Plan
from agent.launch.post import Post
from agent.launch.processes import adopt_orphans
from core.errors import InputError


@dataclass(frozen=True, slots=True)
class Here:
    """What concerns this node only.

    command:  what to run, None on a node that only coordinates
    endpoint: where several nodes meet, None for a launch on this node alone
    joins:    do not coordinate, though the endpoint be this machine's
    """

    command: Command | None
    name: str
    endpoint: Endpoint | None = None
    joins: bool = False
    address: str = ""
    log_dir: Path | None = None
    journal: Path | None = None

    def where(self) -> str:
        """Return the address by which others reach this node."""
        return self.address or local_address(self.endpoint)


async def run(plan: Plan, here: Here) -> int:
    """Launch and supervise until the end; return the exit code."""
    adopt_orphans()
    with ExitStack() as stack:
        journal = Journal(stack.enter_context(here.journal.open("a")) if here.journal else None)
        if here.endpoint is not None:
            token = token_for(here.endpoint)
            return await Post(plan, here, journal, token, coordinate).run()
        return await _alone(Launcher(plan, journal), here)


async def coordinate(launcher: Launcher) -> int:
    """Run a launcher to its end, open to operators; return its exit code."""
    control = Control(control_path(launcher.coordinator.plan.run_id), launcher.status, launcher.act)
    await control.open()
    code = 1
    try:
        code = await launcher.run()
    finally:
        if not launcher.gave_way:
            control.leave({**launcher.status(since=0), "code": code})
        control.close()
    return code


async def _alone(launcher: Launcher, here: Here) -> int:
    if here.command is None:
        raise InputError("--coordinate is for several nodes: say with --rdzv-endpoint where.")
    agent = launcher.agent = NodeAgent(
        here.name,
        here.command,
        lambda event: launcher.event(here.name, event),
        launcher.stores.ask,
        here.log_dir,
    )
    try:
        await agent.open()
        launcher.join(here.name, here.where(), agent, free_port())
        return await coordinate(launcher)
    finally:
        if left := await agent.stop():
            launcher.journal.add(left)


def node_name() -> str:
    """Return a name for this supervisor that no other has."""
    return f"{socket.gethostname()}-{os.getpid()}"
