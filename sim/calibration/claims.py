"""A published figure, and the row that holds a simulated one against it."""

import math
from dataclasses import dataclass

from core.figures import Row
from sim.calibration.statistics import Interval

LLAMA3 = "Llama 3, arXiv:2407.21783, table 5, by its counts"
RSC = "Kokolis et al., HPCA 2025, arXiv:2410.21680"
HBD = "InfiniteHBD-Trace (SIGCOMM'25), 400 servers over 349 days, measured from the trace"
YOUNG = "Young, CACM 1974: sqrt(2 w M)"
ACME = "AcmeTrace, cluster_summary.csv (NSDI'24)"
RSC_USE = "RSC-1 as reported by a survey of Kokolis et al., HPCA 2025"


@dataclass(frozen=True, slots=True)
class Claim:
    """What was published: the figure, its unit, who says so."""

    metric: str
    value: float
    unit: str
    source: str


def within(claim: Claim, found: Interval, *, n: int = 1, note: str = "") -> Row:
    """Return a row that is ok where the simulated interval holds the published figure."""
    return _row(
        claim,
        found,
        f"{claim.value:g} in the interval",
        ok=found.holds(claim.value),
        n=n,
        note=note,
    )


def near(claim: Claim, found: Interval, *, ratio: float, n: int = 1, note: str = "") -> Row:
    """Return a row that is ok where the figures differ by at most a share of the published one."""
    ok = abs(found.value / claim.value - 1) <= ratio
    return _row(claim, found, f"{claim.value:g} +- {ratio:.0%}", ok=ok, n=n, note=note)


def about(claim: Claim, found: Interval, *, ratio: float, n: int = 1, note: str = "") -> Row:
    """Return a row that is ok where ``within`` or ``near`` is; narrow intervals miss a little."""
    ok = found.holds(claim.value) or abs(found.value / claim.value - 1) <= ratio
    goal = f"{claim.value:g} in the interval, or +- {ratio:.0%}"
    return _row(claim, found, goal, ok=ok, n=n, note=note)


def between(
    claim: Claim, found: Interval, *, low: float, high: float, n: int = 1, note: str = ""
) -> Row:
    """Return a row that is ok where the simulated figure lies in an interval of the published."""
    goal = f"{claim.value:g}, {low:.4g} to {high:.4g}"
    return _row(claim, found, goal, ok=low <= found.value <= high, n=n, note=note)


def beyond(claim: Claim, found: Interval, *, n: int = 1, note: str = "") -> Row:
    """Return a row that is ok where the simulated figure is above the published one."""
    return _row(claim, found, f"> {claim.value:g}", ok=found.value > claim.value, n=n, note=note)


def below(claim: Claim, found: Interval, *, n: int = 1, note: str = "") -> Row:
    """Return a row that is ok where the simulated figure is below the published one."""
    return _row(claim, found, f"< {claim.value:g}", ok=found.value < claim.value, n=n, note=note)


def _row(claim: Claim, found: Interval, goal: str, *, ok: bool, n: int, note: str) -> Row:
    return Row(
        metric=claim.metric,
        value=_finite(found.value),
        unit=claim.unit,
        low=_finite(found.low),
        high=_finite(found.high),
        n=n,
        goal=goal,
        ok=bool(ok),
        note=f"{claim.source}; {note}" if note else claim.source,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
