"""Nodes that are kept free for swaps: one reservation that only administrators may use."""

import asyncio
from dataclasses import dataclass, field

from agent.act.slurm.calls import Calls
from agent.act.slurm.reading import Reader


@dataclass(frozen=True, slots=True)
class Spares:
    """The reservation of that name; there is none while no node is kept.

    It is told which nodes it is to have, not which it gains or loses: one change at a time.
    """

    name: str
    calls: Calls
    reader: Reader
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def keep(self, node: str) -> None:
        """Keep a node free; one that is kept already stays so."""
        async with self._one_at_a_time:
            await self._keep(node)

    async def release(self, node: str) -> None:
        """Let the queue have a node; one that is not kept is left alone."""
        async with self._one_at_a_time:
            await self._release(node)

    async def _keep(self, node: str) -> None:
        held = await self._held()
        if node in held:
            return
        if held:
            await self._set((*held, node))
            return
        config = (await self.reader.site()).config
        user = config.get("SlurmUser", "root").partition("(")[0]
        await self.calls.order(
            *("scontrol", "create", "reservation", f"ReservationName={self.name}"),
            *("StartTime=now", "Duration=UNLIMITED", "Flags=IGNORE_JOBS", f"Users={user}"),
            f"Nodes={node}",
            why=f"keeping {node} as a spare",
        )

    async def _release(self, node: str) -> None:
        held = await self._held()
        if node not in held:
            return
        left = tuple(name for name in held if name != node)
        if left:
            await self._set(left)
            return
        why = f"releasing the spare {node}"
        await self.calls.order("scontrol", "delete", f"ReservationName={self.name}", why=why)

    async def _held(self) -> tuple[str, ...]:
        said = await self.reader.said()
        return next((r.nodes for r in said.reservations if r.name == self.name), ())

    async def _set(self, names: tuple[str, ...]) -> None:
        change = (f"ReservationName={self.name}", f"Nodes={','.join(names)}")
        await self.calls.order("scontrol", "update", *change, why="changing the spares")
