"""Actions about nodes: out of service, back again, rebooted."""

from remediation import costs
from remediation.catalogue import effects, obstacles
from remediation.catalogue.kind import ActionKind, Agrees, Effect

CORDON = "cordon"
UNCORDON = "uncordon"
REBOOT_NODE = "reboot_node"

KINDS = (
    ActionKind(
        name=CORDON,
        text="keep new jobs off the node; the job on it stays",
        effect=Effect.DISRUPTS,
        deadline_s=120.0,
        source="one call to the scheduler; four cycles of 15 s and as much again",
        inverse=UNCORDON,
        agrees=Agrees.NOBODY,
        verified="the scheduler shows it out by gpumedic",
        obstacle=obstacles.cordon_obstacle,
        done=effects.cordon_done,
        project=effects.cordoned,
        cost=costs.nothing_lost,
        takes_out=True,
    ),
    ActionKind(
        name=UNCORDON,
        text="let jobs start on the node again",
        effect=Effect.PUTS_BACK,
        deadline_s=120.0,
        source="as for cordon",
        inverse="",  # taking a node out again is a new decision, which asks every guard
        agrees=Agrees.NOBODY,
        verified="the scheduler shows it ready",
        obstacle=obstacles.uncordon_obstacle,
        done=effects.uncordon_done,
        project=effects.uncordoned,
        cost=costs.nothing_lost,
    ),
    ActionKind(
        name=REBOOT_NODE,
        text="reboot a node that is out of service already",
        effect=Effect.DISRUPTS,
        deadline_s=1500.0,
        source="25 min, as another healer allows its reboots (facts: 8 to 15 min)",
        inverse="",
        agrees=Agrees.OPERATOR,
        verified="the node has come up since",
        obstacle=obstacles.reboot_obstacle,
        done=effects.reboot_done,
        project=effects.unchanged,
        cost=costs.reboot_cost,
    ),
)
