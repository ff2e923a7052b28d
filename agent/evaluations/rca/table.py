"""What marks come to: shares with intervals, calibration, and the table for each class."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from agent.evaluations.rca.judging import OURS, Judged
from agent.evaluations.rca.score import Mark
from core.figures import Row, at_least, at_most
from core.types import Floats, Ints

# Named in the issue.
TOP1, TOP3, QUIET, CALIBRATION = 0.90, 0.97, 0.95, 0.05
# Expected calibration error as Guo et al. (ICML 2017) have it, in ten bins of equal width.
BINS = 10
_DRAWS, _SEED = 1000, 1
_INTERVAL = "interval: 95 %, cases drawn again with replacement"


def headline(cases: Sequence[Judged], gone: int) -> Iterator[Row]:
    """Yield the figures that have a goal, each with what the other methods reach beside it.

    gone: faults that no incident was opened for; they are in no share
    """
    broken, quiet = [c for c in cases if not c.quiet], [c for c in cases if c.quiet]
    note = f"{_INTERVAL}; {gone} more faults opened no incident"
    yield _goal(at_least, "top1", TOP1, _of(broken, OURS, _first), note)
    yield from _beside("top1", broken, _first)
    yield _goal(at_least, "top3", TOP3, _of(broken, OURS, _three), note)
    yield from _beside("top3", broken, _three)
    yield _goal(at_least, "quiet", QUIET, _of(quiet, OURS, _quiet), _INTERVAL)
    yield from _beside("quiet", quiet, _quiet)
    pairs = _pairs(broken)
    low, high = _interval(pairs, calibration_error)
    yield at_most(
        "calibration_error",
        calibration_error(pairs),
        CALIBRATION,
        unit="ratio",
        low=low,
        high=high,
        n=len(pairs),
        note=f"of the first cause's probability, ten bins; {_INTERVAL}",
    )
    for method in _others(broken):
        note = "it gives scores and no probability"
        yield Row(f'calibration_error{{method="{method}"}}', None, "ratio", n=0, note=note)


def further(cases: Sequence[Judged]) -> Iterator[Row]:
    """Yield what has no goal: places alone, the very GPU, how long faults last, every family."""
    broken = [case for case in cases if not case.quiet]
    for metric, of in (("place1", _placed), ("place3", _placed_three)):
        yield _row(f"{metric}{_label(method=OURS)}", _of(broken, OURS, of), "the class left aside")
        yield from _beside(metric, broken, of)
    note = "a fault that only shows as one of its job counts with its own place and class alone"
    yield _row("top1_strict", _of(broken, OURS, _strict), note)
    yield _row("same_gpu", _known(broken, _gpu), "of faults of one GPU")
    yield _row("persistent_or_transient", _known(broken, _lasting), "of causes that are right")
    yield _row("calibration_error_in_all", _off(cases), "quiet windows count as wrong causes")
    for family in sorted({case.family for case in cases}):
        own = [case for case in broken if case.family == family]
        still = [case for case in cases if case.family == family and case.quiet]
        for metric, of, some in (
            ("top1", _first, own),
            ("top3", _three, own),
            ("quiet", _quiet, still),
        ):
            yield _row(f"{metric}{_label(family=family)}", _of(some, OURS, of), "")
    yield from _reliability(_pairs(broken))
    yield from _times(cases)


def by_class(cases: Sequence[Judged], gone: Mapping[str, int]) -> Iterator[Row]:
    """Yield the table for each class of fault beside the other methods, and each simulated fault.

    gone: how many of each simulated fault opened no incident
    """
    broken = [case for case in cases if not case.quiet]
    for kind in sorted({case.kinds[0] for case in broken}):
        own = [case for case in broken if case.kinds[0] == kind]
        for metric, of in (("top1", _first), ("top3", _three)):
            yield _row(f"{metric}{_label(kind=kind)}", _of(own, OURS, of), _said_beside(own, of))
    for about in sorted({case.about for case in broken} | set(gone)):
        own = [case for case in broken if case.about == about]
        three = _of(own, OURS, _three)
        note = f"top3 {_mean(three):.2f}; " if len(three) else ""
        note += f"{gone.get(about, 0)} more opened no incident"
        yield _row(f"top1{_label(fault=about)}", _of(own, OURS, _first), note)
    for about in sorted({_window(case) for case in cases if case.quiet}):
        own = [case for case in cases if case.quiet and _window(case) == about]
        yield _row(f"quiet{_label(window=about)}", _of(own, OURS, _quiet), "")


def _said_beside(cases: Sequence[Judged], of: Callable[[Mark], float]) -> str:
    """Return what the other methods reach, in a line."""
    return ", ".join(f"{name} {_mean(_of(cases, name, of)):.2f}" for name in _others(cases))


def _window(case: Judged) -> str:
    return case.about.rstrip("_0123456789")


def calibration_error(pairs: Floats) -> float:
    """Return how far probabilities are from shares of hits, in bins, weighted by their cases.

    pairs: (N, 2) probability, and 1 for a hit and 0 for none
    """
    if not len(pairs):
        return float("nan")
    place = _bins(pairs)
    size = np.bincount(place, minlength=BINS)
    off = np.bincount(place, weights=pairs[:, 0] - pairs[:, 1], minlength=BINS)
    return float(np.abs(off[size > 0]).sum() / len(pairs))


def _bins(pairs: Floats) -> Ints:
    return np.minimum((pairs[:, 0] * BINS).astype(np.int64), BINS - 1)


def _reliability(pairs: Floats) -> Iterator[Row]:
    """Yield the reliability diagram: the share of hits in each bin that has cases."""
    place = _bins(pairs)
    for number in range(BINS):
        own = pairs[place == number]
        if len(own):
            label = _label(probability=f"{number / BINS:.1f}-{(number + 1) / BINS:.1f}")
            note = f"mean probability {own[:, 0].mean():.3f}"
            yield Row(f"hits{label}", float(own[:, 1].mean()), "ratio", n=len(own), note=note)


def _times(cases: Sequence[Judged]) -> Iterator[Row]:
    run_s = np.array([case.run_s for case in cases])
    series = int(np.median([case.series for case in cases])) if cases else 0
    if len(run_s):
        low, high = np.quantile(run_s, [0.05, 0.95])
        yield Row(
            "diagnosis_s",
            float(np.median(run_s)),
            "s",
            low=float(low),
            high=float(high),
            n=len(run_s),
            note=f"processor time, median and 90 % of the cases; {series} series in the median",
        )


def _pairs(cases: Sequence[Judged]) -> Floats:
    """(N, 2) probability of the first cause and whether it is right; cases without one left out."""
    marks = [case.marks[OURS] for case in cases]
    found = [(m.probability, float(m.hit)) for m in marks if m.hit is not None]
    return np.array(found, dtype=np.float64).reshape(-1, 2)


def _of(cases: Sequence[Judged], method: str, of: Callable[[Mark], float]) -> Floats:
    return np.array([of(case.marks[method]) for case in cases if method in case.marks])


def _known(cases: Sequence[Judged], of: Callable[[Mark], bool | None]) -> Floats:
    found = [of(case.marks[OURS]) for case in cases]
    return np.array([float(each) for each in found if each is not None])


def _off(cases: Sequence[Judged]) -> Floats:
    return np.array([calibration_error(_pairs(cases))])


def _others(cases: Sequence[Judged]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for case in cases for name in case.marks if name != OURS))


def _beside(metric: str, cases: Sequence[Judged], of: Callable[[Mark], float]) -> Iterator[Row]:
    for method in _others(cases):
        yield _row(f"{metric}{_label(method=method)}", _of(cases, method, of), "")


def _goal(make: Callable[..., Row], metric: str, goal: float, each: Floats, note: str) -> Row:
    low, high = _interval(each, _mean)
    mean = _mean(each)
    return make(metric, mean, goal, unit="ratio", low=low, high=high, n=len(each), note=note)


def _row(metric: str, each: Floats, note: str) -> Row:
    if not len(each):
        return Row(metric, None, "ratio", n=0, note=note)
    low, high = _interval(each, _mean)
    return Row(metric, _mean(each), "ratio", low=low, high=high, n=len(each), note=note)


def _mean(each: Floats) -> float:
    return float(each.mean()) if len(each) else float("nan")


def _interval(
    each: Floats, of: Callable[[Floats], float]
) -> tuple[float, float] | tuple[None, None]:
    """Return the 95 % interval of a figure over cases drawn again; None with fewer than two."""
    if len(each) < 2:
        return None, None
    random = np.random.default_rng(_SEED)
    drawn = [of(each[random.integers(len(each), size=len(each))]) for _ in range(_DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _label(**parts: str) -> str:
    return "{" + ",".join(f'{key}="{value}"' for key, value in parts.items()) + "}"


def _first(mark: Mark) -> float:
    return float(mark.first)


def _strict(mark: Mark) -> float:
    return float(mark.strict)


def _three(mark: Mark) -> float:
    return mark.among_three


def _quiet(mark: Mark) -> float:
    return float(mark.quiet)


def _placed(mark: Mark) -> float:
    return float(mark.placed)


def _placed_three(mark: Mark) -> float:
    return mark.placed_three


def _gpu(mark: Mark) -> bool | None:
    return mark.gpu


def _lasting(mark: Mark) -> bool | None:
    return mark.persistent
