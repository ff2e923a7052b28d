"""Published ways to rank suspects on plain arrays: (normal, abnormal, links, target) -> scores.

normal: (V, N), abnormal: (V, A) readings, NaN where nothing was scraped; links: (L, 2) variables
(cause, effect); target: the variable whose trouble was noticed. A variable without readings in
either span scores 0. Higher is more suspect.
"""

from collections.abc import Callable, Mapping

import numpy as np

from core.types import Floats, Ints

Baseline = Callable[[Floats, Floats, Ints, int], Floats]

ODD_Z = 3.0
# CIRCA regresses on few parents; a barrier's dozens of ranks would leave no rows over.
_MOST_PARENTS, _MIN_ROWS = 8, 16
# As in MonitorRank (Kim et al., SIGMETRICS 2013) and CloudRanger (Wang et al., CCGRID 2018).
_BACK, _DAMPING, _STEPS = 0.1, 0.85, 50


def nsigma(normal: Floats, abnormal: Floats, links: Ints, target: int) -> Floats:
    """Return the farthest reading from the mean, in standard deviations."""
    del links, target
    filled, late = _filled(normal, abnormal)
    centre, spread = filled.mean(axis=1), filled.std(axis=1)
    return _farthest(late, centre, np.maximum(spread, _least(centre)))


def robust(normal: Floats, abnormal: Floats, links: Ints, target: int) -> Floats:
    """Return the farthest reading from the median in interquartile ranges, as BARO scores.

    Pham et al., FSE 2024; the onset is given here. A range has the least that a deviation has.
    """
    del links, target
    filled, late = _filled(normal, abnormal)
    low, centre, high = np.quantile(filled, [0.25, 0.5, 0.75], axis=1)
    spread = high - low
    return _farthest(late, centre, np.maximum(spread, _least(centre)))


def regression(normal: Floats, abnormal: Floats, links: Ints, target: int) -> Floats:
    """Return how far a variable is from what its causes explain, adjusted by its effects: CIRCA.

    Li et al., KDD 2022: a linear regression on the causes, the residual in its own deviations, and
    an odd variable takes the largest score of its effects on top.
    """
    del target
    filled, late = _filled(normal, abnormal)
    score = np.zeros(len(filled))
    for variable, causes in enumerate(_parents(links, len(filled))):
        score[variable] = _unexplained(filled, late, variable, causes)
    adjusted = score.copy()
    below = np.zeros(len(score))
    if len(links):
        np.maximum.at(below, links[:, 0], score[links[:, 1]])
    adjusted[score >= ODD_Z] += below[score >= ODD_Z]
    return adjusted


def traversal(normal: Floats, abnormal: Floats, links: Ints, target: int) -> Floats:
    """Return the oddness of odd variables with no odd cause, reached from the target by odd ones.

    As MicroHECL does (Liu et al., ICSE-SEIP 2021); all others score 0, so that it may name none.
    """
    score = nsigma(normal, abnormal, links, target)
    odd = np.zeros(len(score), dtype=np.bool_)
    odd[np.flatnonzero(score >= ODD_Z)] = True
    odd[target] = True
    both = links.reshape(-1, 2)
    parents = _parents(both[odd[both].all(axis=1)], len(score))
    seen, todo = {target}, [target]
    while todo:
        new = [cause for cause in parents[todo.pop()] if cause not in seen]
        seen.update(new)
        todo += new
    ends = np.array([v for v in sorted(seen) if not len(parents[v])], dtype=np.int64)
    found = np.zeros(len(score))
    found[ends] = score[ends]
    return found


def random_walk(normal: Floats, abnormal: Floats, links: Ints, target: int) -> Floats:
    """Return how often a walk from the target against the links comes by, drawn by correlation.

    With steps back along the links, stays where a variable is more like the target than its causes,
    and returns to the target: personalised PageRank.
    """
    filled, late = _filled(normal, abnormal)
    alike = _alike(np.concatenate([filled, late], axis=1), target)
    count = len(alike)
    cause, effect = links.reshape(-1, 2).T
    out = np.concatenate([effect, cause, np.arange(count)])
    into = np.concatenate([cause, effect, np.arange(count)])
    best = np.zeros(count)
    np.maximum.at(best, effect, alike[cause])
    stay = np.maximum(alike - best, 1e-6)
    weight = np.concatenate([alike[cause], _BACK * alike[effect], stay])
    weight = weight / np.bincount(out, weights=weight, minlength=count)[out]
    home = np.zeros(count)
    home[target] = 1.0
    walk = home
    for _ in range(_STEPS):
        moved = np.bincount(into, weights=walk[out] * weight, minlength=count)
        walk = _DAMPING * moved + (1 - _DAMPING) * home
    return walk


BASELINES: Mapping[str, Baseline] = {
    "nsigma": nsigma,
    "robust": robust,
    "regression": regression,
    "traversal": traversal,
    "random_walk": random_walk,
}


def _filled(normal: Floats, abnormal: Floats) -> tuple[Floats, Floats]:
    """Return both with gaps at the variable's normal median; one that says nothing stays at 0."""
    read = np.isfinite(normal), np.isfinite(abnormal)
    known = np.count_nonzero(read[0], axis=1) * np.count_nonzero(read[1], axis=1) > 0
    centre = np.zeros(len(normal))
    clean = np.where(read[0][known], normal[known], np.nan)
    centre[known] = np.nanmedian(clean, axis=1)
    whole, late = (part & known[:, None] for part in read)
    return (
        np.where(whole, normal, centre[:, None]),
        np.where(late, abnormal, centre[:, None]),
    )


def _least(centre: Floats) -> Floats:
    """Return the least spread that counts: a constant series has none of its own."""
    least: Floats = np.maximum(1e-3 * np.abs(centre), 1e-9)
    return least


def _farthest(late: Floats, centre: Floats, spread: Floats) -> Floats:
    far: Floats = (np.abs(late - centre[:, None]) / spread[:, None]).max(axis=1)
    return far


def _parents(links: Ints, count: int) -> list[Ints]:
    """Return each variable's causes."""
    found: list[Ints] = [np.empty(0, dtype=np.int64)] * count
    if not len(links):
        return found
    by = links[np.argsort(links[:, 1], kind="stable")]
    names, start = np.unique(by[:, 1], return_index=True)
    for name, causes in zip(names.tolist(), np.split(by[:, 0], start[1:]), strict=True):
        found[name] = causes
    return found


def _unexplained(filled: Floats, late: Floats, variable: int, causes: Ints) -> float:
    moves = causes[np.flatnonzero(filled[causes].std(axis=1))][:_MOST_PARENTS]
    rows = filled.shape[1]
    if rows < _MIN_ROWS:
        moves = moves[:0]
    design = np.vstack([filled[moves], np.ones(rows)]).T
    weights, *_ = np.linalg.lstsq(design, filled[variable], rcond=None)
    left = filled[variable] - design @ weights
    spread = max(float(left.std()), float(_least(filled[variable].mean())))
    new = late[variable] - np.vstack([late[moves], np.ones(late.shape[1])]).T @ weights
    return float(np.abs(new).max() / spread)


def _alike(value: Floats, target: int) -> Floats:
    """Return |correlation| with the target; 0 where either never moves."""
    moved = value - value.mean(axis=1, keepdims=True)
    size = np.sqrt((moved**2).sum(axis=1))
    with np.errstate(all="ignore"):
        alike = np.abs(moved @ moved[target]) / (size * size[target])
    known: Floats = np.nan_to_num(alike, posinf=0.0) + 1e-6
    return known
