"""The small integers that stand in the engine's tables; new ones go to the end of each list."""

from enum import IntEnum

NONE = -1
GPUS = 8  # most GPUs of a node; a table's per-GPU fields are this wide
LOOK, BACK, FAILED, WARNED = -2, -3, -4, -5  # what a NOTICE is about that is none of a fault


class Kind(IntEnum):
    """What happens at an event of the heap: which handler ``loop`` calls with (a, b, version)."""

    SUBMIT = 0  # a: row of ``trace``, or NONE for the next of the generated mix; b: its index
    STAGE = 1  # a: job, b: the stage that begins
    FINISHED = 2  # a: job has done its work, or ends by itself
    CAPTURED = 3  # a: job; an extra checkpoint's stall is over
    CRASH = 4  # a: job, b: Reason; an error or hang is noticed and ends it
    REQUEUE = 5  # a: job goes back into the queue
    FAULT = 6  # a: row of ``planned``; strikes whatever was done before
    ARRIVAL = 7  # a: entity of the class's scope, b: class; a drawn fault
    WINDOW = 8  # a: index; puts the next stretch of arrivals on the heap
    FULL = 9  # a: node, b: fault; memory or a volume that filled is full
    MENDED = 10  # a: fault; its own end or a repair crew's work
    CLOCKS = 11  # a: node; look at a warming or cooling node's clocks again
    UP = 12  # a: node has booted
    DOWN = 13  # a: node goes down (a lost rack, a panic, planned work)
    CHECK = 14  # a: the site's health checks look at suspects
    TICK = 15  # a: service job; a minute of requests
    NOTICE = 16  # a: fault; the detector surrogate says it
    SCHEDULE = 17  # the queue is looked at again
    PHASE = 18  # a: fault, b: number; a fault's course goes on (flapping, ramping, spreading)
    RELAPSE = 19  # a: fault; what was repaired breaks again
    PREEMPT = 20  # a: job; its grace is over


class JobKind(IntEnum):
    """How a job uses its GPUs."""

    TRAINING = 0  # in lock step: the slowest rank rules
    PARAMETER_SERVER = 1  # workers at their own pace, bound by the servers' links
    ELASTIC = 2  # in lock step, at any size between its bounds
    SERVICE = 3  # answers requests
    PIPELINE = 4  # prepares data; bound by loaders and storage
    INTERACTIVE = 5  # a person's notebook


class Phase(IntEnum):
    """Where a job is; the order is that of ``core.cluster.JobPhase``."""

    PENDING = 0
    STARTING = 1
    RUNNING = 2
    STOPPED = 3
    COMPLETED = 4


class Stage(IntEnum):
    """Where a job is within its phase; a start goes through the first four."""

    SCHEDULE = 0
    CONTAINER = 1
    INIT = 2
    LOAD = 3
    STEPPING = 4
    CAPTURING = 5
    HUNG = 6
    NONE = 7


class Ending(IntEnum):
    """How a job ended, or will by itself."""

    NOT_YET = 0
    COMPLETED = 1
    CANCELLED = 2
    FAILED = 3  # a user's bug; not an infrastructure's fault
    TIMEOUT = 4


class Reason(IntEnum):
    """Why a job was stopped."""

    NONE = 0
    CUDA_ERROR = 1
    GPU_MISSING = 2
    OUT_OF_MEMORY = 3
    NO_SPACE = 4
    NODE_DOWN = 5
    NETWORK = 6
    HANG = 7
    NAN = 8
    USER_BUG = 9
    PREEMPTED = 10
    ORDERED = 11
    STORAGE = 12
    SOFTWARE = 13
    ECC = 14


class Load(IntEnum):
    """What a node's GPUs do."""

    IDLE = 0
    STARTING = 1
    WAITING = 2
    COMPUTING = 3


class Hold(IntEnum):
    """Who keeps a node out of service; the names of people live beside the tables."""

    NOBODY = 0
    AGENT = 1
    PERSON = 2
    SITE = 3  # the site's own health checks; a repair crew comes
    PLANNED = 4


