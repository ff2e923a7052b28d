"""Whether warnings come in time where a rise is fast, and whether their probability comes true."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from agent.evaluations.recorded import gentd26
from agent.evaluations.warning_learning import features_of, log_odds, minutes_left
from agent.evaluations.warning_methods import OURS, quick_scores
from agent.evaluations.warning_metric import BUDGETS, HOLDS_MIN, Tally, tally, thresholds
from agent.evaluations.warning_ramps import FAST_MIN, SHAPES, Ramps, ramps
from agent.evaluations.warning_sets import Watched
from core.figures import Row
from detectors.forecast.risk import probability, shipped

SEEDS, QUICK_SEEDS = 6, 2
COMPARED = ("static", "standard_rule", "predict_linear_1h", OURS)
# Any warning before the limit is reached counts: a fast rise leaves no half hour.
ANY_LEAD_MIN = 0
# Decisions less likely than this are no warnings at any budget.
LIKELY = 0.25
BINS = 8


def ramp_rows(recorded: Path, *, quick: bool) -> Iterator[Row]:
    """Yield recall, false alarms and lead on rises of many shapes (ramps), and on fast ones.

    On pods, and with draws, that nothing was learned from; the other methods' thresholds are those
    of the development pods' rises, ours are as shipped.
    """
    memory = gentd26(recorded, "node_memory_used_ratio")
    seeds = QUICK_SEEDS if quick else SEEDS
    dev, held = (ramps(part, seeds=seeds) for part in (memory.dev(), memory.hold_out()))
    dev_score, score = quick_scores(dev.watched), quick_scores(held.watched)
    fast = np.isin(held.shape, list(SHAPES)) & (held.lasts_min < FAST_MIN)
    for method in COMPARED:
        levels = {budget: shipped().threshold_of(budget) for budget in BUDGETS}
        if method != OURS:
            levels = thresholds(dev.watched, dev_score[method], lead_min=ANY_LEAD_MIN)
        for name, rows in (("ramps", np.ones(len(fast), bool)), ("fast", fast)):
            part: Ramps = held.rows(rows)
            for budget in BUDGETS:
                own = score[method][rows]
                seen = tally(part.watched, own, levels[budget], lead_min=ANY_LEAD_MIN)
                yield from _rows(seen, budget, f'{{method="{method}",set="{name}"}}')


def _rows(seen: Tally, budget: float, label: str) -> Iterator[Row]:
    low, high = seen.interval()
    note = "n: events; any warning before the limit counts"
    yield Row(
        f"recall_at_{budget:g}{label}",
        seen.recall,
        "ratio",
        low=low,
        high=high,
        n=int(seen.events.sum()),
        note=note,
    )
    if budget != BUDGETS[1]:
        return
    yield Row(
        f"realised_fa_per_series_day_at_{budget:g}{label}",
        seen.false_per_series_day,
        "1/d",
        n=int(seen.false.sum()),
        note="n: false alarms; a quarter of these series only look like it",
    )
    if seen.lead_min.size:
        yield Row(f"median_lead_s{label}", seen.median_lead_s, "s", n=len(seen.lead_min))


def calibration_rows(sets: Sequence[Watched]) -> Iterator[Row]:
    """Yield how far probabilities of at least 0.25 are from how often the limit was crossed.

    The mean over decisions of the difference between both in eighths of the decisions in order of
    probability (expected calibration error, Naeini et al. 2015), on series not learned from.
    """
    for watched in sets:
        held = watched.rows(~watched.dev)
        chance = probability(log_odds(shipped().trees, features_of(held)))
        use = ~held.beyond & (chance >= LIKELY)
        came = (minutes_left(held) <= HOLDS_MIN)[use]
        order = np.argsort(chance[use])
        parts = [part for part in np.array_split(order, BINS) if part.size]
        said = [float(chance[use][part].mean()) for part in parts]
        true = [float(came[part].mean()) for part in parts]
        error = sum(len(p) * abs(s - t) for p, s, t in zip(parts, said, true, strict=True))
        table = ", ".join(f"{s:.2f}: {t:.2f}" for s, t in zip(said, true, strict=True))
        yield Row(
            f'calibration_error{{set="{watched.name}"}}',
            error / max(1, len(order)),
            "ratio",
            n=len(order),
            note=f"n: decisions; said: came true {table}",
        )
