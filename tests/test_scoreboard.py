"""The scoreboard: published figures come out first, and ours stand beside them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.scoreboard import board, detectors, lemons, standby
from agent.scoreboard.assumed import ASSUMED, values
from agent.scoreboard.effective import Trial, trials
from agent.scoreboard.entries import Entry, Goal
from agent.scoreboard.healed import Own, healed
from agent.scoreboard.played import Arm, live
from agent.scoreboard.sensitivity import drawing, panel
from core.codec import from_json
from core.errors import InputError
from core.figures import Figures, Row
from sim.library import scenario
from tests.command_line import gpumedic

DOCS = Path(__file__).parent.parent / "docs"
# Short ones: of a few hundred nodes.
QUICK = ("c4_downtime", "dlrover_goodput", "minder_recall")


def trial(name: str) -> Trial:
    return next(trials(frozenset({name})))


@pytest.fixture(scope="module")
def quick() -> dict[str, Row]:
    return {row.metric: row for row in board.rows(QUICK, quick=True)}


def test_each_row_has_what_was_published_what_came_out_and_ours(quick: dict[str, Row]) -> None:
    for name in QUICK:
        ours = quick[name]

        assert quick[name + "_published"].value is not None
        assert name + "_reproduced" in quick
        assert ours.value is not None
        assert ours.goal
        assert ours.ok is not None
        for word in ("published", "reproduced", "tolerance"):
            assert word in ours.note
        assert "seeds" in ours.note or "measured" in ours.note


def test_a_published_policy_comes_out_within_its_tolerance(quick: dict[str, Row]) -> None:
    for name in ("c4_downtime_reproduced", "c4_downtime_before", "dlrover_goodput_before"):
        assert quick[name].ok, quick[name]


def test_what_is_not_reproduced_says_why(quick: dict[str, Row]) -> None:
    row = quick["minder_recall_reproduced"]

    assert row.value is None
    assert row.ok is None
    assert "not public" in row.note


def test_the_same_seed_gives_the_same_figure() -> None:
    arm = trial("c4_downtime").ours(values(), standby=True)
    first = live(arm, 3)
    live.cache_clear()

    assert live(arm, 3) == first
    assert live(arm, 4) != first


def test_a_goal_that_is_missed_says_by_how_much() -> None:
    entry = Entry(
        name="some_ettr",
        unit="",
        published=0.9,
        source="a paper",
        tolerance=0.02,
        reproduced=np.array([0.91, 0.95]),
        ours=np.array([0.95, 0.96]),
        goal=Goal(above=True, figure=0.97),
        needs="a feature",
    )
    ours, published, reproduced = entry.rows()

    assert (ours.ok, ours.goal, ours.n) == (False, ">= 0.97", 2)
    assert "misses the goal by 0.015" in ours.note
    assert "needs a feature" in ours.note
    assert (published.value, reproduced.ok) == (0.9, False)


@pytest.mark.parametrize(("figure", "met"), [(0.96, False), (0.97, True), (0.98, True)])
def test_a_goal_holds_at_its_figure_unless_it_is_strict(figure: float, met: bool) -> None:
    assert Goal(above=True, figure=0.97).is_met(figure) is met
    assert not Goal(above=True, figure=0.97, strictly=True).is_met(0.97)
    assert Goal(above=False, figure=0.97).is_met(0.5)


def test_ours_changes_the_policy_and_leaves_cluster_and_faults_as_they_are() -> None:
    base = Arm(scenario("llama3"), 1)
    ours = healed(base, values(), Own(), standby=False)

    for name in ("profile", "rate_scale", "nodes", "spares", "racks", "machines"):
        assert getattr(ours.script, name) == getattr(base.script, name)
    assert ours.script.jobs[0].nodes == base.script.jobs[0].nodes
    assert ours.script.site.restart_s_per_gpu >= base.script.site.restart_s_per_gpu


def test_checkpoints_come_at_youngs_interval_but_no_closer_than_a_save() -> None:
    base = Arm(scenario("llama3"), 1)
    young = healed(base, values(stall_s=2.0), Own(), standby=False).script.jobs[0]
    close = healed(base, values(stall_s=1e-6), Own(), standby=False).script.jobs[0]

    # 466 in 54 days: one in 2.78 h; sqrt(2 x 2 s x 10,012 s) is 200 s
    assert young.checkpoint_interval_s == pytest.approx(200, rel=0.01)
    step_s = base.script.jobs[0].ideal_step_s
    assert close.checkpoint_interval_s == pytest.approx(values()["save_s"] + step_s)


def test_a_wrong_blame_costs_one_more_start() -> None:
    base = Arm(scenario("c4"), 1)
    right = healed(base, values(blame=1.0), Own(), standby=True).script.site
    half = healed(base, values(blame=0.5), Own(), standby=True).script.site

    assert half.restart_s == pytest.approx(1.5 * right.restart_s)
    assert half.requeue_s == pytest.approx(1.5 * right.requeue_s)


def test_all_wait_longer_for_a_replica_that_hangs_than_for_one_whose_process_ends() -> None:
    base, own = Arm(scenario("ft-hsdp"), 1), Own(goes_on_s=120.0, without_s=420.0, replicas=12)
    none, some, every = (
        healed(base, values(hang_share=share), own, standby=False).script.site.requeue_s
        for share in (0.0, 0.5, 1.0)
    )

    v = values()
    assert none == 2 * v["cycle_s"]
    assert every == v["hang_s"] + v["cycle_s"]
    assert some == pytest.approx((none + every) / 2)


def test_rates_of_a_scenarios_own_stand_for_the_profiles() -> None:
    base = scenario("dlrover")
    every, none = Arm(base, 1), Arm(replace(base, rates=(("silent_data_corruption", 0.0),)), 1)

    # 6 of Llama 3's 419 unexpected interruptions
    assert none.faults_a_s(100) / every.faults_a_s(100) == pytest.approx(1 - 6 / 419)


def test_an_assumption_that_there_is_not_names_the_nearest() -> None:
    with pytest.raises(InputError, match="standby_s"):
        values(standby=1.0)


def test_every_assumption_has_a_source_and_a_range_about_its_value() -> None:
    for part in ASSUMED:
        assert part.low < part.high
        assert part.low <= part.value <= part.high
        assert part.source


def test_a_standby_that_is_made_anew_need_not_be_there_twice() -> None:
    few = standby.least(1024)
    excess = standby.excess(1024, few, seed=0, warm_s=70.0)
    idle = standby.excess(1024, standby.Kept(1, anew=False, lean=True), seed=0, warm_s=70.0)

    assert few.standbys < dict(standby.SIZES)[1024]
    assert 0 < excess < idle


def test_lemons_are_told_from_unlucky_nodes_and_taken_out() -> None:
    before, _ = lemons.play(lemons.NOBODY, 0)
    after, accuracy = lemons.play(lemons.OURS, 0)

    assert after < before / 2
    assert accuracy > 0.95


def test_measured_figures_are_those_of_the_results_that_are_kept() -> None:
    for found in detectors.MEASURED:
        kept = from_json(Figures, json.loads((DOCS / "results" / found.file).read_text()))
        rows = {row.metric: row.value for row in kept.rows}
        value, also = rows[found.row], rows.get(found.also, 0.0)

        assert value is not None
        assert also is not None
        assert found.value == pytest.approx(value * (1 - also))


def test_a_panel_moves_with_what_it_is_drawn_of() -> None:
    one = panel(trial("c4_downtime"), seeds=1)
    swings = {swing.assumed.key: swing for swing in one.swings}
    text = drawing([one])

    assert swings["standby_s"].low < one.value < swings["standby_s"].high
    assert swings["rate_times"].low < one.value < swings["rate_times"].high
    assert len(one.swings) == len(ASSUMED)
    assert all(part.key in text for part in ASSUMED)
    assert text.startswith("<svg")
    assert text.rstrip().endswith("</svg>")


async def test_a_row_that_there_is_not_is_refused_with_the_nearest() -> None:
    said = await gpumedic("scoreboard", "--rows", "llama3_etr")

    assert said.code != 0
    assert said.plain
    assert "llama3_ettr" in said.err


async def test_the_command_prints_its_rows_as_figures() -> None:
    said = await gpumedic("scoreboard", "--rows", "minder_precision", "--quick", "--json")
    shown = from_json(Figures, json.loads(said.out))

    assert [row.metric for row in shown.rows] == [
        "minder_precision",
        "minder_precision_published",
        "minder_precision_reproduced",
    ]


def test_the_page_has_the_table_of_the_results_that_are_kept_and_all_assumptions() -> None:
    kept = from_json(Figures, json.loads((DOCS / "results" / "scoreboard.json").read_text()))
    page = (DOCS / "scoreboard.md").read_text()

    assert board.markdown(kept) in page
    assert board.assumptions() in page
