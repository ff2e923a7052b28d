"""``gpumedic diagnose`` names the cause in two tables, or says what they lack."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main
from tests.command_line import ROOT, Said

PAGE = (ROOT / "docs" / "diagnose-tables.md").read_text()
TARGET = "web|latency_seconds|p90"
FILES = ("--normal", "normal.csv", "--abnormal", "abnormal.csv", "--target", TARGET)
Shop = Callable[..., Said]


@pytest.fixture
def shop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shop:
    """Make the page's tables, and diagnose them in this process: it takes a second."""
    monkeypatch.chdir(tmp_path)
    (maker,) = re.findall(r"^```python\n(import json\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(maker, "make_tables.py", "exec"), {})  # noqa: S102  # our own page

    def run(*words: str) -> Said:
        monkeypatch.setattr("sys.argv", ["gpumedic", "diagnose", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return Said(int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_the_pages_example_says_what_the_page_says(shop: Shop, tmp_path: Path) -> None:
    said = shop(*FILES, "--graph", "graph.json", "--plot", "path.png")

    assert said.code == 0
    first, path, *evidence = said.out.splitlines()[:4]
    assert first.startswith("1. stock-disk, p = ")
    assert path == "   path: stock-disk -> stock -> web"
    assert [line for line in (path, *evidence) if line not in PAGE] == []
    assert (tmp_path / "path.png").read_bytes().startswith(b"\x89PNG")


def test_json_holds_the_answer_and_the_notes(shop: Shop) -> None:
    found: dict[str, Any] = json.loads(shop(*FILES, "--graph", "graph.json", "--json").out)

    assert list(found) == ["target", "named", "suspects", "no_fault", "why", "notes"]
    first = found["suspects"][0]
    assert (first["name"], first["path"]) == ("stock-disk", ["stock-disk", "stock", "web"])
    assert 0 <= found["no_fault"] < 0.5 < first["probability"] <= 1
    assert "stock-disk|write_seconds" in first["columns"]


def test_without_a_graph_the_cause_is_among_the_first_three(shop: Shop) -> None:
    found = json.loads(shop(*FILES, "--json").out)

    assert "stock-disk" in [suspect["name"] for suspect in found["suspects"][:3]]


def test_quiet_tables_have_no_root_cause(shop: Shop, tmp_path: Path) -> None:
    """The 30 last normal rows, as if there were trouble in them."""
    header, *rows = (tmp_path / "normal.csv").read_text().splitlines(keepends=True)
    (tmp_path / "normal.csv").write_text(header + "".join(rows[:-30]))
    (tmp_path / "abnormal.csv").write_text(header + "".join(rows[-30:]))

    said = shop(*FILES, "--graph", "graph.json", "--plot", "path.png")
    found = json.loads(shop(*FILES, "--graph", "graph.json", "--json").out)

    assert said.code == 0
    assert found["named"] == []
    assert found["no_fault"] > 0.5
    assert said.out.splitlines()[0] == found["why"]
    assert (tmp_path / "path.png").exists()


def test_parquet_and_csv_get_one_answer(shop: Shop, tmp_path: Path) -> None:
    import pandas as pd

    for name in ("normal", "abnormal"):
        exact = pd.read_csv(f"{name}.csv", index_col=0, float_precision="round_trip")
        exact.to_parquet(f"{name}.parquet")

    csv = shop(*FILES, "--json")
    parquet = shop(*(word.replace(".csv", ".parquet") for word in FILES), "--json")

    assert csv.out == parquet.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target", "web|latency_seconds"), "the nearest are web|latency_seconds|p90"),
        (("--normal", "none.csv"), "reading none.csv: No such file"),
        (("--graph", "normal.csv"), "reading normal.csv: it is not JSON"),
        (("--graph", "ring.json"), "it has a cycle, "),
        (("--abnormal", "text.csv"), "column 'web|latency_seconds|p90' mixes numbers and text"),
        (("--abnormal", "other.csv"), "none of the 7 columns of normal"),
        (("--normal", "row.csv"), "1 of its 1 rows hold a reading"),
    ],
    ids=lambda words: words[1] if isinstance(words, tuple) else "",
)
def test_files_that_cannot_be_used_are_named(
    shop: Shop, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    table = (tmp_path / "abnormal.csv").read_text()
    lines = table.splitlines(keepends=True)
    last = lines[-1].split(",")
    (tmp_path / "ring.json").write_text('{"edges": [["web", "stock"], ["stock", "web"]]}')
    (tmp_path / "text.csv").write_text(table + ",".join([last[0], "slow", *last[2:]]))
    (tmp_path / "other.csv").write_text(re.sub(r"([\w-]+)\|", r"other-\1|", table))
    (tmp_path / "row.csv").write_text("".join([lines[0], lines[1].replace("17672", "17682", 1)]))

    found = shop(*FILES, *words)

    assert (found.code, found.plain, found.out) == (1, True, "")
    assert said in found.err.replace("\n", " ")


def test_a_picture_that_cannot_be_written_takes_no_answer_away(shop: Shop) -> None:
    said = shop(*FILES, "--graph", "graph.json", "--plot", "none/path.png")

    assert (said.code, said.plain) == (1, True)
    assert "1. stock-disk, p = " in said.out
    assert "Writing the plot to none/path.png: No such file or directory" in said.err
