"""The node service takes orders with its token only, and has the root helper carry them out."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
from starlette.applications import Starlette
from typer.testing import CliRunner

from agent.act.programs import filled
from agent.act.roothelper import RootHelper
from agent.cli import app as cli
from agent.lab.nvml.scenario import Scenario
from agent.node import NodeService
from agent.node_orders import PATH, NodeOrders
from core.clock import RealClock
from core.target import Target
from core.types import Action
from tests.root_helper import helper_at
from tests.test_node import serving

TOKEN = "token-of-the-node"
GPUS = 8


def uuids() -> list[str]:
    import pynvml

    pynvml.nvmlInit()
    handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(GPUS))
    found = [str(pynvml.nvmlDeviceGetUUID(each)) for each in handles]
    pynvml.nvmlShutdown()
    return found


def limits() -> set[int]:
    import pynvml

    pynvml.nvmlInit()
    handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(GPUS))
    found = {pynvml.nvmlDeviceGetPowerManagementLimit(each) // 1000 for each in handles}
    pynvml.nvmlShutdown()
    return found


async def post(orders: NodeOrders, body: Mapping[str, Any], *, token: str = TOKEN) -> Any:
    """Send an order; returns the status and the answer."""
    inside = httpx2.ASGITransport(app=Starlette(routes=orders.routes()))
    async with httpx2.AsyncClient(transport=inside, base_url="http://node") as client:
        headers = {"authorization": f"Bearer {token}"}
        answer = await client.post(PATH, json=body, headers=headers)
    return answer.status_code, answer.json()


async def test_the_power_of_every_gpu_is_limited_and_given_back(
    tmp_path: Path, nvml: Scenario
) -> None:
    away: list[float] = []
    async with helper_at(tmp_path) as path:
        orders = NodeOrders(TOKEN, uuids, away.append, RootHelper(path))
        limit = {"kind": "limit_power", "key": "p1/2", "watts": 500}
        status, answer = await post(orders, limit)
        during = limits()
        again, repeated = await post(orders, limit)
        free = await post(orders, {"kind": "limit_power", "key": "p1/3", "watts": 0})
        nothing = await post(orders, {"kind": "limit_power", "key": "p1/4", "watts": 0})
        high = await post(orders, {"kind": "limit_power", "key": "p1/5", "watts": 5000})
        share = await post(orders, {"kind": "limit_clocks", "key": "p1/6", "share": 0.8})
        reset = await post(orders, {"kind": "reset_gpu", "key": "p1/7", "gpu": "GPU-0000beef"})

    assert (status, len(answer["done"]), during) == (200, GPUS, {500})
    assert (again, all(each["repeated"] for each in repeated["done"])) == (200, True)
    assert (free[0], len(free[1]["done"]), limits()) == (200, GPUS, {700})
    assert nothing == (200, {"done": []})
    assert (high[0], high[1]["code"]) == (409, "out_of_bounds")
    assert (share[0], len(share[1]["done"])) == (200, GPUS)
    # No such GPU: but our own hold of the driver had ended before it was asked for.
    assert (reset[0], reset[1]["code"], away) == (502, "action_failed", [120.0])


async def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    orders = NodeOrders(TOKEN, list, lambda _: None, RootHelper(tmp_path / "none"))
    body = {"kind": "reboot_node", "key": "k"}

    stranger = await post(orders, body, token="another")
    kind = await post(orders, {"kind": "exec", "key": "k"})
    keyless = await post(orders, {"kind": "reboot_node"})
    watts = await post(orders, {"kind": "limit_power", "key": "k"})
    share = await post(orders, {"kind": "limit_clocks", "key": "k", "share": 1.5})
    gone = await post(orders, body)
    none = await post(orders, {"kind": "limit_power", "key": "k", "watts": 500})

    assert (stranger[0], stranger[1]["code"]) == (401, "unauthorized")
    assert [each[0] for each in (kind, keyless, watts, share)] == [400] * 4
    assert "Known are limit_power, " in kind[1]["remedy"]
    assert (none[0], "sees no GPU" in none[1]["error"]) == (502, True)
    assert (gone[0], gone[1]["code"]) == (503, "source_unavailable")
    assert "systemctl status gpumedic-helper.socket" in gone[1]["error"]


async def test_the_command_line_orders_what_a_schedulers_program_is_told(
    tmp_path: Path, nvml: Scenario
) -> None:
    """As ``[slurm.programs] limit_power`` would call it."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    params = (("watts", 500.0),)
    action = Action("p1/2", "limit_power", Target(node="n1"), params, 60.0, "limit_power")
    words = ["order", "limit_power", "--key", "{key}", "--watts", "{watts}", "--token-file"]
    async with helper_at(tmp_path) as path:
        orders = NodeOrders(TOKEN, uuids, lambda _: None, RootHelper(path))
        page = NodeService((), clock=RealClock(), routes=orders.routes())
        async with serving(page) as url:
            told = [filled(word, action) for word in (*words, str(token), "--url", url)]
            done = await asyncio.to_thread(CliRunner().invoke, cli, told)

    assert (done.exit_code, done.output) == (0, "limit_power: 8 done.\n")
    assert limits() == {500}


async def test_a_helper_that_serves_somebody_else_says_so(tmp_path: Path) -> None:
    async with helper_at(tmp_path, uid=os.getuid() + 1) as path:
        orders = NodeOrders(TOKEN, list, lambda _: None, RootHelper(path))
        status, answer = await post(orders, {"kind": "reboot_node", "key": "k"})

    assert (status, answer["code"]) == (409, "not_allowed")
