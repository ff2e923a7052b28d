"""An evaluation is the same wherever its lives are lived, and on the command line."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.evaluations.policies.evaluation import in_short
from agent.evaluations.policies.page import page
from agent.evaluations.policies.plot import plot
from agent.evaluations.policies.work import Asked, measured, trained_of
from agent.figures import figures
from core.choice import Choice
from core.codec import from_json
from core.errors import ActionFailed, InputError
from core.figures import Figures
from remediation.evaluation.comparison import Comparison, compared
from remediation.evaluation.life import LifeResult
from remediation.evaluation.policies import STATIC, entrants
from remediation.evaluation.rows import rows
from remediation.evaluation.suites import Suite
from remediation.learning.families import TRAIN, TUNING_SEED
from tests.lives import life
from tests.policy_files import policy_file
from tests.ray_cluster import cluster_of_three

SUITE = Suite((TRAIN,), TUNING_SEED + 320_000)
HEADLINE = (
    "lost_gpu_hours_ratio_vs_tuned_runbook",
    "gap_closed_to_oracle",
    "guard_breaches",
    "wrong_drains_per_1000_node_days",
)


def asked(engine: str, jobs: int) -> Asked:
    return Asked(entrants(["no_op", "runbook"], {}), SUITE, 3, engine=engine, jobs=jobs)


def untimed(found: Comparison) -> Sequence[LifeResult]:
    return [replace(each, decision_s=0.0) for name in found.policies for each in found.lives(name)]


@pytest.fixture(scope="module")
def local() -> Sequence[LifeResult]:
    return untimed(measured(asked("local", 2)))


def test_one_process_and_several_give_the_same(local: Sequence[LifeResult]) -> None:
    assert untimed(measured(asked("local", 1))) == local
    assert len(local) == 6


def test_several_ray_nodes_give_the_same(local: Sequence[LifeResult]) -> None:
    with cluster_of_three() as nodes:
        found = measured(asked("ray", 3))

    assert nodes == 3
    assert untimed(found) == local


def test_a_life_that_cannot_be_lived_is_named() -> None:
    nowhere = replace(asked("local", 1), suite=Suite(("atlantis",), 0))

    with pytest.raises(ActionFailed, match="in atlantis, seed 0: no family 'atlantis'"):
        measured(nowhere)


def test_two_files_of_one_name_cannot_be_told_apart(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    files = [policy_file(tmp_path / "rl.npz"), policy_file(tmp_path / "b" / "rl.npz")]

    with pytest.raises(InputError, match="two files are called rl"):
        trained_of(files)


def run(*words: str) -> str:
    said = CliRunner().invoke(app, ["evaluate", *words], catch_exceptions=False)
    assert said.exit_code == 0
    return said.stdout


def test_the_command_line_says_what_a_file_is_worth(tmp_path: Path) -> None:
    file = policy_file(tmp_path / "swaps.npz", prefers=Choice.SWAP, known=True)
    words = ("--suite", "tuning", "--policy", str(file), "--policies", "tuned_runbook,oracle")
    tables, picture = tmp_path / "t.md", tmp_path / "p.svg"

    said = run(*words, "--lives", "2", "--json", "--markdown", str(tables), "--plot", str(picture))

    shown = from_json(Figures, json.loads(said))
    named = {row.metric: row for row in shown.rows}
    assert all("of swaps;" in named[name].note for name in HEADLINE if name != "guard_breaches")
    assert named["guard_breaches"].value == 0
    assert named["lost_gpu_hours_ratio_vs_tuned_runbook"].low is not None
    assert named['lost_gpu_hours{policy="swaps",family="train"}'].n == 2
    assert len(shown.seeds) == 1
    assert "| swaps |" in tables.read_text()
    assert "swaps" in picture.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("policy --suite services", "policy has held-out, seeds, tuning, train"),
        ("rca --suite train", "rca has held-out, tuning, services"),
        ("forecast --suite held-out", "forecast has no suites"),
        ("rca --policies all", "is for policy, not for rca"),
        ("anomaly --lives 3", "is for policy, not for anomaly"),
    ],
)
def test_what_does_not_go_together_is_refused(words: str, said: str) -> None:
    found = CliRunner().invoke(app, ["evaluate", *words.split()], env={"COLUMNS": "200"})

    assert found.exit_code == 2
    assert said in " ".join(found.stderr.replace("│", " ").split())


@pytest.mark.parametrize("damage", ["cut", "altered"])
def test_a_damaged_file_is_refused_before_any_life(tmp_path: Path, damage: str) -> None:
    file = policy_file(tmp_path / "p.npz")
    data = file.read_bytes()
    file.write_bytes(
        data[: len(data) // 2] if damage == "cut" else data.replace(b"train", b"brain")
    )

    found = CliRunner().invoke(app, ["evaluate", "--policy", str(file)])

    assert isinstance(found.exception, InputError)
    assert "p.npz" in str(found.exception)


def shown() -> Figures:
    losses = {"tuned_runbook": 100.0, "rl": 70.0, "no_op": 5000.0, "oracle": 50.0}
    found = compared(
        [
            life(policy, family, seed, lost_h=loss * (1 + seed / 10))
            for policy, loss in losses.items()
            for family in ("larger", "slow_detection")
            for seed in range(6)
        ],
        static=STATIC,
    )
    return figures("trial", rows(found, "rl"))


def test_the_page_has_a_row_a_policy_the_best_first() -> None:
    lines = [line for line in page(shown()).splitlines() if line.startswith("| ")]

    losses = [line.split(" | ")[0].removeprefix("| ") for line in lines[2:7]]
    assert losses == ["oracle", "rl", "tuned_runbook", "best_static", "no_op"]
    assert lines[0] == "| policy | all families | larger | slow detection |"


def test_the_picture_has_a_panel_a_family_and_stands_alone() -> None:
    drawn = plot(shown())

    texts = [each.text for each in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314
    assert {"all families", "larger", "slow detection", "rl", "no_op"} <= set(texts)
    assert "50" in texts  # what lies beyond the axis is written


def test_a_terminal_is_spared_the_rows_of_single_families() -> None:
    every = shown().rows
    kept = in_short(every)

    assert {row.metric for row in kept} >= set(HEADLINE)
    assert not [row for row in kept if "family=" in row.metric or "cause=" in row.metric]
    assert len(kept) < len(every)


def test_figures_without_policies_cannot_be_drawn() -> None:
    with pytest.raises(InputError, match="no row of a policy"):
        plot(figures("trial", ()))


def test_the_page_about_policies_shows_the_figures_that_are_kept() -> None:
    docs = Path(__file__).parent.parent / "docs"
    kept = docs / "results" / "evaluate_policy.json"
    _, _, rest = (docs / "policies.md").read_text().partition("<!-- figures -->\n")
    written, _, _ = rest.partition("<!-- /figures -->")

    if not kept.exists():
        assert written == "No figures are kept yet.\n"
    else:
        assert written == page(from_json(Figures, json.loads(kept.read_text())))
