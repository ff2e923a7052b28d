"""Rows of GPU types, of nodes, and of what readings need of a node's past."""

import numpy as np

from sim.engine.words import GPUS

_G = (GPUS,)
TAKEN = 5  # how many times that a node was taken out are kept, one for a plan that may turn back

# A GPU type; its own speed and curves.
GPU_TYPE = np.dtype(
    [
        ("speed", "f4"),  # relative to an H100 SXM
        ("memory_bytes", "f8"),
        ("idle_watts", "f4"),
        ("watts", "f4"),  # the board's limit
        ("load_watts", "f4", (4,)),  # by Load, at full clock
        ("boost_hz", "f8"),
        ("idle_hz", "f8"),
        ("throttle_celsius", "f4"),
        ("hold_celsius", "f4"),
        ("resistance", "f4"),  # degC per watt to the air at the inlet
        ("lag_s", "f4"),
        ("link_bytes_per_s", "f8"),  # to its neighbours in a node, each way: NVLink or PCIe
    ],
    align=True,
)

NODE = np.dtype(
    [
        # as built
        ("type", "i2"),
        ("gpus", "i1"),
        ("zone", "i2"),
        ("rack", "i4"),
        ("leaf", "i4"),
        # with these every change of a job's pace looks at all of its nodes: one line of the cache
        ("next", "i4"),  # in a job of several nodes: the next in rank order, NONE
        ("network", "f4"),  # share of its bandwidth left
        ("host", "f4"),  # times longer for what its processors do
        ("slowest", "f8"),  # of its GPUs, times an H100's time; 0: to be worked out
        ("power", "i4"),
        ("cooling", "i4"),
        ("nvlink", "i4"),
        ("nics", "i1"),
        ("nic_bytes_per_s", "f4"),
        ("frailty", "f4"),  # times the usual fault rate
        ("age_s", "f8"),  # of its components when the world began
        ("inlet_base", "f4"),
        ("slowness", "f4", _G),  # a GPU's step time over the fastest's, 1 to about 1.02
        ("resistance", "f4", _G),  # degC per watt, own
        # service
        ("up", "b1"),
        ("hold", "i1"),
        ("pool", "b1"),  # kept for swaps
        ("repair", "b1"),  # a crew works on it
        ("use", "i1"),  # what its GPUs that no job holds are counted as
        ("group", "i2"),
        ("version", "i4"),
        ("since_s", "f8"),
        ("faults", "i4"),  # open ones
        ("known", "i4"),  # open ones that the site knows of
        ("fault", "i4"),  # the first of its own open ones (chained by ``next``), NONE
        ("heeded", "i2"),  # what of its service its faults have been told
        ("booting", "b1"),
        ("boots", "i4"),  # so far; an UP of an earlier one is void
        ("look_s", "f8"),  # when its faults are looked at again, as a job should run by then
        ("shut", "u1", _G),  # by its own heat
        # out by the agent's hand
        ("back", "i1"),  # a Back: when it is returned
        ("crewed", "b1"),  # a crew has had work on it since
        ("order", "i4"),  # row of ``orders`` that took it out
        ("out_s", "f8"),  # since when it is out, or when its reboot was ordered
        ("acted_s", "f8"),  # when it was last disturbed: taken out, moved off or rebooted
        ("taken_s", "f8", (TAKEN,)),  # when plans took it out, the newest first
        ("promised", "b1"),  # a plan under way is to put it into a job
        ("blamed", "f8"),  # incidents that blamed it first, halved each 7 days, as of
        ("blamed_s", "f8"),
        # what shows of a fault to come
        ("warn", "i1"),  # an Effect, NONE
        ("warn_class", "i2"),
        ("warn_gpu", "i1"),
        ("warn_share", "f4"),  # of its full size
        ("warn_s", "f8"),  # since when
        ("warned", "i4"),  # the incident about it, from 1; 0: none
        # who has it
        ("job", "i4", _G),  # the job each GPU is given to, NONE
        ("free", "i1"),  # GPUs given to nobody
        ("rank", "i4"),  # first rank on it of such a job
        ("held_by", "i4"),  # the job of GPU 0 .. for whole nodes; the newest otherwise, NONE
        ("bucket", "i1"),  # list of ``buckets`` that it is in, NONE
        ("bucket_next", "i4"),
        ("bucket_prev", "i4"),
        # condition
        ("alive", "u1", _G),
        ("slow", "f4", _G),  # times longer, by faults; 1: none
        ("driver", "i2"),  # 0 is the good one
        ("pinned", "b1"),  # it was booted with the good driver after a bad roll-out was stopped
        ("cap", "f4"),  # clocks are held to this share by power, 1: free
        ("limit", "f4"),  # and to this one by order, 0: free
        ("power_limit", "f4"),  # watts that a GPU may draw by order, 0: its board's own
        ("load", "i1"),
        ("clock", "f4", _G),
        ("celsius", "f4", _G),
        ("goal", "f4", _G),
        ("watts", "f4"),  # that its GPUs draw in all
        ("moved_s", "f8"),  # when celsius, inlet, memory and scratch below were true
        ("inlet", "f4"),
        ("inlet_goal", "f4"),
        ("heat", "f4"),  # times its resistance
        ("memory", "f8"),
        ("memory_slope", "f8"),
        ("scratch", "f8"),
        ("scratch_slope", "f8"),
        # counters and telltales
        ("oom_kills", "i4"),
        ("xid", "i2", _G),
        ("uncorrected", "i4", _G),
        ("ecc_rate", "f4", _G),  # corrected errors a second
        ("ecc_count", "f8", _G),
        ("remap_pending", "u1", _G),
        ("remap_failed", "u1", _G),
        ("replays", "f4"),  # PCIe replays a second
        ("replay_count", "f8"),
        ("link_errors", "f4"),  # NVLink errors a second
        ("link_count", "f8"),
        # its exporter
        ("silent", "b1"),
        ("stale_s", "f8"),  # readings repeat those of this time; inf: they are fresh
        ("skew_s", "f4"),
    ],
    align=True,
)

# What readings need of a node, true from ``start_s`` on; a node's rows follow one another.
NODE_LOG = np.dtype(
    [
        ("entity", "i4"),
        ("start_s", "f8"),
        ("before", "i8"),  # the node's row before this one, NONE
        ("up", "b1"),
        ("load", "i1"),
        ("job", "i4", _G),
        ("number", "i8", _G),  # of that job, which tells apart those that had its slot
        ("kind", "i1", _G),  # of that job
        ("own", "u1", _G),  # it is one of the scenario's own, which has rows in ``job_log``
        ("rank", "i4"),
        ("network", "f4"),
        ("host", "f4"),
        ("driver", "i2"),
        ("inlet", "f4"),
        ("inlet_goal", "f4"),
        ("celsius", "f4", _G),
        ("goal", "f4", _G),
        ("clock", "f4", _G),
        ("slow", "f4", _G),
        ("alive", "u1", _G),
        ("memory", "f8"),
        ("memory_slope", "f8"),
        ("scratch", "f8"),
        ("scratch_slope", "f8"),
        ("oom_kills", "i4"),
        ("xid", "i2", _G),
        ("uncorrected", "i4", _G),
        ("ecc_rate", "f4", _G),
        ("ecc_count", "f8", _G),
        ("remap_pending", "u1", _G),
        ("remap_failed", "u1", _G),
        ("replays", "f4"),
        ("replay_count", "f8"),
        ("link_errors", "f4"),
        ("link_count", "f8"),
        ("silent", "b1"),
        ("stale_s", "f8"),
        ("skew_s", "f4"),
    ],
    align=True,
)
