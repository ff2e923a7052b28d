"""What every detector does, whichever it is; ``tests/conformance.py`` finds them all."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from core.types import Window
from detectors.detect import DetectSettings, detectors, plausible
from detectors.detector import Detector, Learning, Symptoms
from tests.conformance import Scene, bytes_of, found, look, watch
from tests.fleet import NOW_S, STEP_S

EVERY = found()
Make = Callable[[], Detector]
every_detector = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY.keys())
LEARNERS = {name: make for name, make in EVERY.items() if hasattr(make(), "restore")}
every_learner = pytest.mark.parametrize("make", LEARNERS.values(), ids=LEARNERS.keys())

CALM = Scene(noise=0.0)
FAULTY = Scene(fault_s=NOW_S)
DAY_S = 86_400.0
# What a test of size looks at: a metric of each kind of target, so that it takes a second.
FEW = (
    "gpu_temperature_celsius",
    "gpu_xid_code",
    "gpu_ecc_corrected_total",
    "node_memory_used_ratio",
    "rank_step_time_s",
    "job_steps_total",
)


def said(symptoms: Symptoms) -> list[str]:
    """In an order that does not depend on that of the targets."""
    return sorted(map(repr, (*symptoms.anomalies, *symptoms.events, *symptoms.breaches)))


def learner(make: Make) -> Learning:
    return cast("Learning", make())


def test_those_that_run_in_the_product_are_all_found() -> None:
    names = {type(each).__name__ for each in detectors(DetectSettings()).values()}

    assert {name.lstrip("_") for name in names} <= set(EVERY)


@every_detector
def test_without_readings_no_series_is_anomalous(make: Make) -> None:
    windows = {
        name: replace(window, value=np.full_like(window.value, np.nan))
        for name, window in CALM.windows(NOW_S).items()
    }

    seen = make().look(windows, topology=CALM.topology(), now_s=NOW_S)

    assert seen.anomalies == ()


@every_detector
@pytest.mark.parametrize("windows", [{}, {"gpu_temperature_celsius"}], ids=["none", "empty"])
def test_without_series_nothing_is_said(make: Make, windows: set[str]) -> None:
    empty = {name: Window(name, (), np.empty(0), np.empty((0, 0))) for name in windows}

    assert said(make().look(empty, topology=None, now_s=NOW_S)) == []


@every_detector
def test_constant_series_are_calm(make: Make) -> None:
    assert [said(each) for each in watch(make(), CALM, NOW_S, 20)] == [[]] * 20


@every_detector
def test_one_target_of_each_kind_is_enough(make: Make) -> None:
    alone = {
        name: Window(name, window.targets[:1], window.time_s, window.value[:1])
        for name, window in FAULTY.windows(NOW_S + 60).items()
    }

    seen = make().look(plausible(alone), topology=None, now_s=NOW_S + 60)

    assert {a.target for a in seen.anomalies} <= {w.targets[0] for w in alone.values()}


@every_detector
def test_ten_thousand_targets_are_looked_at(make: Make) -> None:
    large = Scene(nodes=2500, noise=0.0, metrics=FEW)

    assert said(look(make(), large, NOW_S)) == []


@every_detector
@pytest.mark.parametrize("wild", [np.inf, -np.inf, 1e308, -1e308, -1.0, 1e-320])
def test_implausible_readings_are_survived(make: Make, wild: float) -> None:
    windows = {n: replace(w, value=w.value.copy()) for n, w in CALM.windows(NOW_S).items()}
    for window in windows.values():
        window.value[0, -3:] = wild

    seen = make().look(plausible(windows), topology=CALM.topology(), now_s=NOW_S)

    assert all(np.isfinite(a.value) and 0 <= a.score <= 1 for a in seen.anomalies)


@every_detector
def test_a_clock_that_is_put_back_is_followed(make: Make) -> None:
    detector = make()
    watch(detector, FAULTY, NOW_S - 60, 20)
    newest_s = NOW_S - 60 + 19 * STEP_S

    for setback_s in (30.0, 3600.0, 2 * DAY_S):
        now_s = NOW_S - setback_s
        seen = watch(detector, replace(FAULTY, fault_s=now_s + 60), now_s, 10)[-1]
        assert all(a.start_s <= a.end_s <= newest_s for a in seen.anomalies)
        assert all(e.time_s <= newest_s for e in seen.events)


@every_detector
def test_the_same_readings_twice_give_the_same(make: Make) -> None:
    once, again = (watch(make(), FAULTY, NOW_S - 120, 20) for _ in range(2))

    assert [said(each) for each in once] == [said(each) for each in again]


@every_detector
def test_the_order_of_targets_does_not_matter(make: Make) -> None:
    ordered, mixed = make(), make()
    for k in range(20):
        now_s = NOW_S - 120 + STEP_S * k
        windows = plausible(FAULTY.windows(now_s))
        turned = {
            name: Window(name, w.targets[::-1], w.time_s, w.value[::-1])
            for name, w in reversed(list(windows.items()))
        }
        place = FAULTY.topology()

        assert said(ordered.look(windows, topology=place, now_s=now_s)) == said(
            mixed.look(turned, topology=place, now_s=now_s)
        )


@every_detector
def test_windows_are_left_as_they_were(make: Make) -> None:
    windows = plausible(FAULTY.windows(NOW_S + 60))
    before = {name: window.value.copy() for name, window in windows.items()}

    make().look(windows, topology=FAULTY.topology(), now_s=NOW_S + 60)

    assert all(np.array_equal(before[n], w.value, equal_nan=True) for n, w in windows.items())


@every_learner
def test_a_memory_put_away_and_taken_up_goes_on_as_before(make: Make) -> None:
    kept = learner(make)
    watch(kept, FAULTY, NOW_S - 120, 12)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **kept.state())
    file.seek(0)
    taken = learner(make)
    with np.load(file, allow_pickle=False) as arrays:
        taken.restore(dict(arrays))

    now_s = NOW_S - 120 + 12 * STEP_S
    after, again = (watch(each, FAULTY, now_s, 12) for each in (kept, taken))

    assert [said(each) for each in after] == [said(each) for each in again]
    assert contents(kept) == contents(taken)


@every_learner
def test_a_reading_is_learned_once_however_often_it_is_seen(make: Make) -> None:
    once, twice = learner(make), learner(make)
    for k in range(20):
        now_s = NOW_S - 120 + STEP_S * k
        first = look(twice, FAULTY, now_s)
        assert said(look(once, FAULTY, now_s)) == said(first)
        again = look(twice, FAULTY, now_s)
        assert {(a.target, a.metric) for a in again.anomalies} == {
            (a.target, a.metric) for a in first.anomalies
        }


@every_learner
def test_what_is_gone_is_forgotten(make: Make) -> None:
    detector = learner(make)
    sizes = []
    for day in range(12):
        now_s = NOW_S + 2 * DAY_S * day
        detector.look(_renamed(day, now_s), topology=None, now_s=now_s)
        sizes.append(bytes_of(detector.state()))

    assert max(sizes[6:]) <= 1.2 * max(sizes[:6])


@every_learner
def test_a_memory_that_does_not_fit_is_refused(make: Make) -> None:
    detector = learner(make)
    watch(detector, FAULTY, NOW_S - 60, 8)
    state = dict(detector.state())
    state.pop(sorted(state)[0])

    with pytest.raises(ValueError, match=r"\S"):
        learner(make).restore(state)


def contents(detector: Learning) -> dict[str, list[object]]:
    return {
        name: [array.dtype.str, repr(array.tolist())] for name, array in detector.state().items()
    }


def _renamed(day: int, now_s: float) -> dict[str, Window]:
    """Every node, job and rank is another than on other days."""
    return {
        name: replace(
            window,
            targets=tuple(
                replace(
                    t,
                    **{
                        part: f"{getattr(t, part)}-{day:03d}"
                        for part in ("node", "gpu", "job", "volume")
                        if getattr(t, part)
                    },
                )
                for t in window.targets
            ),
        )
        for name, window in plausible(FAULTY.windows(now_s)).items()
    }
