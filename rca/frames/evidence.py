"""What speaks for and against each component, as numbers between which weights can decide."""

from dataclasses import dataclass

import numpy as np

from core.types import Floats, Ints
from rca.frames.inputs import Tables
from rca.frames.kinds import Kind
from rca.frames.load import beyond_load
from rca.frames.oddness import CLEAR, MOST_ODD, Bools, Oddness, median

NAMES = (
    "largest",  # its oddest column, logarithm of scales
    "leads",  # 1 where no component has an odder one
    "leads_in",  # share of the metrics of which it has the oddest column
    "farthest",  # its farthest reading beside the farthest normal one, logarithm
    "beyond_load",  # its oddest resource once its own load is accounted for, logarithm
    "resource_change",  # how many times (logarithm) a resource rose
    "trouble_change",  # how many times what is passed on got worse; 0 with a graph
    "fallen",  # share of its columns that collapsed or are no longer scraped
    "unexplained",  # own worsening beyond its worst cause's, share of the worst; 0 without graph
    "explains",  # share of all trouble that lies downstream of it
    "spared",  # how many components lie downstream of it and are well
    "watched",  # 1 for the component whose trouble was noticed; 0 without graph
)
LEAST_LEAD = 1.0  # scales: the oddest of columns that are all as usual leads in nothing
SURE = 4.0  # scales at which trouble counts half; a normal window in thousands is so far out


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """table: (C, len(NAMES)); trouble: (C,) oddness of what is passed on, on the bad side;
    change: (C,) largest clear change of a resource or of what is passed on, logarithm of times
    """

    table: Floats
    trouble: Floats
    change: Floats


def evidence(tables: Tables, odd: Oddness, reached: Bools) -> Evidence:
    """Return what speaks for and against each of C components.

    reached: (C, C) whether trouble of the first can come to the second; False on the diagonal
    """
    size = np.minimum(np.abs(odd.z), MOST_ODD)
    top = _most(tables, odd.own)
    trouble = _most(tables, np.where(odd.trouble & odd.bad, size, 0.0))
    measured = _most(tables, odd.trouble.astype(float)) > 0
    hit, spared = _downstream(reached, trouble, measured)
    resource = np.array([each is Kind.RESOURCE for each in odd.kinds]) & (odd.z > 0)
    risen = _most(tables, np.where(resource, odd.change, 0.0))
    worse = _most(tables, np.where(odd.trouble & odd.bad, odd.change, 0.0))
    columns = np.bincount(tables.component, minlength=len(tables.components))
    fallen = np.bincount(tables.component, odd.fallen, len(tables.components))
    table = {
        "largest": np.log1p(top),
        "leads": (top >= top.max()) & (top > 0),
        "leads_in": _leads_in(tables, odd),
        "farthest": np.log1p(_most(tables, farthest(odd))),
        "beyond_load": np.log1p(_most(tables, beyond_load(tables, odd))),
        "resource_change": risen,
        # With a graph ``unexplained`` says it better: a caller's time holds its callees'.
        "trouble_change": worse * (not tables.has_graph),
        "fallen": fallen / np.maximum(columns, 1),
        # Without a graph all that callers have from callees would look like their own.
        "unexplained": _unexplained(tables, odd) * tables.has_graph,
        "explains": hit,
        "spared": spared,
        "watched": (np.arange(top.size) == tables.component[tables.target]) & tables.has_graph,
    }
    stacked = np.stack([np.asarray(table[name], dtype=float) for name in NAMES], axis=1)
    return Evidence(stacked, trouble, np.maximum(risen, worse))


def farthest(odd: Oddness) -> Floats:
    """Return (V,) the farthest reading from the median, in distances of the farthest normal one.

    0 for constant columns: nothing says how far they may stray.
    """
    centre = np.nan_to_num(median(odd.normal))[:, None]
    usual, now = (
        np.nan_to_num(np.abs(value - centre)).max(axis=1, initial=0.0)
        for value in (odd.normal, odd.abnormal)
    )
    ratio = np.divide(now, usual, out=np.zeros_like(now), where=usual > 0)
    return np.asarray(np.minimum(ratio, MOST_ODD))


def _leads_in(tables: Tables, odd: Oddness) -> Floats:
    """Return (C,) of how many of the metrics a component has the oddest column, share of all."""
    most = np.zeros(int(odd.names.max()) + 1)
    np.maximum.at(most, odd.names, odd.own)
    leads = (odd.own >= most[odd.names]) & (odd.own > LEAST_LEAD)
    count = np.bincount(tables.component, leads, len(tables.components))
    return np.asarray(count / most.size)


def worst_cause(links: Ints, value: Floats) -> Floats:
    """Return (C,) the largest value among each component's direct causes, 0 without any."""
    worst = np.zeros_like(value)
    np.maximum.at(worst, links[:, 1], value[links[:, 0]])
    return worst


def sureness(trouble: Floats) -> Floats:
    """Return how sure it is that something is in trouble, 0 to 1."""
    return trouble**2 / (trouble**2 + SURE**2)


def _most(tables: Tables, value: Floats) -> Floats:
    """Return (C,) the largest value among each component's columns."""
    most = np.zeros(len(tables.components))
    np.maximum.at(most, tables.component, value)
    return most


def _downstream(reached: Bools, trouble: Floats, measured: Bools) -> tuple[Floats, Floats]:
    sure = sureness(trouble) * measured
    hit = np.array([sure[row].sum() for row in reached])
    count = np.array([measured[row].sum() for row in reached])
    # Half a component more than there are: one that is hardly odd explains little.
    return hit / (sure.sum() + 0.5), count - hit


def _unexplained(tables: Tables, odd: Oddness) -> Floats:
    """Return (C,) own worsening beyond the worst cause's, in units both share, 0 to 1.

    Two columns of one metric and statistic are in one unit: a caller waits as long as its callee
    does, and no longer unless it is slow itself.
    """
    most = np.zeros(len(tables.components))
    worse = np.where([each is Kind.SUCCESS for each in odd.kinds], -odd.shift, odd.shift)
    worse = np.where([each is Kind.UNNAMED for each in odd.kinds], np.abs(worse), worse)
    worse = np.where(odd.trouble & (np.abs(odd.z) > CLEAR), np.maximum(worse, 0.0), 0.0)
    for name in np.unique(odd.names[worse > 0]):
        same = odd.names == name
        level = np.zeros(most.size)
        level[tables.component[same]] = worse[same]
        left = np.maximum(level - worst_cause(tables.links, level), 0.0)
        most = np.maximum(most, left / level.max())
    return most
