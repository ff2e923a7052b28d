"""Warnings come once, in time, for what rises by itself; and every one is scored."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.evaluations.warning_metric import tally
from agent.evaluations.warning_sets import generated_pods, leaks
from core.target import Target
from core.types import Floats, Forecast, Severity
from core.units import Bad
from detectors.forecast.evidence import FEATURES, RISING, evidence, time_to_limit
from detectors.forecast.leading import Led, led, load
from detectors.forecast.raised import Outcomes
from detectors.forecast.risk import Risk, from_plain, shipped, threshold_of_costs, to_plain
from detectors.forecast.task import Crossings, FleetForecast
from detectors.forecast.warning import SUDDEN, Warnings, Watch, sudden, with_sudden

STEP_S = 60.0
NOW_S = 1_000_000.0
METRIC = "node_memory_used_ratio"
LIMIT = 0.9


def noise(series: int = 1, minutes: int = 720, *, size: float = 0.003) -> Floats:
    return np.random.default_rng(1).normal(0.0, size, (series, minutes))


def leak(minutes_left: float = 70.0, *, minutes: int = 720, lasts: float = 240.0) -> Floats:
    """Memory at 0.5 that leaks straight to 0.9, which it reaches in ``minutes_left``."""
    left = np.arange(minutes_left + minutes - 1, minutes_left - 1, -1.0)[None]
    return LIMIT - 0.4 * np.minimum(left / lasts, 1.0) + noise(minutes=minutes)


def nodes(count: int) -> tuple[Target, ...]:
    return tuple(Target(node=f"n{i}") for i in range(count))


def watch(
    value: Floats,
    *,
    targets: tuple[Target, ...] = (),
    at_s: float = NOW_S,
    limit: float = LIMIT,
    bad: Bad = Bad.HIGH,
) -> Watch:
    series = len(value)
    none = np.full(series, np.nan)
    flat = np.repeat(value[:, -1:], 4, axis=1)
    made = Forecast(
        METRIC,
        targets or nodes(series),
        at_s,
        at_s + 900.0 * np.arange(1.0, 5.0),
        flat,
        flat,
        flat,
        0.8,
        ("pool",) * series,
        none,
    )
    seen = FleetForecast(
        made,
        value[:, -1],
        np.isfinite(value).sum(axis=1),
        30,
        np.full(series, limit),
        bad,
        Crossings(none, none, none, none),
    )
    return Watch(seen, value, STEP_S)


def test_a_leak_is_warned_of_and_dated() -> None:
    (breach,) = Warnings().look(watch(leak(70.0)))

    assert breach.target == Target(node="n0")
    assert breach.probability > 0.5
    assert breach.earliest_s < NOW_S + 70 * 60.0 < breach.latest_s
    assert breach.expected_s <= NOW_S + breach.horizon_s


def fill(minutes_left: float, *, lasts: float, size: float = 0.001) -> Floats:
    """A volume at 0.3, filling straight to 0.95 in ``lasts`` minutes, that long before 0.9."""
    begun = lasts * 0.6 / 0.65 - minutes_left
    risen = np.maximum(np.arange(720) - 719 + begun, 0.0)[None]
    return np.asarray(0.3 + 0.65 * risen / lasts + noise(size=size))


@pytest.mark.parametrize("lasts", [40.0, 60.0, 90.0])
def test_a_fast_fill_after_a_quiet_day_is_warned_of_before_it_is_full(lasts: float) -> None:
    desk = Warnings()
    warned = [
        bool(desk.look(watch(fill(left, lasts=lasts), at_s=NOW_S - 60.0 * left)))
        for left in (15.0, 10.0, 5.0)
    ]

    assert any(warned)


def test_a_log_that_is_rotated_again_and_again_is_not_warned_of() -> None:
    teeth = 0.4 + 0.3 * np.mod(np.arange(719.0, -1.0, -1.0)[::-1] + 50.0, 60.0)[None] / 60.0

    assert not Warnings().look(watch(teeth + noise()))


def test_the_onset_of_a_rise_is_found() -> None:
    (row,) = evidence(fill(20.0, lasts=60.0), LIMIT, step_s=STEP_S, bad=Bad.HIGH)
    seen = dict(zip(FEATURES, row, strict=True))

    assert np.exp(seen["onset_age"]) == pytest.approx(60.0 * 0.6 / 0.65 - 20.0, rel=0.2)
    assert time_to_limit(row) == pytest.approx(1200.0, rel=0.1)


def test_the_less_time_is_left_the_less_sure_one_has_to_be() -> None:
    risk = shipped()
    left_s = np.array([600.0, 1800.0, 3600.0, 5400.0, 9000.0, np.inf])

    urgency = risk.urgency(np.zeros(6), left_s)

    assert (np.diff(urgency) <= 0).all()
    assert urgency[1] == risk.haste
    assert urgency[-1] == 0.0


def test_what_leads_a_metric_is_watched_against_where_it_stood_at_crossings() -> None:
    cause = leak(70.0)
    effect = 0.1 + noise()
    limit = np.array([LIMIT])

    assert not Warnings().look(watch(effect))
    assert Warnings().look(replace(watch(effect), led=Led(cause, limit)))
    assert not Warnings().look(replace(watch(effect), led=Led(cause, limit * np.nan)))


def test_a_cause_s_limit_is_where_it_stood_and_is_lent_to_those_that_never_crossed() -> None:
    cause = np.tile(np.linspace(0.0, 2.0, 600), (3, 1))
    effect = np.where(cause >= np.array([[1.0], [1.0], [np.inf]]), 5.0, 1.0)

    found = led(effect, cause, 2.0, step_s=STEP_S)

    assert found.limit == pytest.approx(np.full(3, 1.0), abs=0.03)
    assert np.isnan(led(effect[2:], cause[2:], 2.0, step_s=STEP_S).limit).all()


def test_a_counter_that_begins_anew_and_no_servers_give_no_load() -> None:
    total = np.array([[0.0, 600.0, 0.0, 600.0]])
    servers = np.array([[2.0, 2.0, 2.0, 0.0]])

    assert load(total, servers, 60.0)[0, 1] == 5.0
    assert np.isnan(load(total, servers, 60.0)[0, [0, 2, 3]]).all()


def test_what_is_level_or_falls_is_not_warned_of() -> None:
    falling = np.linspace(0.85, 0.5, 720)[None] + noise()

    assert not Warnings(budget=0.5).look(watch(0.6 + noise()))
    assert not Warnings(budget=0.5).look(watch(falling))


def test_a_fall_to_a_limit_below_is_a_leak_upside_down() -> None:
    up = Warnings().look(watch(leak()))
    down = Warnings().look(watch(-leak(), limit=-LIMIT, bad=Bad.LOW))

    assert [one.probability for one in up] == [one.probability for one in down]


@pytest.mark.parametrize("scale", [1e-6, 80e9])
def test_the_unit_of_a_metric_does_not_matter(scale: float) -> None:
    (plain,) = Warnings().look(watch(leak()))
    (scaled,) = Warnings().look(watch(scale * leak(), limit=scale * LIMIT))

    assert scaled.probability == pytest.approx(plain.probability)


def test_without_a_limit_or_readings_or_a_bad_direction_nothing_is_warned_of() -> None:
    gone, short = leak(), leak()
    gone[:, -1] = np.nan
    short[:, :-20] = np.nan
    desk = Warnings(budget=0.5)

    assert not desk.look(watch(leak(), limit=np.nan))
    assert not desk.look(watch(leak(), bad=Bad.NEITHER))
    assert not desk.look(watch(gone))
    assert not desk.look(watch(short))


def test_what_is_beyond_its_limit_is_no_forecast() -> None:
    assert not Warnings(budget=0.5).look(watch(leak() + 0.4))


def test_a_warning_is_not_repeated_while_it_holds() -> None:
    desk = Warnings()
    first = desk.look(watch(leak(70.0)))
    again = desk.look(watch(leak(55.0), at_s=NOW_S + 900.0))

    assert again == first


def test_a_warning_that_was_wrong_is_taken_back_and_still_counted() -> None:
    desk = Warnings()
    desk.look(watch(leak(70.0)))
    calm = 0.6 + noise()

    assert not desk.look(watch(calm, at_s=NOW_S + 900.0))
    assert not desk.look(watch(leak(60.0), at_s=NOW_S + 1800.0))
    assert scored(desk, calm, NOW_S + 7200.0) == Outcomes(false=1)


def test_gpus_of_a_node_that_rise_together_are_one_warning() -> None:
    same = tuple(Target(node="n0", gpu=f"GPU-{i}") for i in range(8))
    volumes = tuple(Target(node="n0", volume=f"/disk{i}") for i in range(8))
    rising = np.repeat(leak(), 8, axis=0)

    assert len(Warnings().look(watch(rising, targets=same))) == 1
    assert len(Warnings().look(watch(rising, targets=volumes))) == 8


def scored(desk: Warnings, value: Floats, until_s: float) -> Outcomes:
    time_s = until_s - STEP_S * np.arange(value.shape[1] - 1.0, -1.0, -1.0)
    return desk.score(METRIC, nodes(len(value)), time_s, value, Bad.HIGH)


@pytest.mark.parametrize(
    ("minutes", "outcome"),
    [(70, Outcomes(right=1)), (10, Outcomes(late=1)), (130, Outcomes(false=1))],
)
def test_a_warning_is_right_late_or_false_by_when_the_limit_was_crossed(
    minutes: int, outcome: Outcomes
) -> None:
    desk = Warnings()
    desk.look(watch(leak(70.0)))
    after = np.where(np.arange(1, 141) >= minutes, 0.95, 0.8)[None]

    assert scored(desk, after, NOW_S + 140 * 60.0) == outcome
    assert desk.outcomes == outcome
    assert not desk.standing


def test_a_warning_whose_time_is_not_over_waits() -> None:
    desk = Warnings()
    desk.look(watch(leak(70.0)))

    assert scored(desk, np.full((1, 30), 0.8), NOW_S + 1800.0) == Outcomes()
    assert len(desk.standing) == 1


def test_a_series_that_is_gone_when_its_time_is_over_counts_as_nothing() -> None:
    desk = Warnings()
    desk.look(watch(leak(70.0)))

    assert scored(desk, np.full((1, 140), np.nan), NOW_S + 8000.0) == Outcomes()
    assert not desk.standing


def test_another_process_goes_on_with_the_same_warnings() -> None:
    desk, other = Warnings(), Warnings()
    desk.look(watch(leak(70.0)))
    desk.keep_budget(Outcomes(false=3), series_days=1.0)
    state = desk.state()

    other.restore(state)

    assert other.threshold == desk.threshold
    assert str(other.standing) == str(desk.standing)
    assert all(array.dtype != object for array in state.values())


def test_a_state_of_another_shape_is_refused() -> None:
    state = {**Warnings().state(), "numbers": np.zeros((2, 3))}

    with pytest.raises(ValueError, match="another version"):
        Warnings().restore(state)


def test_a_smaller_budget_warns_of_less() -> None:
    limits = [shipped().threshold_of(budget) for budget in (0.005, 0.02, 0.07, 0.1, 0.5, 2.0)]

    assert limits == sorted(limits, reverse=True)


def test_the_dearer_a_miss_the_sooner_it_is_warned_of() -> None:
    dear = Warnings(costs=(1.0, 50.0))

    assert dear.threshold < Warnings(costs=(1.0, 2.0)).threshold < threshold_of_costs(1.0, 1.0)
    with pytest.raises(ValueError, match="above 0"):
        threshold_of_costs(0.0, 1.0)


def test_false_alarms_beyond_the_budget_raise_the_threshold_and_their_lack_lowers_it() -> None:
    noisy, quiet = Warnings(budget=0.1), Warnings(budget=0.1)
    before = noisy.threshold

    noisy.keep_budget(Outcomes(false=12), series_days=20.0)
    quiet.keep_budget(Outcomes(), series_days=20.0)

    assert quiet.threshold < before < noisy.threshold


def test_what_is_shipped_reads_as_it_was_written() -> None:
    again: Risk = from_plain(to_plain(shipped()))
    rows = np.random.default_rng(2).normal(size=(50, len(FEATURES)))

    assert np.array_equal(again.trees.score(rows), shipped().trees.score(rows))
    with pytest.raises(ValueError, match="other features"):
        from_plain({**to_plain(shipped()), "features": ["level"]})


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), feature=st.sampled_from(np.flatnonzero(RISING).tolist()))
def test_a_steeper_or_straighter_rise_never_lowers_the_risk(seed: int, feature: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(20, len(FEATURES)))
    more = rows.copy()
    more[:, feature] += 1.0

    assert (shipped().trees.score(more) >= shipped().trees.score(rows)).all()


def test_a_line_reaches_its_limit_when_arithmetic_says_so() -> None:
    straight = np.linspace(0.0, 0.5, 241)[None]

    (row,) = evidence(straight, 1.0, step_s=STEP_S, bad=Bad.HIGH)
    seen = dict(zip(FEATURES, row, strict=True))

    level = float(straight[0, -3])
    assert seen["reach_240min"] == pytest.approx(0.25 / (1.0 - level), rel=0.01)
    assert seen["straight_60min"] == pytest.approx(1.0)


def test_a_gap_changes_little() -> None:
    whole = leak(70.0)
    holes = whole.copy()
    holes[:, np.random.default_rng(0).choice(715, 36, replace=False)] = np.nan

    (sure,), (less,) = Warnings().look(watch(whole)), Warnings().look(watch(holes))

    assert less.probability == pytest.approx(sure.probability, abs=0.1)


def test_steps_are_told_from_ramps_series_by_series() -> None:
    minute = np.arange(600)
    step = np.where((minute > 300) & (minute < 400), 1.0, 0.2)
    ramp = np.clip(0.2 + (minute - 200) * 0.004, 0.2, 1.0)
    value = np.stack([step, ramp, np.full(600, 0.2)])

    found = sudden(value, LIMIT, step_s=STEP_S, bad=Bad.HIGH)
    noted = with_sudden(watch(value))

    assert found.tolist() == [True, False, False]
    assert noted.notes == {0: (SUDDEN,)}


def test_a_near_and_sure_crossing_is_urgent() -> None:
    (breach,) = Warnings().look(watch(leak(12.0)))

    assert (breach.severity is Severity.CRITICAL) == (
        breach.probability >= 0.9 and breach.expected_s - NOW_S <= 1800.0
    )


def test_a_warning_counts_once_in_two_hours() -> None:
    watched = leaks(generated_pods(), seeds=1)
    always = np.full((len(watched.value), len(watched.at)), 1.0)

    seen = tally(watched, always, 0.0)

    assert seen.false.max() <= watched.days * 12
    assert seen.recall <= 1.0
    assert tally(watched, always, 2.0).false.sum() == 0
