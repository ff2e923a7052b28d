"""What the pages tell a reader to type exists: every verb, every option, every settings key."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from agent.cli import app
from agent.config import check
from sim.scenario_file import parse_scenario

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text()) if found == language]


def commands() -> Iterator[tuple[str, ...]]:
    """Every command line in the pages, without its program, its comment and what it is to start."""
    for page in PAGES:
        for line in "".join(blocks(page, "")).splitlines():
            words = shlex.split(line, comments=True) if "gpumedic " in line[:25] else []
            if words and Path(words[0]).name == "gpumedic":
                ends = [words.index(end) for end in (">", "--") if end in words]
                yield tuple(words[1 : min(ends, default=len(words))])


@pytest.mark.parametrize("words", sorted(set(commands())), ids=" ".join)
def test_a_command_in_a_page_exists(words: tuple[str, ...]) -> None:
    group = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    depth = 2 if hasattr(group[words[0]], "commands") else 1

    said = CliRunner().invoke(app, [*words[:depth], "--help"], env={"COLUMNS": "200"})

    assert said.exit_code == 0
    assert [word for word in words if word.startswith("--") and word not in said.output] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_settings_in_a_page_are_known(page: Path, tmp_path: Path) -> None:
    """A secret's file is the reader's own; all else must pass the check."""
    settings = [text for text in blocks(page, "toml") if page.stem != "simulator"]
    for number, text in enumerate(settings):
        file = tmp_path / f"{number}.toml"
        file.write_text(text)
        problems = [str(each) for each in check([file], environ={})]
        assert [each for each in problems if "secret_file" not in each] == []


def test_scenarios_in_the_simulators_page_are_read() -> None:
    texts = blocks(ROOT / "docs" / "simulator.md", "toml")

    assert [parse_scenario(text, name="in-the-page").jobs for text in texts]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_link_in_a_page_leads_somewhere(page: Path) -> None:
    links = [page.parent / link for link in LINK.findall(page.read_text())]

    assert [str(link) for link in links if not link.exists()] == []