class Back(IntEnum):
    """When a node that is out by the agent's hand is returned to service."""

    NOT = 0  # when somebody does it
    AS_UP = 1  # as soon as it has booted
    CHECKED = 2  # when crews have no more work on it and its checks find nothing


class Use(IntEnum):
    """What a GPU's time is spent on: every GPU is in exactly one at any time."""

    IDLE = 0
    HELD = 1
    DOWN = 2
    REPAIR = 3


class Loss(IntEnum):
    """Why GPU time that a job held was not useful."""

    STALL = 0  # ranks wait for a checkpoint
    START = 1  # scheduled, but not stepping yet
    REDONE = 2  # steps done again after a rollback
    HUNG = 3  # nothing moves and nobody has noticed
    STOPPED = 4  # held by a job that has failed
    SLOW = 5  # steps that took longer than they should


class Scope(IntEnum):
    """What a fault strikes, and what its rate counts."""

    GPU = 0
    NODE = 1
    LEAF = 2
    RACK = 3
    POWER = 4
    COOLING = 5
    STORAGE = 6
    JOB = 7
    FLEET = 8


class Effect(IntEnum):
    """What a fault does; sizes stand in the fault class."""

    GPU_LOST = 0
    GPU_ERROR = 1  # kills the processes that use it; the GPU stays
    HANG = 2
    NODE_DOWN = 3
    CRASH_JOB = 4
    SLOW_GPU = 5
    SLOW_NETWORK = 6
    SLOW_HOST = 7
    SLOW_STORAGE = 8
    COOLING = 9
    MEMORY_LEAK = 10
    VOLUME_FILLING = 11
    NAN = 12
    SILENT_CORRUPTION = 13
    LINK_FLAP = 14
    LEAF_DOWN = 15
    POWER_LOST = 16
    ECC_GROWTH = 17
    SURGE = 18
    NOISY_NEIGHBOUR = 19
    POWER_CAP = 20
    DRIVER = 21
    DROPOUT = 22
    STALE = 23
    SKEW = 24
    FALSE_ALARM = 25
    MAINTENANCE = 26
    BAD_CANARY = 27
    LOADER_STARVED = 28


class Purpose(IntEnum):
    """What a random number is for: part of its address, so the values are part of every seed."""

    SHAPE = 1
    ARRIVAL = 2
    FAULT = 3
    RESTART = 4
    REBOOT = 5
    DROPOUT = 6
    READING = 7
    DETECTION = 8
    REPAIR = 9
    FRAILTY = 10
    JOB = 11
    RELAPSE = 12
    SPREAD = 13
    COURSE = 14
    REQUESTS = 15
    CHECK = 16
    BLAME = 17
    ORDER = 18
    AGE = 19
    SUBMIT = 20


class Said(IntEnum):
    """Kinds of event that kernel logs and the scheduler say; the texts are in ``sim.sayings``."""

    XID = 0  # code: the Xid
    PCIE_ERROR = 1
    OOM_KILL = 2
    VOLUME_FULL = 3
    JOB_FAILED = 4  # code: Reason
    JOB_STARTED = 5
    JOB_COMPLETED = 6
    JOB_SUBMITTED = 7
    JOB_PREEMPTED = 8
    NODE_REBOOT = 9
    NODE_RETURNED = 10
    NODE_DOWN = 11
    NODE_DRAINED = 12
    LINK_DOWN = 13
    LINK_UP = 14
    SWITCH_DOWN = 15
    SWITCH_UP = 16
    POWER_LOST = 17
    POWER_BACK = 18
    STORAGE_SLOW = 19
    ECC = 20
    ROW_REMAP = 21
    NAN_LOSS = 22
    THERMAL = 23
    MAINTENANCE = 24
    FALSE_ALARM = 25
    DRIVER_CHANGED = 26
    CANARY = 27
    POWER_CAPPED = 28
    KERNEL_PANIC = 29
    CHECK_FAILED = 30
    CHECKPOINT = 31
    DISK_ERROR = 32
    MOUNT_LOST = 33
    TRANSPORT_ERROR = 34
