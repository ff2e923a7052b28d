"""Actions about a service: replicas, batches, its newest version, its cache."""

from remediation.catalogue import costs, knob_effects, knob_obstacles
from remediation.catalogue.kind import ONE_CALL, ActionKind, Agrees, Effect

SCALE_SERVICE = "scale_service"
SET_CACHE = "set_cache"
SET_SERVICE_BATCH = "set_service_batch"
SHIFT_CANARY = "shift_canary"

KINDS = (
    ActionKind(
        name=SCALE_SERVICE,
        text="let a service have so many replicas, between its least and its most",
        effect=Effect.HARMLESS,
        deadline_s=900.0,
        source="a new pod takes about 2 min (DLRover), pulling a cold image 10",
        agrees=Agrees.NOBODY,
        verified="so many replicas answer; its latency is within its objective",
        obstacle=knob_obstacles.replicas_obstacle,
        done=knob_effects.replicas_done,
        project=knob_effects.service_set("replicas", "replicas", whole=True),
        cost=costs.nothing_lost,
        inverse=SCALE_SERVICE,
        restores=("replicas",),
        prior=knob_effects.service_before("replicas", "replicas"),
    ),
    ActionKind(
        name=SET_SERVICE_BATCH,
        text="let a service answer so many requests together at most",
        effect=Effect.HARMLESS,
        deadline_s=120.0,
        source=ONE_CALL,
        agrees=Agrees.OPERATOR,
        verified="the service's batch is the one named",
        obstacle=knob_obstacles.service_batch_obstacle,
        done=knob_effects.service_done("batch", "batch"),
        project=knob_effects.service_set("batch", "batch"),
        cost=costs.nothing_lost,
        inverse=SET_SERVICE_BATCH,
        restores=("batch",),
        prior=knob_effects.service_before("batch", "batch"),
    ),
    ActionKind(
        name=SHIFT_CANARY,
        text="let a service's newest version answer so large a share; 0 takes it back",
        effect=Effect.HARMLESS,
        deadline_s=120.0,
        source=ONE_CALL,
        agrees=Agrees.OPERATOR,
        verified="the share is the one named; errors are no more than before",
        obstacle=knob_obstacles.canary_obstacle,
        done=knob_effects.service_done("canary", "share"),
        project=knob_effects.service_set("canary", "share"),
        cost=costs.nothing_lost,
        inverse=SHIFT_CANARY,
        restores=("share",),
        prior=knob_effects.service_before("canary", "share"),
    ),
    ActionKind(
        name=SET_CACHE,
        text="let so large a share of a service's memory keep answered prompts",
        effect=Effect.HARMLESS,
        deadline_s=120.0,
        source=ONE_CALL,
        agrees=Agrees.OPERATOR,
        verified="the service's cache is the one named",
        obstacle=knob_obstacles.service_cache_obstacle,
        done=knob_effects.service_done("cache", "cache"),
        project=knob_effects.service_set("cache", "cache"),
        cost=costs.nothing_lost,
        inverse=SET_CACHE,
        restores=("cache",),
        prior=knob_effects.service_before("cache", "cache"),
    ),
)
