"""Readings support the graph that made them, contradict another, and show what is missing."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from core.errors import InputError
from core.types import Floats, Window
from rca.graph.dependence import dependence, discoveries, standard, two_sided
from rca.graph.falsify import Verdict, contradictions, judge
from rca.graph.learned import learn, proposed
from rca.graph.pooled import pool
from rca.graph.templates import LEARNED_STRENGTH, Join, Provenance, Template
from tests.graph_data import GPUS, TRUE, made, wander, windows

SEEDS = range(8)


def verdicts(data: Mapping[str, Window], *links: Template) -> list[Verdict]:
    return [tested.verdict for tested in judge(pool(data, None), links)]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_graph_that_made_the_readings_is_supported(seed: int) -> None:
    assert verdicts(made(seed), *TRUE) == [Verdict.SUPPORTED] * len(TRUE)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("link", TRUE, ids=lambda link: link.effect)
def test_a_link_with_the_wrong_sign_is_contradicted(seed: int, link: Template) -> None:
    assert verdicts(made(seed), replace(link, sign=-link.sign)) == [Verdict.WRONG_SIGN]


def test_a_link_that_the_readings_lack_is_contradicted() -> None:
    absent = Template("node_cpu_used_ratio", "gpu_temperature_celsius", Join.NODE, lag_s=60.0)
    turned = Template("gpu_temperature_celsius", "gpu_power_watts", Join.GPU, lag_s=30.0)

    found = [v for seed in SEEDS for v in verdicts(made(seed, length=960), absent, turned)]
    assert found.count(Verdict.ABSENT) >= 13  # of 16; each may look real by chance 1 time in 20
    tested = judge(pool(made(1, length=960), None), (absent, *TRUE))
    assert [one.link for one in contradictions(tested)] == [absent]


def test_a_link_that_acts_near_a_limit_only_is_not_contradicted_by_calm() -> None:
    seldom = Template("node_cpu_used_ratio", "gpu_power_watts", Join.NODE, strength=0.5)

    assert verdicts(made(1), seldom) == [Verdict.NOT_EXCITED]


def test_a_cause_that_moves_like_noise_teaches_nothing() -> None:
    rng = np.random.default_rng(3)
    noise, other = rng.normal(size=(12, 480)), wander(rng, 12, 480)
    data = windows({"gpu_power_watts": noise, "gpu_temperature_celsius": other})

    assert verdicts(data, TRUE[0]) == [Verdict.NOT_EXCITED]


@pytest.mark.parametrize("still", ["constant", "nan", "one step", "short"])
def test_readings_that_stand_still_decide_nothing(still: str) -> None:
    data = dict(made(2))
    value = data["gpu_power_watts"].value.copy()
    if still == "constant":
        value[:] = 500.0
    elif still == "nan":
        value[:] = np.nan
    elif still == "one step":
        value[:] = np.where(np.arange(value.shape[1]) < 200, 100.0, 600.0)
    data["gpu_power_watts"] = replace(data["gpu_power_watts"], value=value)
    if still == "short":
        data = {n: replace(w, time_s=w.time_s[:30], value=w.value[:, :30]) for n, w in data.items()}

    assert verdicts(data, TRUE[0])[0] in (Verdict.NOT_EXCITED, Verdict.UNDECIDED)


def test_gaps_and_spikes_leave_the_answer() -> None:
    rng = np.random.default_rng(4)
    data = {}
    for name, window in made(4).items():
        value = np.where(rng.random(window.value.shape) < 0.05, np.nan, window.value)
        value[rng.random(value.shape) < 0.002] *= 50
        data[name] = replace(window, value=value)

    assert verdicts(data, *TRUE) == [Verdict.SUPPORTED] * len(TRUE)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_missing_link_is_suggested_with_its_sign_lag_and_join(seed: int) -> None:
    found = learn(pool(made(seed, hidden=1.0), None), TRUE)

    (link,) = [one.link for one in found if one.link.effect == "gpu_temperature_celsius"]
    assert (link.cause, link.join, link.sign) == ("node_cpu_used_ratio", Join.NODE, 1)
    assert link.lag_least_s <= 30.0 <= link.lag_s
    assert (link.provenance, link.strength) == (Provenance.LEARNED, LEARNED_STRENGTH)
    assert link in proposed(found)


def test_where_nothing_is_missing_hardly_anything_is_suggested() -> None:
    suggested = [len(learn(pool(made(seed), None), TRUE)) for seed in range(20)]

    assert sum(suggested) <= 6  # 26 pairs each; 5 % of what is found may be chance


def test_without_any_known_link_the_chain_is_found_and_not_its_short_cuts() -> None:
    found = learn(pool(made(5, length=960), None), ())

    pairs = {frozenset((one.link.cause, one.link.effect)) for one in found}
    assert {frozenset((link.cause, link.effect)) for link in TRUE} <= pairs
    assert frozenset(("gpu_power_watts", "gpu_sm_clock_hz")) not in pairs


def test_what_moves_at_once_has_no_direction_unless_the_graph_gives_one() -> None:
    data = pool(made(6), None)
    through = Template("gpu_throttle_ratio", "gpu_power_watts", Join.GPU)
    between = Template("gpu_power_watts", "gpu_sm_clock_hz", Join.GPU)

    (open_one,) = [one for one in learn(data, TRUE[:3]) if "gpu_sm_clock_hz" in one.link.pair]
    tied = [one for one in learn(data, (through, between)) if one.found.lag == 0]

    assert not open_one.directed
    assert (tied[0].link.cause, tied[0].link.effect) == ("gpu_throttle_ratio", "gpu_sm_clock_hz")
    assert tied[0].directed


@pytest.mark.parametrize("seed", range(3))
def test_shared_shocks_are_no_dependence(seed: int) -> None:
    """Two kinds of readings that each move all together, with nothing between the kinds."""
    rng = np.random.default_rng(seed)

    def together() -> Floats:
        return standard(wander(rng, 1, 300) + 0.1 * wander(rng, 8, 300))

    p = [dependence(together(), together(), (0, 1, 2)).p for _ in range(100)]
    assert sum(one < 0.05 for one in p) <= 12  # Binomial(100, 0.05) is above it 1 time in 700


def test_students_tail_and_the_share_of_false_discoveries() -> None:
    assert two_sided(0.0, 9) == 1.0
    assert two_sided(2.262, 9) == pytest.approx(0.05, rel=0.01)
    assert discoveries([0.001, 0.02, 0.04, 0.9], 0.05) == [True, True, False, False]
    assert discoveries([], 0.05) == []


def test_an_uneven_or_other_grid_is_refused_in_words() -> None:
    data = dict(made(1))
    uneven = {n: replace(w, time_s=np.cumsum(1 + np.arange(480.0) % 2)) for n, w in data.items()}
    data["gpu_power_watts"] = replace(
        data["gpu_power_watts"], time_s=data["gpu_power_watts"].time_s + 1
    )

    with pytest.raises(InputError, match="uneven grid"):
        pool(uneven, None)
    with pytest.raises(InputError, match="other times"):
        pool(data, None)
    with pytest.raises(InputError, match="no readings"):
        pool({}, None)


def test_a_counter_counts_by_its_growth_and_a_restart_is_no_reading() -> None:
    value = np.array([[0.0, 2.0, 4.0, 1.0, 3.0, 9.0]])

    assert np.isnan(standard(value, counter=True)[0, [0, 3]]).all()
    assert len(GPUS) == 12
