"""What is known when a decision about an incident is due: plain numbers with units.

A policy sees these numbers and which choices are open, and nothing else of the incident. They are
filled in twice: from a diagnosis and the scheduler's state in life, by compiled code in the
simulator, and a test holds the two together. ``remediation.policies.features`` makes the network's
inputs of them.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from core.types import Floats

Bools = NDArray[np.bool_]


class Remedy(IntEnum):
    """What ends a fault: a probability each, by ``remediation/deciding/remedies.toml``."""

    REPLACE = 0  # hardware that a crew must repair: the node has to go
    REBOOT = 1  # a reset of the GPU or a reboot of the node
    RESTART = 2  # a restart of the job, where it is
    TIME = 3  # it ends by itself, or others see to it (a switch, the storage, a power cap)
    ROLL_BACK = 4  # the job's state is bad: a checkpoint from before
    TUNE = 5  # a setting: loaders, replicas, a release, a driver
    PEOPLE = 6  # the job's own fault, or one that only people can mend


class Fact(IntEnum):
    """Places in a situation. Probabilities are in [0, 1], times in seconds, flags 0 or 1.

    A time that has no beginning (no action yet, no checkpoint) is ``LONG_S``.
    """

    # The first seven are the remedies in their order: the probability that it ends the fault.
    REPLACE = 0
    REBOOT = 1
    RESTART = 2
    TIME = 3
    ROLL_BACK = 4
    TUNE = 5
    PEOPLE = 6
    UNKNOWN = 7  # probability that something else is broken
    NO_FAULT = 8  # probability that nothing is
    NODE_BLAMED = 9  # probability that the fault lies on the node that is blamed first
    OTHER_BLAMED = 10  # on another node: the next that is blamed
    AGE_S = 11  # since the incident was opened
    RESTARTS_TRIED = 12  # restarts, reboots, roll-backs and tunings of the job for this incident
    MOVES_TRIED = 13  # swaps, shrinks and loans for this incident
    SINCE_TRIED_S = 14  # since the last of either was ordered
    OTHERS_OPEN = 15  # other open incidents
    BREACH = 16  # probability that a limit on the node or job is crossed within half an hour
    NODE_INCIDENTS = 17  # other incidents so far that blamed this node first, halved each 7 days
    NODE_OUT = 18  # it takes no jobs
    NODE_DOWN = 19  # it does not answer
    JOB_RUNS = 20
    JOB_STARTS = 21
    JOB_STOPPED = 22
    PACE = 23  # the job's speed against its own when healthy; 0 where it makes no steps
    # Since the newest checkpoint was whole, which a crash would lose; LONG_S: it has none. 0 where
    # the job does not run: it has lost it already
    UNSAVED_S = 24
    INTERVAL_S = 25  # between checkpoints; LONG_S: it writes none
    STALL_S = 26  # how long it stands for one
    RESTART_S = 27  # expected from stop to stepping again
    JOB_GPUS = 28
    JOB_NODES = 29
    RESTARTS = 30  # of the job, for whatever reason
    PHASE_S = 31  # since the job came into its phase
    ABOVE = 32  # share of all GPUs in use that jobs of lower priority than this one have
    CAN_SHRINK = 33  # share of its nodes that it could do without; 0: it cannot shrink
    SHRUNK = 34  # share of the nodes it asked for that it lacks
    GPUS = 35  # of the cluster
    SPARES = 36  # ready and free
    FREE_NODES = 37  # ready, without a job, not kept as spares
    NODES_OUT = 38  # by our hand
    OUT_ROOM = 39  # how many more the guards would let us take out now
    # Mean time that a node is away on which a crew has work, as known so far: the site's figure
    # counts as two such nodes, those that came back as one each
    REPAIR_S = 40
    REBOOT_S = 41  # mean time that a node is away for a reboot, in the same way
    PEOPLE_S = 42  # mean time until a person who is paged has mended it
    PAGE_GPU_S = 43  # what a page is priced at, GPU-seconds
    # Incidents a day in the whole cluster; the site's figure counts as a quarter of a day's watch
    FAULTS_A_DAY = 44
    # Share of ended incidents about which nothing was done; the site's figure counts as 10 of them
    FALSE_SHARE = 45
    WAITING_GPUS = 46  # GPUs that queued jobs ask for


LONG_S = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """One moment of decision: ``facts`` (len(Fact),) and ``open`` (len(Choice),)."""

    facts: Floats
    open: Bools
