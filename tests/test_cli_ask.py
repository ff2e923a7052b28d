"""The verbs that ask a controller show what it knows and carry a decision to it once."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.command_line import Said, gpumedic
from tests.page_controls import FakeControls
from tests.page_views import empty_view
from tests.test_server import TOKEN, app_for, running


@contextlib.asynccontextmanager
async def controller(controls: FakeControls | None = None) -> AsyncIterator[str]:
    async with running(app_for(controls or FakeControls())) as port:
        yield f"http://127.0.0.1:{port}"


async def ask(url: str, *words: str, token: str = TOKEN) -> Said:
    return await gpumedic(*words, GPUMEDIC_URL=url, GPUMEDIC_TOKEN=token)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("status", "open incidents"),
        ("incidents", "inc-41"),
        ("show inc-41", "Root cause"),
        ("explain inc-41", "Would decide it   node-003/GPU-003-5: read the pending row remaps"),
        ("explain inc-41", "Experience        on this fleet acting on it helped in 3 of 4 cases"),
        ("explain inc-41 --deep", "2.50 nats  100 %  job step time of inc-41"),
        ("explain inc-41 --deep", "80 %  GPU SM clock of GPU-8"),
        ("explain inc-41 --deep", "75 %  GPU SM clock of GPU-8"),
        ("explain inc-40", "Not diagnosed yet."),
        ("plan plan-17", "expected loss"),
        ("plan", "plan-17"),
    ],
)
async def test_a_verb_shows_it_as_text_and_as_json(words: str, shown: str) -> None:
    async with controller() as url:
        text = await ask(url, *words.split())
        data = await ask(url, *words.split(), "--json")

    assert (text.code, data.code) == (0, 0)
    assert shown in text.out
    assert isinstance(json.loads(data.out), dict)


async def test_an_explanation_says_what_it_weighed_and_draws_the_path(tmp_path: Path) -> None:
    file = tmp_path / "path.png"
    async with controller() as url:
        said = await ask(url, "explain", "inc-41", "--plot", str(file))
        data = await ask(url, "explain", "inc-41", "--json")

    assert (said.code, data.code) == (0, 0)
    assert "GPU memory, persistent (p = 0.97)" in said.out
    assert "Ruled out         shared volume /scratch: storage is slow, because its" in said.out
    assert file.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    answer = json.loads(data.out)
    assert answer["explanation"]["verdict"] == "named"
    assert answer["diagnosis"]["causes"][0]["kind"] == "gpu_memory"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("explain inc-40 --plot path.png", "no path is known"),
        ("explain inc-41 --plot /nowhere/path.png", "Name a file in a folder you may write."),
    ],
)
async def test_a_path_that_cannot_be_drawn_says_why(words: str, why: str) -> None:
    async with controller() as url:
        said = await ask(url, *words.split())

    assert said.code == 1
    assert why in said.err


async def test_an_attribution_that_takes_too_long_leaves_the_rest() -> None:
    controls = FakeControls()
    controls.deep_fails = "Running it: not done after 60 s, so its process was ended."
    async with controller(controls) as url:
        said = await ask(url, "explain", "inc-41", "--deep")
        data = await ask(url, "explain", "inc-41", "--deep", "--json")

    assert (said.code, data.code) == (1, 0)
    assert said.out.startswith("Incident inc-41")
    assert "DoWhy has no answer to a question: Running it: not done after 60 s" in said.err
    assert json.loads(data.out)["deep"]["problems"] == [controls.deep_fails]


async def test_an_empty_cluster_is_shown_too() -> None:
    async with controller(FakeControls(empty_view())) as url:
        said = [await ask(url, verb) for verb in ("status", "incidents")]

    assert [each.code for each in said] == [0, 0]
    assert said[1].out == "No incident so far.\n"


@pytest.mark.parametrize("words", ["show nope", "plan nope", "approve nope", "show a/b"])
async def test_what_is_not_there_exits_1_and_says_where_to_look(words: str) -> None:
    async with controller() as url:
        said = await ask(url, *words.split())

    assert said.code == 1
    assert said.plain
    assert "lists them" in said.err


async def test_a_plan_is_approved_once() -> None:
    controls = FakeControls()
    waiting = next(each.plan.id for each in controls.shown.plans if each.state == "proposed")
    decided = next(each.plan.id for each in controls.shown.plans if each.state != "proposed")
    async with controller(controls) as url:
        first = await ask(url, "approve", waiting, "--by", "eve")
        second = await ask(url, "approve", decided, "--by", "eve")

    assert first.code == 0
    assert controls.told == [("approve", waiting, "eve")]
    assert second.code == 3
    assert "already" in second.err


async def test_a_pause_is_shown_until_it_is_taken_back() -> None:
    async with controller() as url:
        paused = await ask(url, "pause", "--because", "lunch [hot]", "--for", "2h")
        status = await ask(url, "status")
        resumed = await ask(url, "resume")

    assert paused.out == "Paused for 2 h.\n"
    assert "lunch [hot]" in status.out
    assert resumed.out == "Resumed.\n"


async def test_a_command_without_the_token_is_told_how_to_get_it() -> None:
    async with controller() as url:
        said = await ask(url, "pause", "--because", "lunch", token="wrong")

    assert said.code == 1
    assert "set GPUMEDIC_TOKEN to its token" in said.err


@pytest.mark.parametrize("verb", ["status", "incidents", "resume", "notify failed"])
async def test_no_controller_exits_4_with_two_ways_out(verb: str) -> None:
    said = await ask("http://127.0.0.1:1", *verb.split())

    assert said.code == 4
    assert "Start one with `gpumedic run`, or name its address with --url." in said.err


async def test_a_test_message_without_a_receiver_says_how_to_add_one() -> None:
    said = await gpumedic("notify", "test")

    assert said.code == 1
    assert "add [[webhooks]] with a name and a url" in said.out


async def test_an_id_stays_whole_on_a_narrow_terminal() -> None:
    async with controller() as url:
        said = await gpumedic("incidents", GPUMEDIC_URL=url, COLUMNS="40")

    assert "inc-41" in said.out
    assert "critical" in said.out


async def test_a_terminal_without_our_signs_gets_others() -> None:
    async with controller() as url:
        await ask(url, "pause", "--because", "over 87 °C")
        said = await gpumedic("status", GPUMEDIC_URL=url, PYTHONIOENCODING="ascii")

    assert said.code == 0
    assert "over 87 ?C" in said.out
