"""What a decision costs, the learned policy's and the twin's, and that numpy decides as torch."""

import statistics
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.bench.sim import decisions_row
from core.figures import Row, at_most
from remediation.evaluation.policies import looking_ahead, shipped_network
from remediation.learning.env import HealingEnv
from remediation.learning.families import FAMILIES, HELD_OUT_SEED, LIVES_A_CLUSTER
from remediation.policies.learned import SHIPPED, LearnedChooser
from remediation.policies.rulebook import Runbook
from remediation.policies.trained import Network, Trained, load
from remediation.twin.lookahead import TwinSettings

_COMPARED, _COMPARED_QUICK = 50_000, 10_000
_TWIN, _TWIN_QUICK = 300, 30
_TWIN_MS = 1000.0  # far less than the quarter minute until the controller looks again


def policy_rows(
    *,
    quick: bool = False,
    policy: Path = SHIPPED,
    compared: int | None = None,
    twin: int | None = None,
) -> tuple[Row, ...]:
    """Measure a policy file on lives of all families.

    compared: decisions at least, twin: of the twin; by default as the form has them
    """
    trained = load(policy)
    wanted = compared or (_COMPARED_QUICK if quick else _COMPARED)
    spent_us, seen, masks = _met(trained, wanted)
    return (
        _decision_row(spent_us),
        _mismatch_row(trained.network, seen, masks),
        _twin_row(twin or (_TWIN_QUICK if quick else _TWIN)),
        decisions_row(1.0 if quick else 5.0, runs=3),
    )


def _met(
    trained: Trained, count: int
) -> tuple[list[float], NDArray[np.float32], NDArray[np.bool_]]:
    """Return what each decision took, us, what was seen and which choices were open.

    The policy decides in lives of all families in turn, a cluster each.
    """
    chooser = LearnedChooser(trained, fallback=Runbook.tuned())
    envs = [HealingEnv(each) for each in FAMILIES.values()]
    spent_us: list[float] = []
    seen: list[NDArray[np.float32]] = []
    masks: list[NDArray[np.bool_]] = []
    cluster = 0
    while len(seen) < count:
        env = envs[cluster % len(envs)]
        env.begin(HELD_OUT_SEED + LIVES_A_CLUSTER * cluster)
        over = truncated = False
        while not (over or truncated):
            moment = env.lane.moment()
            seen.append(env.seen())
            masks.append(env.action_masks())
            began_s = time.process_time_ns()
            choice = chooser.choose(moment)
            spent_us.append((time.process_time_ns() - began_s) / 1e3)
            _, over, truncated = env.decide(choice)
        cluster += 1
    return spent_us, np.array(seen), np.array(masks)


def _decision_row(spent_us: list[float]) -> Row:
    low, high = np.quantile(spent_us, (0.025, 0.975))
    note = "median of decisions in lives of all families, features and fallback included; CPU time"
    median = statistics.median(spent_us)
    return at_most(
        "decision_us_rl",
        *(median, 50.0),
        unit="us",
        low=float(low),
        high=float(high),
        n=len(spent_us),
        note=note,
    )


def _twin_row(count: int) -> Row:
    """Time the twin's decisions in lives of the training's family; the first compiles."""
    chooser, env = looking_ahead(shipped_network(), TwinSettings()), HealingEnv()
    spent_ms: list[float] = []
    seed = HELD_OUT_SEED
    while len(spent_ms) <= count:
        env.begin(seed)
        seed += LIVES_A_CLUSTER
        over = truncated = False
        while not (over or truncated):
            moment = env.lane.moment()
            began_s = time.process_time()
            choice = chooser.choose(moment)
            spent_ms.append(1e3 * (time.process_time() - began_s))
            _, over, truncated = env.decide(choice)
    low, high = np.quantile(spent_ms[1:], (0.025, 0.975))
    note = "median; all choices that are open in all guesses of what is broken; CPU time"
    return at_most(
        "decision_ms_twin",
        *(statistics.median(spent_ms[1:]), _TWIN_MS),
        unit="ms",
        low=float(low),
        high=float(high),
        n=len(spent_ms) - 1,
        note=note,
    )


def _mismatch_row(network: Network, seen: NDArray[np.float32], masks: NDArray[np.bool_]) -> Row:
    from remediation.learning.learner import torch_choices

    theirs = torch_choices(network, seen, masks).tolist()
    pairs = zip(seen.astype(np.float64), masks, strict=True)
    wrong = sum(network.best(*pair) != choice for pair, choice in zip(pairs, theirs, strict=True))
    note = "decisions in numpy that are not sb3-contrib's own with the same weights"
    return at_most("numpy_torch_mismatches", wrong, 0.0, unit="decisions", n=len(seen), note=note)
