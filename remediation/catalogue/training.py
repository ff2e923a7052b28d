"""Actions about a training job: saved, started again, moved to other nodes."""

from remediation import costs
from remediation.catalogue import effects, obstacles
from remediation.catalogue.cluster import UNCORDON
from remediation.catalogue.kind import ActionKind, Agrees, Effect

CHECKPOINT_NOW = "checkpoint_now"
RESTART_JOB = "restart_job"
SWAP_NODE = "swap_node"

KINDS = (
    ActionKind(
        name=CHECKPOINT_NOW,
        text="save the job's state now",
        effect=Effect.HARMLESS,
        deadline_s=300.0,
        source="200 s for a 175B model to HDFS (ByteDance), and half as much again",
        inverse="",
        agrees=Agrees.NOBODY,
        verified="a checkpoint that was finished since",
        obstacle=obstacles.checkpoint_obstacle,
        done=effects.checkpoint_done,
        project=effects.saved,
        cost=costs.stall_cost,
        optional=True,
    ),
    ActionKind(
        name=RESTART_JOB,
        text="restart the job where it is, from its newest valid checkpoint",
        effect=Effect.DISRUPTS,
        deadline_s=900.0,
        source="a cold restart at 98k GPUs (FT-HSDP); smaller ones are faster",
        inverse="",
        agrees=Agrees.OPERATOR,
        verified="the job runs again since then and makes steps",
        obstacle=obstacles.restart_obstacle,
        done=effects.restart_done,
        project=effects.restarted,
        cost=costs.restart_cost,
        stops_job=True,
    ),
    # Swapping back would cost a second restart for a node that was suspected a moment ago: what
    # is taken back is only that the node takes no jobs. The spare keeps the job.
    ActionKind(
        name=SWAP_NODE,
        text="put a spare in the node's place and resume from the newest valid checkpoint",
        effect=Effect.DISRUPTS,
        deadline_s=1200.0,
        source="requeue of a whole job: 454-768 s at 2k-16k GPUs (ByteRobust, T7)",
        inverse=UNCORDON,
        agrees=Agrees.OPERATOR,
        verified="the job runs without the node and makes steps",
        obstacle=obstacles.swap_obstacle,
        done=effects.swap_done,
        project=effects.swapped,
        cost=costs.swap_cost,
        takes_out=True,
        stops_job=True,
    ),
)
