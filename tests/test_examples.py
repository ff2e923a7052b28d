"""Each example is short, runs as it stands, and does what its first line says."""

import asyncio
import base64
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.command_line import gpumedic, python
from tests.page_controls import FakeControls
from tests.real import free_port
from tests.test_server import app_for, running

EXAMPLES = Path(__file__).parent.parent / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_fits_on_one_screen(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 40


async def test_a_series_is_forecast() -> None:
    said = await python(str(EXAMPLES / "forecast_a_series.py"))

    assert said.err == ""
    assert "above 0.9 with p = " in said.out


async def test_a_thousand_series_are_forecast_without_the_agent() -> None:
    said = await python(str(EXAMPLES / "fleet_prophet.py"))

    assert said.err == ""
    assert said.out.count("above 0.9 with p = ") == 5


async def test_a_source_of_ones_own_feeds_the_controller() -> None:
    said = await python(str(EXAMPLES / "own_metric_source.py"))

    assert said.code == 0
    assert said.out.endswith(".\n")
    assert "no answer" not in said.out


async def test_incidents_are_read_with_their_cause() -> None:
    async with running(app_for(FakeControls())) as port:
        said = await python(str(EXAMPLES / "read_incidents.py"), f"http://127.0.0.1:{port}")

    assert said.err == ""
    assert "p = 0." in said.out


async def test_a_signed_message_is_taken_and_a_forged_one_is_not(tmp_path: Path) -> None:
    """A test message of our own, sent and signed as any other, and one without a signature."""
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o600)
    async with receiving(tmp_path) as url, httpx2.AsyncClient() as http:
        (tmp_path / "config.toml").write_text(
            f'[[webhooks]]\nname = "ops"\nurl = "{url}"\nsecret_file = "{tmp_path}/secret"\n'
        )
        sent = await gpumedic("notify", "test", "--config", "config.toml", folder=tmp_path)
        forged = await http.post(url, json={"gpumedic": {"announcement": "forged"}})

    assert (sent.code, forged.status_code) == (0, 401)
    assert sent.out.startswith("ops: delivered")
    assert (tmp_path / "log").read_text() == "system.test\n"


@contextlib.asynccontextmanager
async def receiving(folder: Path) -> AsyncIterator[str]:
    """Run the receiver; gives its address."""
    port = free_port()
    words = (str(EXAMPLES / "receive_a_webhook.py"), str(folder / "secret"), str(port))
    with (folder / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=log)
    try:
        await answers(port)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        await process.wait()


async def answers(port: int) -> None:
    """Wait until somebody listens."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)
