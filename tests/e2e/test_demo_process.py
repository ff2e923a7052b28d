"""``gpumedic demo`` as a newcomer starts it: a page, a healed fault, a result, exit 0."""

import json
from pathlib import Path

from tests.e2e.running import gpumedic, until

DURATION_S = 25  # simulated: 25 min; the first fault is healed and proven after 8


async def test_the_demo_shows_its_page_and_what_came_of_it(tmp_path: Path) -> None:
    words = ("demo", "--duration", str(DURATION_S), "--json")
    async with gpumedic(*words, folder=tmp_path) as here:
        await here.ready()
        await until(lambda: here.process.poll() is not None, what="its end", deadline_s=90.0)
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
