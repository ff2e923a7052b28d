"""Orders over HTTP to the node service, off unless a token is set: checked here, done as root.

The node service runs without privileges; what an order changes is changed by the root helper,
within that helper's own bounds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent.access import read_token
from agent.act.roothelper import RootHelper
from agent.collect.nvml import NvmlReader, XidEvents
from agent.command import Command, read_command
from agent.refuse import Refused, refuse
from core.errors import ActionFailed, ActionRefused, SourceUnavailable

PATH = "/v1/orders"
KEYS = ("kind", "key", "gpu", "watts", "share", "job", "pid", "started", "signal")
# Longer than a reset takes: NVML opened again meanwhile would hold the GPU.
AWAY_S = 120.0
_NOTHING_HELD = "nothing_held"

Answers = list[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class NodeOrders:
    """The route that takes orders.

    token:  what an order must bring
    gpus:   the UUIDs of this node's GPUs
    let_go: closes our own hold of the GPUs for so many seconds
    """

    token: str
    gpus: Callable[[], Sequence[str]]
    let_go: Callable[[float], None]
    helper: RootHelper = field(default_factory=RootHelper)

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route(PATH, self.order, methods=["POST"])]

    async def order(self, request: Request) -> Response:
        """Carry an order out and answer what it changed, or say why not."""
        try:
            command = await read_command(request, self.token, *KEYS)
            return JSONResponse({"done": await self._done(command)})
        except Refused as error:
            return error.answer()
        except ActionRefused as error:
            return refuse(409, error.guard, error.reason, error.remedy)
        except ActionFailed as error:
            return refuse(502, error.code, str(error), "See this node's kernel log.")
        except SourceUnavailable as error:
            return refuse(503, error.code, str(error), "Send the same order again.")

    async def _done(self, command: Command) -> Answers:
        kind, key = command.text("kind", default=""), command.text("key", default="")
        if kind not in _KINDS:
            known = f"Known are {', '.join(_KINDS)}."
            raise Refused(400, "input", f"The kind of order is {kind!r:.40}.", known)
        if not key:
            raise Refused(400, "input", "The order has no key.", "Give each order a key.")
        return await _KINDS[kind](self, command, key)

    async def limit_power(self, command: Command, key: str) -> Answers:
        """Hold each GPU to so many watts; 0 gives back what was there before."""
        watts = command.number("watts")
        if watts is None:
            raise _lacking("limit_power", "watts")
        return await self._each_gpu("power_limit", key, {"watts": watts} if watts else None)

    async def limit_clocks(self, command: Command, key: str) -> Answers:
        """Let each GPU's clock rise to a share of its maximum; 1 gives back what was before."""
        share = command.values.get("share")
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 < share <= 1:
            raise _lacking("limit_clocks", "share above 0 and at most 1")
        values = {"percent": round(100 * share)} if share < 1 else None
        return await self._each_gpu("clock_lock", key, values)

    async def reset_gpu(self, command: Command, key: str) -> Answers:
        """Reset a GPU that nobody holds; our own hold of it ends first."""
        gpu = command.text("gpu", default="")
        await asyncio.to_thread(self.let_go, AWAY_S)
        return [await self.helper.ask({"verb": "gpu_reset", "key": key, "gpu": gpu})]

    async def reboot_node(self, command: Command, key: str) -> Answers:
        """Reboot this machine, where its root helper allows that."""
        return [await self.helper.ask({"verb": "reboot", "key": key})]

    async def signal(self, command: Command, key: str) -> Answers:
        """Send a signal to a process of a job."""
        told = {name: command.values.get(name) for name in ("job", "pid", "started", "signal")}
        return [await self.helper.ask({"verb": "signal", "key": key, **told})]

    async def _each_gpu(self, verb: str, key: str, values: Mapping[str, int] | None) -> Answers:
        """Give every GPU the same order; None: what was there before comes back."""
        answers: Answers = []
        if not (gpus := self.gpus()):
            raise ActionFailed(f"{verb}: this node sees no GPU. See `gpumedic node --once`.")
        for gpu in gpus:
            change = {"restore": True} if values is None else values
            order = {"verb": verb, "key": f"{key}:{gpu}", "gpu": gpu, **change}
            try:
                answers.append(await self.helper.ask(order))
            except ActionRefused as error:
                if values is not None or error.guard != _NOTHING_HELD:
                    raise
        return answers


def routes_of(token_file: str, nvml: NvmlReader, xids: XidEvents) -> list[Route]:
    """Return the route for the token of a file; none where no file is named.

    StoreError where the file cannot be read.
    """
    if not token_file:
        return []

    def let_go(for_s: float) -> None:
        xids.let_go(for_s)
        nvml.let_go(for_s)

    token = read_token(Path(token_file))
    return NodeOrders(token, lambda: [gpu.uuid for gpu in nvml.gpus], let_go).routes()


def _lacking(kind: str, what: str) -> Refused:
    return Refused(400, "input", f"{kind} was not told its {what}.", f"Give {what}.")


Handler = Callable[[NodeOrders, Command, str], Awaitable[Answers]]
_KINDS: Mapping[str, Handler] = {
    "limit_power": NodeOrders.limit_power,
    "limit_clocks": NodeOrders.limit_clocks,
    "reset_gpu": NodeOrders.reset_gpu,
    "reboot_node": NodeOrders.reboot_node,
    "signal": NodeOrders.signal,
}
