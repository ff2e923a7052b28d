"""Compile what decides in the simulator before it is needed: a minute or two, then it is kept."""

from collections.abc import Callable

from remediation.evaluation.policies import looking_ahead, shipped_network
from remediation.learning.env import HealingEnv
from remediation.twin.lookahead import TwinSettings
from sim.engine.jit import is_kept
from sim.warm import warm as warm_engine

_FEW = TwinSettings(rounds=(2,))
_DECISIONS = 5  # one with a single open choice is not looked into


def warm(tell: Callable[[str], None] = lambda line: None) -> None:
    """Compile the engine, its decisions and roll-outs, where they are not kept already.

    ``tell`` is told before each. Call it before several processes start, or each of them would
    compile the same.
    """
    warm_engine(tell)
    if is_kept("remediation.twin.rolling"):
        return
    tell("Compiling decisions and roll-outs, once for this version: one to two minutes.")
    env, twin = HealingEnv(), looking_ahead(shipped_network(), _FEW)
    for _ in range(_DECISIONS):
        env.reset(seed=0)
        env.decide(int(twin.choose(env.lane.moment())))
