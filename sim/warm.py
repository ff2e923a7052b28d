"""Compile the engine before it is needed: one to two minutes for a version, then it is kept."""

from collections.abc import Callable

import numpy as np

from core.target import Target
from core.types import Action
from sim.engine.jit import is_kept
from sim.library import scenario
from sim.telemetry import METRICS, readings
from sim.world import World

_ORDERS = (
    ("cordon", Target(node="node-15")),
    ("uncordon", Target(node="node-15")),
    ("checkpoint_now", Target(job="vision")),
    ("restart_job", Target(job="vision")),
    ("swap_node", Target(node="node-03")),
    ("reboot_node", Target(node="node-03")),
)


def warm(tell: Callable[[str], None] = lambda line: None) -> None:
    """Compile what a run needs, where it is not kept already; ``tell`` is told before that.

    Call it before several processes start, or each of them would compile the same.
    """
    if is_kept("sim.engine.loop"):
        return
    tell("Compiling the simulator's engine, once for this version: one to two minutes.")
    world = World.build(scenario("demo"), seed=1)
    world.advance(world.now_s + 600)
    for number, (kind, target) in enumerate(_ORDERS):
        world.perform(Action(f"warm:{number}", kind, target, (), 900.0, ""))
    world.fork(keep=False).advance(world.now_s + 60)
    readings(world, METRICS, np.arange(world.now_s - 120, world.now_s, 60.0))
    world.state()
