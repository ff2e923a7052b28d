"""Policy files as training writes them, by hand."""

from pathlib import Path

import numpy as np

from core.choice import Choice
from remediation.policies.features import FEATURES, SIZE
from remediation.policies.trained import FORMAT, Known, Network, Trained, Training, save


def trained(*, prefers: Choice, version: str = "t", known: bool = False) -> Trained:
    """A policy that always prefers one choice.

    known: it takes all situations for ones it was taught; else none, and its fallback decides
    """
    seen = np.random.default_rng(1).random((500, SIZE))
    last = np.zeros(len(Choice))
    last[prefers] = 9.0
    edge = 1.0 if known else 1e-9
    limits = Known.of(seen, low=np.zeros(SIZE), high=np.full(SIZE, edge))
    if known:
        limits = Known(
            limits.low, limits.high, limits.mean, 1e-12 * limits.inverse, limits.farthest
        )
    names = tuple(choice.name for choice in Choice)
    training = Training(
        FORMAT, version, "decisions", 1, 100, 9.5, ("train",), "small", "by hand", FEATURES, names
    )
    weights = (np.zeros((4, SIZE)), np.zeros((len(Choice), 4)))
    return Trained(Network(weights, (np.zeros(4), last)), limits, training)


def policy_file(
    path: Path, *, prefers: Choice = Choice.WAIT, version: str = "t", known: bool = False
) -> Path:
    """Write such a policy."""
    save(path, trained(prefers=prefers, version=version, known=known))
    return path
