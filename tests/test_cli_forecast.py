"""``gpumedic forecast`` answers for any table there is, or says what the file lacks."""

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from agent.cli import main
from tests.command_line import Said, gpumedic

START_S = 1_700_000_000
Row = tuple[float, object]
Here = Callable[..., Said]
ONE = (
    *("forecast", "--file", "x.csv", "--column", "value"),
    *("--limit", "0.9", "--horizon", "2h"),
)


def ramp(*, points: int = 300) -> list[Row]:
    """Return readings a minute apart that reach 0.9 about 75 minutes after the last."""
    noise = np.random.default_rng(1).normal(0, 0.003, points)
    number = range(points)
    return [
        (START_S + 60 * i, round(0.9 - 0.0008 * (points + 75 - i) + noise[i], 5)) for i in number
    ]


def write(path: Path, rows: Iterable[Row], header: str = "time,value\n") -> None:
    path.write_text(header + "".join(f"{time},{value}\n" for time, value in rows))


async def forecast(folder: Path, *more: str) -> Said:
    return await gpumedic(*ONE, *more, folder=folder)


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Here:
    """Run what ends before any worker starts in this process: it takes no second."""

    def run(*words: str) -> Said:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["gpumedic", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return Said(int(ended.value.code or 0), *capsys.readouterr())

    return run


async def test_it_says_when_how_surely_and_by_which_model(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", ramp())

    said = await forecast(tmp_path, "--json", "--plot", "out.png")
    found = json.loads(said.out)
    ahead_s = found["expected_s"] - found["made_at_s"]

    assert said.code == 0
    assert ahead_s == pytest.approx(75 * 60, rel=0.2)
    assert found["earliest_s"] < found["expected_s"] < found["latest_s"]
    assert found["model"]
    assert found["skill"] > 0
    assert found["probability"] > 0.8
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    for name in ("made_at", "expected", "earliest", "latest"):
        shown = datetime.fromisoformat(found[name]).timestamp()
        assert shown == pytest.approx(found[f"{name}_s"], abs=1)


async def test_an_untidy_file_works_and_it_says_what_it_did(tmp_path: Path) -> None:
    rows = ramp()
    rows = [row for i, row in enumerate(rows) if not 100 <= i < 130]
    rows[10], rows[20] = (rows[10][0], "nan"), (rows[20][0], "")
    rows = [rows[50], *rows]
    write(tmp_path / "x.csv", rows)

    said = await forecast(tmp_path)

    assert said.code == 0
    assert "2 rows have no finite value" in said.out
    assert "not in order of time" in said.out
    assert "1 rows repeat a time" in said.out
    assert "gaps of up to 1860 s" in said.out


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("time,other\n1,2\n", "it has no column 'value', only time, other"),
        ("", "it is empty"),
        ("time,value\n", "no row has both a time and a value"),
        ("time,value\n1,x\n2,y\n", "such as line 2: '1,x'"),
        ("a\0b,c\n1,2\n", "it is binary, not CSV"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_what_it_lacks(
    text: str, remedy: str, here: Here, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text(text)

    said = here(*ONE)

    assert said.code == 1
    assert said.plain
    assert remedy in said.err


def test_a_missing_file_is_said_in_one_line(here: Here) -> None:
    said = here(*ONE)

    assert said.code == 1
    assert (
        said.err
        == "gpumedic: reading x.csv: No such file or directory. Name a CSV or Parquet file.\n"
    )


async def test_the_bad_side_can_be_named(tmp_path: Path) -> None:
    """A series that has passed its limit already would be taken to fall back."""
    write(tmp_path / "x.csv", [(time, float(str(value)) + 0.5) for time, value in ramp()])

    found = json.loads((await forecast(tmp_path, "--json", "--side", "above")).out)

    assert (found["crosses"], found["probability"]) == ("above", 1.0)


def write_wide(path: Path, *, points: int = 300) -> None:
    """Write nine series: eight rest, of which one has jumped and come back; one is the ramp."""
    rng = np.random.default_rng(4)
    ramped = ramp(points=points)
    rest = 0.3 + rng.normal(0, 0.003, (points, 8))
    rest[120:150, 0] = 1.0
    lines = [
        f"{time},{value},{','.join(f'{other:.4f}' for other in others)}"
        for (time, value), others in zip(ramped, rest, strict=True)
    ]
    names = ",".join(f"rest{number}" for number in range(8))
    path.write_text("\n".join([f"time,ramp,{names}", *lines]) + "\n")


async def wide(folder: Path, *more: str) -> Said:
    return await gpumedic("forecast", "--file", "x.csv", "--limit", "0.9", *more, folder=folder)


async def test_of_a_wide_table_the_worst_come_first(tmp_path: Path) -> None:
    write_wide(tmp_path / "x.csv")

    said = await wide(tmp_path, "--worst", "9", "--plot", "worst.png", "--out", "bands.parquet")
    lines = said.out.splitlines()

    assert said.code == 0
    assert lines[0].startswith("9 series of 300 readings, 1 min apart, newest 2023-11-15T")
    assert lines[1] == "To be beyond 0.9 within 2 h with p >= 0.5: 1; already there: 0."
    assert lines[2].split()[:3] == ["series", "now", "p"]
    assert lines[3].startswith("ramp ")
    assert {line.split()[0] for line in lines[4:-1]} == {f"rest{number}" for number in range(8)}
    assert lines[-1].startswith("note: rest0: its past crossings were sudden steps")
    assert (tmp_path / "worst.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "bands.parquet").read_bytes().startswith(b"PAR1")
    assert "9/9" in said.err


async def test_all_series_of_a_wide_table_are_in_the_json(tmp_path: Path) -> None:
    write_wide(tmp_path / "x.csv")

    said = await wide(tmp_path, "--json", "--columns", "r*", "--plot", "plots", "--worst", "2")
    found = json.loads(said.out)

    assert found["series"][0]["name"] == "ramp"
    assert len(found["series"]) == 9
    assert (found["readings"], found["step_s"], found["without_forecast"]) == (300, 60.0, 0)
    assert {path.name[:8] for path in (tmp_path / "plots").iterdir()} == {"001-ramp", "002-rest"}


async def test_one_column_of_a_wide_table_is_told_in_sentences(tmp_path: Path) -> None:
    write_wide(tmp_path / "x.csv")

    said = await wide(tmp_path, "--columns", "ramp", "--model", "fleet-prophet")

    assert said.out.startswith("ramp is 0.")
    assert "It goes above 0.9 within 2 h" in said.out


@pytest.mark.parametrize(
    ("more", "remedy"),
    [
        (("--columns", "none*"), "Name others with --columns"),
        (("--columns", "r*", "--column", "ramp"), "not both"),
        (("--time", "when"), "Name the time column with --time"),
        (("--model", "magic"), "'fleet-prophet'"),
    ],
)
def test_what_cannot_be_done_with_a_table_is_told(
    here: Here, tmp_path: Path, more: tuple[str, ...], remedy: str
) -> None:
    write_wide(tmp_path / "x.csv", points=60)

    said = here("forecast", "--file", "x.csv", "--limit", "0.9", *more)

    assert said.code in (1, 2)
    assert said.plain
    assert remedy in " ".join(said.err.split())
