"""Actions about a node's clocks and power, and about what drivers all nodes get."""

from remediation.catalogue import costs, knob_effects, knob_obstacles
from remediation.catalogue.kind import ONE_CALL, ActionKind, Agrees, Effect

LIMIT_CLOCKS = "limit_clocks"
LIMIT_POWER = "limit_power"
STOP_ROLLOUT = "stop_rollout"

KINDS = (
    ActionKind(
        name=LIMIT_POWER,
        text="hold each GPU of the node to so many watts, within a bound of slowdown; 0 frees it",
        effect=Effect.HARMLESS,
        deadline_s=120.0,
        source=ONE_CALL,
        agrees=Agrees.OPERATOR,
        verified="the node shows the limit; steps are at most as much slower as allowed",
        obstacle=knob_obstacles.power_obstacle,
        done=knob_effects.power_done,
        project=knob_effects.power_set,
        cost=costs.power_cost,
        inverse=LIMIT_POWER,
        restores=("watts", "most_slowdown"),
        prior=knob_effects.power_before,
        lasting=True,
    ),
    ActionKind(
        name=LIMIT_CLOCKS,
        text="hold the clocks of the node to a share, within a bound of slowdown; 1 frees them",
        effect=Effect.HARMLESS,
        deadline_s=120.0,
        source=ONE_CALL,
        agrees=Agrees.OPERATOR,
        verified="the node shows the share; steps are at most as much slower as allowed",
        obstacle=knob_obstacles.clocks_obstacle,
        done=knob_effects.clocks_done,
        project=knob_effects.clocks_set,
        cost=costs.clocks_cost,
        inverse=LIMIT_CLOCKS,
        restores=("share", "most_slowdown"),
        prior=knob_effects.clocks_before,
        lasting=True,
    ),
    ActionKind(
        name=STOP_ROLLOUT,
        text="let a driver's roll-out go no further; nodes without a job get the old one back",
        effect=Effect.DISRUPTS,
        deadline_s=120.0,
        source=ONE_CALL,
        agrees=Agrees.OPERATOR,
        verified="nothing is rolled out any more",
        obstacle=knob_obstacles.rollout_obstacle,
        done=knob_effects.rollout_done,
        project=knob_effects.rollout_stopped,
        cost=costs.rollout_cost,
        kept=True,
    ),
)
