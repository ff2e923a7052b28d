"""Break a simulated cluster, heal it, and see what that was worth."""

import sys
from dataclasses import replace

from core.target import Target
from core.types import Action
from sim.library import scenario
from sim.scenario import XID_79, FaultSpec
from sim.world import World

MINUTE_S = 60.0


def say(sentence: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(sentence + "\n")


fault = FaultSpec(XID_79, Target(node="node-03"), onset_s=10 * MINUTE_S)
world = World.build(replace(scenario("quiet"), faults=(fault,)), seed=1)
world.advance(world.now_s + 15 * MINUTE_S)
event = world.events[0]
say(f"broken: {event.kind} {event.code} on {event.target}; the job that was on it has stopped")

healed = world.fork()
swap = Action(
    key="example:0",
    kind="swap_node",
    target=Target(node="node-03"),
    params=(("job", "llm-70b"), ("spare", "node-14")),
    deadline_s=1200.0,
    inverse="uncordon",
)
healed.perform(swap)

for each in (world, healed):
    each.advance(each.scenario.start_s + 120 * MINUTE_S)
say(f"left alone: goodput {world.goodput():.2f}")
say(f"healed:     goodput {healed.goodput():.2f}")
