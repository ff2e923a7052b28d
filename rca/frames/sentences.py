"""The evidence for and against one component, in words."""

from collections.abc import Iterator

import numpy as np

from rca.frames.evidence import NAMES, Evidence, worst_cause
from rca.frames.inputs import Tables
from rca.frames.oddness import CLEAR, COLLAPSED, GONE, Oddness

MOST_NAMED = 3  # columns
LEAST_SHARE = 0.05  # of the trouble; less is not worth a sentence
# Of a constant column a scale is next to nothing: beyond this its count says no more.
MOST_SCALES = 1000.0


def sentences(read: Tables, odd: Oddness, found: Evidence, at: int) -> tuple[str, ...]:
    """Return what speaks for and against a component, for the eyes of whoever looks at it."""
    said = (*_columns(read, odd, at), *_fallen(read, odd, at), *_graph(read, found, at))
    return said or ("No reading of it is clearly odd.",)


def size(z: float) -> str:
    """Return how many scales a distance is, in words where the number says no more.

    >>> size(-203.64), size(2.2e12)
    ('203.6', 'more than 1,000')
    """
    return f"{abs(z):.1f}" if abs(z) <= MOST_SCALES else f"more than {MOST_SCALES:,.0f}"


def _columns(read: Tables, odd: Oddness, at: int) -> Iterator[str]:
    own = np.flatnonzero((read.component == at) & (np.abs(odd.z) > CLEAR))
    for k in own[np.argsort(-np.abs(odd.z[own]), kind="stable")][:MOST_NAMED]:
        before, after = np.nanmedian(read.normal[k]), np.nanmean(read.abnormal[k])
        yield (
            f"{read.columns[k]} went {'up' if odd.z[k] > 0 else 'down'} from {before:.4g} to "
            f"{after:.4g}, {size(odd.z[k])} scales of a normal window."
        )


def _fallen(read: Tables, odd: Oddness, at: int) -> Iterator[str]:
    """Tell apart columns without readings, those with few of them, and those near nothing."""
    own = read.component == at
    silent = np.isnan(read.abnormal).all(axis=1)
    missing = np.isnan(odd.abnormal).mean(axis=1) - np.isnan(odd.normal).mean(axis=1)
    few = ~silent & (missing > GONE)
    for chosen, said in (
        (silent, "gave no reading at all"),
        (few, "lost most of the readings"),
        (~silent & ~few, f"fell below {COLLAPSED:.0%} of the normal level"),
    ):
        if count := int((own & odd.fallen & chosen).sum()):
            total = int(own.sum())
            yield f"{f'{count} of its {total} columns' if total > 1 else 'Its column'} {said}."


def _graph(read: Tables, found: Evidence, at: int) -> Iterator[str]:
    if not read.has_graph:
        return
    row = dict(zip(NAMES, found.table[at], strict=True))
    if row["explains"] > LEAST_SHARE:
        yield f"{row['explains']:.0%} of all that is in trouble lies downstream of it."
    cause = worst_cause(read.links, found.trouble)[at]
    if cause > CLEAR and found.trouble[at] > CLEAR:
        yield f"Against it: one of its own causes is in trouble too ({size(cause)} scales)."
    if row["spared"] >= 1.0:
        count = round(row["spared"])
        which = "1 component" if count == 1 else f"{count} components"
        yield f"Against it: {which} downstream of it {'is' if count == 1 else 'are'} well."
