"""``gpumedic demo`` as a newcomer starts it: a page, a healed fault, a result, exit 0."""

import json
import signal
from pathlib import Path

from tests.e2e.running import Running, gpumedic, until

# A minute of the demonstration is a second here: its first fault is healed and proven after 8.
HEALED_S = 240.0


async def healed(here: Running) -> bool:
    """Say whether a plan is proven to have helped; a demonstration that has ended is an error."""
    assert here.process.poll() is None, here.said()
    plans = (await here.get("/v1/plans"))["plans"]
    return any(plan["state"] == "done" for plan in plans)


async def test_the_demo_shows_its_page_and_what_came_of_it(tmp_path: Path) -> None:
    async with gpumedic("demo", "--json", folder=tmp_path) as here:
        await here.ready()
        await until(lambda: healed(here), what="a plan that helped", deadline_s=HEALED_S)
        here.process.send_signal(signal.SIGINT)
        code, said = await here.ended(), here.said()

    result = json.loads(said[said.index("\n{\n") :])
    assert code == 0
    assert here.url in said
    assert result["verified"] >= 1
    assert result["incidents"] >= 1
    assert result["actions"] >= 1
    assert 0 < result["goodput_ratio"] <= 1
    assert 0 < result["baseline_goodput_ratio"] <= 1
    assert "Traceback" not in said
