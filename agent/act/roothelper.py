"""Asks the root helper of this machine: one order a connection, one answer."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.roothelper.order import MAX_LINE_BYTES
from core.errors import ActionFailed, ActionRefused, SourceUnavailable

SOCKET = Path("/run/gpumedic-helper/socket")
# A reset takes the longest; the helper itself waits no longer than a minute and a half for one.
DEADLINE_S = 120.0
_ANSWER_BYTES = 16 * MAX_LINE_BYTES
# What the helper did not even begin; any other code than these says that it was tried.
_TRIED = frozenset({"action_failed", "store"})


@dataclass(frozen=True, slots=True)
class RootHelper:
    """The client of the helper's socket."""

    path: Path = SOCKET
    deadline_s: float = DEADLINE_S

    async def ask(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give an order and return the answer.

        ActionRefused where the helper says no, ActionFailed where it tried, SourceUnavailable
        where it cannot be reached or does not answer in time: then the same key may be sent again.
        """
        try:
            async with asyncio.timeout(self.deadline_s):
                line = await self._talk(json.dumps(order).encode() + b"\n")
            answer = json.loads(line)
        except (OSError, TimeoutError, ValueError) as error:
            raise SourceUnavailable(
                f"Asking the root helper at {self.path}: {error!r}. See "
                "`systemctl status gpumedic-helper.socket`, and whether this is its user."
            ) from error
        if answer["ok"]:
            return dict(answer)
        if answer["code"] in _TRIED:
            raise ActionFailed(answer["error"])
        raise ActionRefused(answer["code"], answer["error"], answer.get("remedy", ""))

    async def _talk(self, line: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(self.path), limit=_ANSWER_BYTES)
        try:
            writer.write(line)
            await writer.drain()
            return await reader.readline()
        finally:
            writer.close()
