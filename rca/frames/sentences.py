"""The evidence for and against one component, in words."""

from collections.abc import Iterator

import numpy as np

from rca.frames.evidence import NAMES, Evidence, worst_cause
from rca.frames.inputs import Tables
from rca.frames.oddness import CLEAR, Oddness

MOST_NAMED = 3  # columns
LEAST_SHARE = 0.05  # of the trouble; less is not worth a sentence


def sentences(read: Tables, odd: Oddness, found: Evidence, at: int) -> tuple[str, ...]:
    """Return what speaks for and against a component, for the eyes of whoever looks at it."""
    said = (*_columns(read, odd, at), *_fallen(read, odd, at), *_graph(read, found, at))
    return said or ("No reading of it is clearly odd.",)


def _columns(read: Tables, odd: Oddness, at: int) -> Iterator[str]:
    own = np.flatnonzero((read.component == at) & (np.abs(odd.z) > CLEAR))
    for k in own[np.argsort(-np.abs(odd.z[own]), kind="stable")][:MOST_NAMED]:
        before, after = np.nanmedian(read.normal[k]), np.nanmean(read.abnormal[k])
        yield (
            f"{read.columns[k]} went {'up' if odd.z[k] > 0 else 'down'} from {before:.4g} to "
            f"{after:.4g}, {abs(odd.z[k]):.1f} scales of a normal window."
        )


def _fallen(read: Tables, odd: Oddness, at: int) -> Iterator[str]:
    fallen = np.flatnonzero((read.component == at) & odd.fallen)
    if fallen.size:
        total = int((read.component == at).sum())
        yield f"{fallen.size} of its {total} columns collapsed or are no longer scraped."


def _graph(read: Tables, found: Evidence, at: int) -> Iterator[str]:
    if not read.has_graph:
        return
    row = dict(zip(NAMES, found.table[at], strict=True))
    if row["explains"] > LEAST_SHARE:
        yield f"{row['explains']:.0%} of all that is in trouble lies downstream of it."
    cause = worst_cause(read.links, found.trouble)[at]
    if cause > CLEAR and found.trouble[at] > CLEAR:
        yield f"Against it: one of its own causes is in trouble too ({cause:.1f} scales)."
    if row["spared"] >= 1.0:
        yield f"Against it: {row['spared']:.0f} components downstream of it are well."
