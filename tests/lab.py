"""A simulated cluster served for tests: within the process, or on loopback."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import httpx2

from agent.access import ensure_token
from agent.act.http import ClusterAccess, HttpCluster
from agent.lab.serving import LabSettings, lab_app, serve_cluster
from core.clock import Clock
from sim.port import SimulatedCluster
from tests.e2e.running import until
from tests.real import free_port

TOKEN = "a-token-of-the-tests"
INSIDE = "http://lab.test"
_SECRETS = tempfile.TemporaryDirectory(prefix="gpumedic-tests-")  # gone when the process ends


def transport_to(
    cluster: SimulatedCluster, wanted: LabSettings | None = None
) -> httpx2.ASGITransport:
    """Return what answers as the served cluster does, with no socket between."""
    return httpx2.ASGITransport(app=lab_app(cluster, wanted or LabSettings(), token=TOKEN))


def behind_http(cluster: SimulatedCluster, *, clock: Clock, token: str = TOKEN) -> HttpCluster:
    """Return the adapter over the served cluster, with the token at hand."""
    path = Path(_SECRETS.name) / token
    path.write_text(token + "\n")
    access = ClusterAccess(INSIDE, token_file=path)
    return HttpCluster(access, clock=clock, transport=transport_to(cluster))


async def fetch(
    cluster: SimulatedCluster, *paths: str, wanted: LabSettings | None = None
) -> Sequence[httpx2.Response]:
    """Return the answers of one served cluster to these paths, in order."""
    async with httpx2.AsyncClient(
        transport=transport_to(cluster, wanted), base_url=INSIDE
    ) as client:
        return [await client.get(path) for path in paths]


@contextlib.asynccontextmanager
async def served(
    cluster: SimulatedCluster, folder: Path, *, stamped: bool = False
) -> AsyncIterator[tuple[str, str]]:
    """Serve on loopback while the context lasts; gives the address and the token."""
    listen = f"127.0.0.1:{free_port()}"
    wanted = replace(LabSettings(), listen=listen, token_folder=folder / "lab", stamped=stamped)
    stop = asyncio.Event()
    running = asyncio.create_task(serve_cluster(cluster, wanted, stop))

    async def answers() -> bool:
        assert not running.done(), running
        with contextlib.suppress(httpx2.HTTPError):
            async with httpx2.AsyncClient() as client:
                return (await client.get(f"http://{listen}/-/ready")).is_success
        return False

    try:
        await until(answers, what=f"the cluster at {listen}")
        yield f"http://{listen}", ensure_token(wanted.token_folder)
    finally:
        stop.set()
        await running
