"""Figures have one form: a row is judged by its goal, prints in 80 columns, survives as JSON."""

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from agent.bench.fleet import detect_rows, forecast_rows, history_rows
from agent.bench.loops import rows_of
from agent.demo import DemoResult
from agent.figures import emit, figures, results_page
from core.codec import from_json, to_json
from core.errors import InputError
from core.figures import Figures, Row, at_least, at_most

KEYS = {"metric", "value", "unit", "low", "high", "n", "goal", "ok", "note"}
ROWS = (
    at_least("goodput", 0.91, 0.9, unit="ratio", low=0.85, high=0.95, n=8, note="of eight seeds"),
    at_most("time", 3.0, 2.0, unit="s"),
    Row("not tried", None, "s", note="no GPU here"),
)


def shown(as_json: bool, strict: bool) -> tuple[str, int]:
    text = io.StringIO()
    console = Console(file=text, width=80)
    code = emit(figures("trial", ROWS), as_json=as_json, strict=strict, console=console)
    return text.getvalue(), code


def test_a_row_is_held_to_its_goal() -> None:
    good, late, unknown = ROWS

    assert (good.ok, late.ok, unknown.ok) == (True, False, None)
    assert (good.goal, late.goal) == (">= 0.9", "<= 2")


def test_a_figure_that_is_not_a_number_is_not_measured_and_not_ok() -> None:
    row = at_most("error", math.nan, 0.2, unit="ratio")

    assert (row.value, row.ok) == (None, False)


def test_json_has_every_key_and_null_where_nothing_was_measured() -> None:
    text, code = shown(as_json=True, strict=False)
    found = json.loads(text)

    assert set(found) == {"name", "command", "version", "machine", "seeds", "rows"}
    assert all(set(row) == KEYS for row in found["rows"])
    assert found["rows"][2]["value"] is None
    assert from_json(Figures, found).rows == ROWS
    assert code == 0


def test_strict_fails_where_a_row_misses_its_goal() -> None:
    assert shown(as_json=True, strict=True)[1] == 1
    assert shown(as_json=False, strict=True)[1] == 1
    assert shown(as_json=False, strict=False)[1] == 0


def test_a_table_fits_eighty_columns_and_cuts_no_word_off() -> None:
    text, _ = shown(as_json=False, strict=False)

    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "not measured" in text
    assert "[1] of eight seeds" in text


def test_the_results_page_shows_each_command_with_its_rows(tmp_path: Path) -> None:
    kept = figures("trial", ROWS, seeds=(3, 4))
    (tmp_path / "trial.json").write_text(json.dumps(to_json(kept)))

    page = results_page(tmp_path)

    assert "## trial" in page
    assert f"`{kept.command}`" in page
    assert "seeds 3, 4" in page
    assert "| time | 3 s |  | 1 | <= 2 | NO |  |" in page


def test_a_results_page_of_nothing_says_how_to_make_some(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gpumedic bench"):
        results_page(tmp_path)


def test_the_fleet_is_measured_at_any_size() -> None:
    rows = [row for part in (history_rows, detect_rows, forecast_rows) for row in part(2, runs=1)]

    assert len(rows) == 5
    assert all(row.value is not None and row.value > 0 and row.unit == "ms" for row in rows)


def test_the_loop_reports_what_healing_was_worth() -> None:
    result = DemoResult(
        scenario="demo",
        seed=0,
        simulated_s=3600.0,
        faults=("a", "b", "c"),
        incidents=3,
        diagnosed=3,
        actions=6,
        verified=3,
        first_verified_s=480.0,
        goodput_ratio=0.86,
        baseline_goodput_ratio=0.4,
        lost_gpu_s=1.0,
        baseline_lost_gpu_s=2.0,
        plans=(),
    )
    rows = {row.metric: row for row in rows_of([result, result])}

    assert rows["goodput"].value == 0.86
    assert rows["goodput with no healing"].value == 0.4
    assert all(row.ok is not False for row in rows.values())


def test_the_published_results_are_those_that_were_kept() -> None:
    docs = Path(__file__).parent.parent / "docs"

    assert (docs / "results.md").read_text() == results_page(docs / "results")
