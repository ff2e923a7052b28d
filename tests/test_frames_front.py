"""The plain-data front names the component that was hit, and nobody where nothing is wrong."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from agent.evaluations.services import recorded
from agent.evaluations.services.cases import Case, as_tables, disguised
from agent.evaluations.services.families import HELD_OUT
from agent.evaluations.services.rows import System, scored
from agent.evaluations.services.topologies import case
from core.types import Floats
from rca.frames import diagnose
from rca.frames.evidence import NAMES, evidence, farthest
from rca.frames.front import answer
from rca.frames.inputs import Tables
from rca.frames.oddness import oddness
from rca.frames.reach import reached

CHAIN = ("store", "stock", "basket", "shop")


def chain(rng: np.random.Generator, *, slow: str | None = None, busy: str | None = None) -> Case:
    """Four services in a row: each waits for the one before it; ``shop`` is watched."""
    normal, rows = 200, 210
    columns, value, wait = [], [], np.zeros(rows)
    late = (np.arange(rows) >= normal).astype(float)
    for name in CHAIN:
        wait = wait + 0.05 * np.exp(0.1 * rng.standard_normal(rows)) + 0.5 * late * (name == slow)
        cpu = 20 + rng.standard_normal(rows) + 60 * late * (name == busy)
        requests = 100 + 5 * rng.standard_normal(rows)
        columns += [f"{name}|latency", f"{name}|cpu", f"{name}|requests"]
        value += [wait + 0.3 * late * (name == busy), cpu, requests]
        wait = wait + 0.3 * late * (name == busy)
    table: Floats = np.array(value, np.float64).T
    time_s = 60.0 * np.arange(rows, dtype=np.float64)
    return Case(
        tuple(columns), table[:normal], table[normal:], time_s[:normal], time_s[normal:],
        tuple(pairwise(CHAIN)), "shop|latency",
        tuple(name for name in (slow or busy,) if name), "planted",
    )  # fmt: skip


def named(each: Case) -> tuple[str, ...]:
    return answer(as_tables(each)).named


@pytest.mark.parametrize("slow", CHAIN)
def test_the_service_that_began_to_wait_is_named_first(slow: str) -> None:
    assert named(chain(np.random.default_rng(1), slow=slow))[0] == slow


@pytest.mark.parametrize("busy", CHAIN)
def test_a_busy_processor_is_the_cause_of_the_latency_above_it(busy: str) -> None:
    assert named(chain(np.random.default_rng(2), busy=busy))[0] == busy


@pytest.mark.parametrize("busy", CHAIN)
def test_without_a_graph_the_busy_processor_is_still_found(busy: str) -> None:
    assert named(replace(chain(np.random.default_rng(3), busy=busy), links=None))[0] == busy


def test_nobody_is_named_where_nothing_is_wrong() -> None:
    empty = [not named(chain(np.random.default_rng(seed))) for seed in range(40)]

    assert np.mean(empty) >= 0.8


def test_an_empty_answer_says_why_and_still_shows_whom_it_would_suspect() -> None:
    each = chain(np.random.default_rng(5))
    abnormal = each.normal[90:100].copy()
    abnormal[:, each.columns.index("store|requests")] += 10.0  # two of its standard deviations
    found = answer(as_tables(replace(each, abnormal=abnormal)))

    assert not found.named
    assert "fault-free with probability" in found.why
    assert found.suspects


@pytest.mark.parametrize("seed", range(10))
def test_nobody_is_named_where_no_column_is_odd(seed: int) -> None:
    each = chain(np.random.default_rng(seed))
    found = answer(as_tables(replace(each, abnormal=each.normal[90:100])))

    assert not found.named
    assert "the oddest column" in found.why


def test_one_reading_far_outside_all_normal_ones_is_seen() -> None:
    each = chain(np.random.default_rng(19), busy="stock")
    abnormal = each.abnormal.copy()
    abnormal[:, each.columns.index("store|requests")] += 15.0
    odd = farthest(oddness(as_tables(replace(each, abnormal=abnormal))))

    assert odd[each.columns.index("stock|cpu")] > 10.0
    assert odd[each.columns.index("basket|cpu")] < 2.0


def test_without_a_graph_nothing_is_held_against_the_end_of_the_chain() -> None:
    each = chain(np.random.default_rng(20), busy="stock")
    read = as_tables(replace(each, links=None))
    table = evidence(read, oddness(read), reached(len(read.components), read.links)).table

    assert not table[:, NAMES.index("unexplained")].any()
    assert not table[:, NAMES.index("watched")].any()
    assert table[read.components.index("stock"), NAMES.index("leads_in")] > 0.0


def test_other_names_and_another_order_change_nothing() -> None:
    rng = np.random.default_rng(6)
    plain = replace(chain(rng, slow="stock"), links=None)
    order = rng.permutation(len(plain.columns))
    shuffled = replace(
        plain,
        columns=tuple(plain.columns[k].replace("stock", "x9") for k in order),
        normal=plain.normal[:, order],
        abnormal=plain.abnormal[:, order],
    )

    assert tuple(name.replace("x9", "stock") for name in named(shuffled)) == named(plain)


def test_probabilities_with_that_of_no_fault_add_up_to_one() -> None:
    found = answer(as_tables(chain(np.random.default_rng(7), slow="basket")))

    total = found.no_fault + sum(suspect.probability for suspect in found.suspects)
    assert total == pytest.approx(1.0)


def test_a_suspect_shows_its_columns_and_the_path_to_the_trouble() -> None:
    first = answer(as_tables(chain(np.random.default_rng(8), slow="stock"))).suspects[0]

    assert first.path == ("stock", "basket", "shop")
    assert first.columns[0] == "stock|latency"
    assert first.evidence[0].startswith("stock|latency went up from 0.")


def test_lost_scrapes_and_columns_without_readings_are_borne() -> None:
    each = chain(np.random.default_rng(9), busy="stock")
    holes = np.random.default_rng(10).random(each.normal.shape) < 0.3
    normal, abnormal = np.where(holes, np.nan, each.normal), each.abnormal.copy()
    normal[:, 0] = abnormal[:, 0] = np.nan
    abnormal[::3] = np.nan

    assert named(replace(each, normal=normal, abnormal=abnormal))[0] == "stock"


def test_a_column_without_normal_readings_makes_no_suspect() -> None:
    each = chain(np.random.default_rng(18), busy="stock")
    normal = each.normal.copy()
    normal[:, each.columns.index("shop|cpu")] = np.nan
    normal[3:, each.columns.index("store|cpu")] = np.nan

    assert named(replace(each, normal=normal))[0] == "stock"


def test_a_constant_column_that_moves_by_its_rounding_is_no_suspect() -> None:
    each = chain(np.random.default_rng(11), busy="stock")
    flat = np.full((len(each.normal), 1), 5.0)
    moved = np.full((len(each.abnormal), 1), 5.000001)
    table = replace(
        each,
        columns=(*each.columns, "shop|limit"),
        normal=np.hstack([each.normal, flat]),
        abnormal=np.hstack([each.abnormal, moved]),
    )

    assert named(table)[0] == "stock"


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (50.0, "store|requests went up from 5 to 50, more than 1,000 scales of a normal window."),
        (0.4, "1 of its 3 columns fell below 20% of the normal level."),
        ((np.nan,) * 9 + (5.0,), "1 of its 3 columns lost most of the readings."),
        (np.nan, "1 of its 3 columns gave no reading at all."),
    ],
    ids=["constant", "fallen", "few", "silent"],
)
def test_what_became_of_a_column_is_told(end: float | tuple[float, ...], said: str) -> None:
    each = chain(np.random.default_rng(11), busy="store")
    normal, abnormal = each.normal.copy(), each.abnormal.copy()
    column = each.columns.index("store|requests")
    normal[:, column], abnormal[:, column] = 5.0, end
    table = replace(each, normal=normal, abnormal=abnormal)
    store = next(each for each in answer(as_tables(table)).suspects if each.name == "store")

    assert said in store.evidence


def test_a_counter_is_judged_by_its_rate() -> None:
    each = chain(np.random.default_rng(12), busy="stock")
    whole = np.cumsum(1e4 + np.arange(210) % 7)[:, None]
    table = replace(
        each,
        columns=(*each.columns, "store|bytes"),
        normal=np.hstack([each.normal, whole[:200]]),
        abnormal=np.hstack([each.abnormal, whole[200:]]),
    )

    assert named(table)[0] == "stock"


def test_three_abnormal_rows_are_enough_for_a_plain_fault() -> None:
    each = chain(np.random.default_rng(13), slow="basket")
    short = replace(each, abnormal=each.abnormal[:3], abnormal_s=each.abnormal_s[:3])

    assert named(short)[0] == "basket"


@pytest.mark.parametrize("slow", CHAIN)
def test_a_watched_metric_of_an_unknown_name_is_passed_on_too(slow: str) -> None:
    each = chain(np.random.default_rng(21), slow=slow)
    columns = tuple(column.replace("latency", "gloom") for column in each.columns)

    assert named(replace(each, columns=columns, target="shop|gloom"))[0] == slow


def test_data_frames_and_a_graph_are_taken_as_they_are() -> None:
    nx, pd = pytest.importorskip("networkx"), pytest.importorskip("pandas")
    each = chain(np.random.default_rng(14), busy="store")
    before = pd.DataFrame(each.normal, index=each.normal_s, columns=each.columns)
    after = pd.DataFrame(each.abnormal, index=each.abnormal_s, columns=each.columns)

    assert diagnose(before, after, nx.DiGraph(each.links), each.target)[0] == "store"
    assert diagnose(before, after, None, each.target)[0] == "store"


def test_ten_thousand_columns_are_answered() -> None:
    rng = np.random.default_rng(15)
    count = 2500
    metrics = ("a", "b", "cpu", "latency")
    columns = tuple(f"s{k}|{metric}" for k in range(count) for metric in metrics)
    normal, abnormal = rng.normal(50, 1, (60, 4 * count)), rng.normal(50, 1, (5, 4 * count))
    abnormal[:, 4 * 1234 + 2] += 40
    links = tuple((f"s{k}", f"s{k // 2}") for k in range(1, count))
    each = Case(
        columns,
        normal,
        abnormal,
        np.arange(60.0),
        np.arange(60.0, 65.0),
        links,
        "s0|latency",
        (),
        "",
    )

    assert answer(as_tables(each)).suspects[0].name == "s1234"


def test_systems_of_held_out_families_are_told_far_better_than_by_guessing() -> None:
    rng = np.random.default_rng(16)
    scores = []
    for family in HELD_OUT:
        cases = [disguised(case(family, rng), rng) for _ in range(12)]
        quiet = [disguised(case(family, rng, fault=False), rng) for _ in range(12)]
        scores.append(scored(System(family.name, cases, quiet), named_of_tables))

    assert np.mean([score.top1 for score in scores]) >= 0.4
    assert np.mean([score.top3 for score in scores]) >= 0.5  # a guess of three reaches 0.2
    assert np.mean([score.quiet for score in scores]) >= 0.7


def named_of_tables(read: Tables) -> tuple[str, ...]:
    return answer(read).named


def test_recorded_faults_are_named_and_quiet_windows_left_alone(shared_data: Path) -> None:
    rng = np.random.default_rng(17)
    scores = []
    for name, *parts in recorded.systems(shared_data / "rca"):
        cases, quiet = ([disguised(each, rng) for each in part] for part in parts)
        scores.append(scored(System(name, cases, quiet), named_of_tables))

    assert np.mean([score.top1 for score in scores]) >= 0.60
    assert np.mean([score.top3 for score in scores]) >= 0.70
    assert np.mean([score.quiet for score in scores]) >= 0.80
