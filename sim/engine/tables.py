"""The tables of a simulated cluster: everything that changes in a world, and nothing else.

A table is a structured array; a world is a named tuple of them. An event is a row of ``heap``. So
a fork is a copy of arrays, a saved world is the arrays in a file, and compiled code reads and
writes both. Times are seconds since the epoch, in whole 1/1024 s: sums of GPU-seconds are exact.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.words import GPUS, Loss, Scope, Use

Table = NDArray[Any]
_G = (GPUS,)

CORE = np.dtype(
    [
        ("seed", "u8"),
        ("now_s", "f8"),
        ("start_s", "f8"),  # when the agent starts; goodput is counted from here
        ("began_s", "f8"),  # when the world began: start less its history
        ("seq", "i8"),
        ("heap_n", "i8"),
        ("handled", "i8"),
        ("jobs_n", "i8"),  # slots of ``jobs`` ever used
        ("jobs_free", "i8"),  # slots given back, and the first of them (chained by ``first``)
        ("job_spare", "i4"),
        ("submitted", "i8"),
        ("done_n", "i8"),
        ("queue_n", "i8"),
        ("faults_n", "i8"),
        ("said_n", "i8"),
        ("node_log_n", "i8"),
        ("job_log_n", "i8"),
        ("service_log_n", "i8"),
        ("troubles_n", "i8"),
        ("goodput_log_n", "i8"),
        ("short", "i4"),  # which table had no room left: the caller makes room and goes on
        ("stop", "b1"),  # a decision is due: ``advance`` returns
        ("decision", "i4"),  # the trouble that it is about
        ("pulse", "b1"),  # the queue's next look is on the heap already
        ("holder", "i4"),  # first of the jobs that have GPUs, NONE
        ("free_nodes", "i8"),  # ready, no spares, given to nobody
        ("shrunk", "i8"),  # elastic jobs that run on fewer GPUs than they asked for
        ("reserved_job", "i4"),  # first in the queue, for which room is kept; NONE
        ("reserved_s", "f8"),  # when it should have room at the latest, as known ends go
        ("reserved_spare", "i8"),  # nodes that are free then beside those it needs
        ("reserved_look_s", "f8"),  # when that is worked out anew
        ("keep", "b1"),  # rows are kept, so that readings of the past can be made
        ("said", "b1"),  # events are kept
        ("use_s", "f8", (len(Use),)),  # GPU-seconds since the world began, by ``Use``
        ("use_gpus", "i8", (len(Use),)),  # GPUs in each use now
        ("use_since_s", "f8"),
        ("good_gpu_s", "f8"),  # of jobs that have ended; the others' is in their rows
        ("lost_gpu_s", "f8", (len(Loss),)),
        ("held_gpu_s", "f8"),
        ("asked_gpu_s", "f8"),  # from first start to end, of jobs whose slot was given back
        ("interruptions", "i8"),  # of running jobs by faults
        ("completed", "i8"),
        ("storage_demand", "f8"),  # bytes/s that running jobs read, if nothing slows them
        ("storage_factor", "f8"),  # share of the storage's bandwidth that is there
        ("load_factor", "f8"),  # times the usual request rate
        ("domains_at", "i4", (len(Scope),)),  # first row of each scope in ``domains``, NONE
        ("touches", "i8"),  # changes so far that each job must heed once
    ],
    align=True,
)

SITE = np.dtype(
    [
        # what the site does by itself, without gpumedic
        ("requeue", "b1"),  # a failed job goes back into the queue
        ("requeue_s", "f8"),  # detect and decide, before it is queued again
        ("hang_timeout_s", "f8"),  # the collective's own timeout; a hang is a failure then
        ("drain", "b1"),  # a node whose fault is known is taken out and repaired
        ("check_s", "f8"),  # period of health checks; 0: none
        ("check_recall", "f4"),  # share of silent faults a check finds
        ("backfill", "i4"),  # jobs looked at behind the first that does not fit
        ("preempt_after_s", "f8"),  # a job that has run this long may be preempted; inf: never
        ("restart_s", "f8"),  # a restart's fixed part and its part for each GPU
        ("restart_s_per_gpu", "f8"),
        ("fresh_node_s", "f8"),  # more with a node that is new to the job
        ("restart_spread", "f4"),  # uniform, as a ratio
        ("exact_restart", "b1"),
        ("reboot_lo_s", "f8"),
        ("reboot_hi_s", "f8"),
        ("surrogate", "b1"),  # faults are noticed by drawn delays and ``advance`` stops there
        ("blame", "f4"),  # share of diagnoses that name the true cause first
        ("false_alarms", "f8"),  # a day, whole cluster
        ("order_delay_s", "f8"),  # an actuator's latency
        ("order_failure", "f4"),  # share of orders that fail though they could be done
        ("horizon_s", "f8"),  # drawn faults come up to here; a later WINDOW draws on
        ("storage_bytes_per_s", "f8"),
        ("ambient_celsius", "f8"),  # beyond the usual
        ("frailty", "f4"),  # variance of the gamma frailty; 0: all nodes alike
        ("mix_per_day", "f8"),  # jobs submitted a day, from ``mix``
        ("mix_daily", "f4"),  # depth of the daily pattern, 0 to 1
        ("mix_weekly", "f4"),  # depth of the weekend's
    ],
    align=True,
)

HEAP = np.dtype(
    [
        ("time_s", "f8"),
        ("seq", "i8"),
        ("kind", "i4"),
        ("a", "i4"),
        ("b", "i4"),
        ("version", "i4"),  # of the job or node at scheduling; another: the event is void
    ],
    align=True,
)

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
        ("back_s", "f8"),  # when the crew is done
        ("look_s", "f8"),  # when its faults are looked at again, as a job should run by then
        ("shut", "u1", _G),  # by its own heat
        # what shows of a fault to come
        ("warn", "i1"),  # an Effect, NONE
        ("warn_class", "i2"),
        ("warn_gpu", "i1"),
        ("warn_share", "f4"),  # of its full size
        ("warn_s", "f8"),  # since when
        # who has it
        ("job", "i4", _G),  # the job each GPU is given to, NONE
        ("free", "i1"),  # GPUs given to nobody
        ("next", "i4"),  # in a job of several nodes: the next in rank order, NONE
        ("rank", "i4"),  # first rank on it of such a job
        ("held_by", "i4"),  # the job of GPU 0 .. for whole nodes; the newest otherwise, NONE
        ("bucket", "i1"),  # list of ``buckets`` that it is in, NONE
        ("bucket_next", "i4"),
        ("bucket_prev", "i4"),
        # condition
        ("alive", "u1", _G),
        ("slow", "f4", _G),  # times longer, by faults; 1: none
        ("network", "f4"),  # share of its bandwidth left
        ("host", "f4"),  # times longer for what its processors do
        ("driver", "i2"),  # 0 is the good one
        ("cap", "f4"),  # clocks are held to this share by order or by power, 1: free
        ("load", "i1"),
        ("clock", "f4", _G),
        ("celsius", "f4", _G),
        ("goal", "f4", _G),
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

JOB = np.dtype(
    [
        # as submitted
        ("number", "i8"),  # how many were submitted before it: its part of every address
        ("kind", "i1"),
        ("spec", "i4"),  # which of the scenario's jobs, or row of ``mix``; NONE of a trace
        ("named", "b1"),  # one of the scenario's own: its readings are kept
        ("gpus", "i4"),
        ("least_gpus", "i4"),  # elastic bounds
        ("most_gpus", "i4"),
        ("unit", "i4"),  # it grows and shrinks by this many: TP x PP
        ("priority", "i4"),
        ("work", "f8"),  # steps it wants; inf: until somebody ends it
        ("ending", "i1"),  # how it ends when the work is done
        ("submit_s", "f8"),
        ("compute_s", "f8"),  # parts of a step on healthy H100s; a pipeline's bubble is in it
        ("data_s", "f8"),  # the data is ready after this, loaders as submitted
        ("collective_s", "f8"),
        ("overlap", "f8"),  # share of computing behind which loading hides
        ("interval_s", "f8"),  # of work between checkpoints
        ("stall_s", "f8"),
        ("save_s", "f8"),
        ("bytes_per_step", "f8"),  # read from shared storage
        ("model", "i2"),  # row of ``models``: measured scaling; NONE: perfect
        ("pipeline", "i2"),  # pipeline stages
        ("micro", "f4"),  # micro-batches of a step through each pipeline, at the size asked for
        ("loaders", "f4"),  # threads, relative to as submitted
        ("batch", "f4"),
        ("cache", "f4"),  # share of reads that a local cache answers
        ("cache_asked", "f4"),  # the same as submitted: what ``data_s`` holds for
        ("demand", "f8"),  # its part of ``core.storage_demand``, whole bytes/s
        ("leak", "i4"),  # open fault that leaks in its processes, NONE
        # service
        ("service", "i4"),  # row of ``services``, NONE
        # where it is
        ("phase", "i1"),
        ("stage", "i1"),
        ("version", "i4"),  # of its processes: ends with them; only grows
        ("turn", "i4"),  # of its pace: FINISHED and CAPTURED of an older one are void
        ("reason", "i1"),
        ("first", "i4"),  # its first node, NONE
        ("last", "i4"),  # its last node, NONE
        ("holder_next", "i4"),  # among the jobs that have GPUs
        ("holder_prev", "i4"),
        ("nodes", "i4"),
        ("given", "i4"),  # GPUs it holds
        ("begun_s", "f8"),  # first start, nan
        ("since_s", "f8"),  # in this phase
        ("ended_s", "f8"),  # nan
        ("restarts", "i4"),
        ("interruptions", "i4"),  # by faults
        ("attempts", "i4"),  # starts that failed in a row
        ("bad", "i4"),  # a fault that must be away before it can run, NONE
        ("struck", "i4"),  # the fault that it hangs or will crash by, NONE
        ("touch", "i8"),  # the last of ``core.touches`` that it heeded
        ("launch_s", "f8"),  # how long the start under way takes, or the last one took
        ("due_s", "f8"),  # when it ends at its pace, inf: not known
        ("fresh", "b1"),
        # progress, true from ``row_s`` on
        ("row_s", "f8"),
        ("step", "f8"),
        ("best_step", "f8"),
        ("step_s", "f8"),  # inf: makes no steps
        ("pace_s", "f8"),  # compute time of the slowest rank
        ("wait_s", "f8"),  # data wait of a step now
        ("net_s", "f8"),  # collective time of a step now
        ("ideal_s", "f8"),  # a step where nothing is slow
        ("ratio", "f8"),  # speed at this size over that at the size asked for, nothing being slow
        ("cycle_s", "f8"),
        ("saved_s", "f8"),
        ("saved_step", "f8"),
        ("captured_s", "f8"),
        ("captured_step", "f8"),
        ("corrupt_step", "f8"),  # steps beyond are worthless (NaN, silent corruption); inf
        # GPU time
        ("counted_s", "f8"),
        ("held_gpu_s", "f8"),
        ("good_gpu_s", "f8"),
        ("lost_gpu_s", "f8", (len(Loss),)),
        ("good_step", "f8"),  # best step that is counted in good_gpu_s
    ],
    align=True,
)

# A generated or replayed job that has ended; its slot in ``jobs`` is used again.
DONE = np.dtype(
    [
        ("number", "i8"),  # how many were submitted before it
        ("submit_s", "f8"),
        ("begun_s", "f8"),
        ("ended_s", "f8"),
        ("gpus", "i4"),
        ("priority", "i4"),
        ("kind", "i1"),
        ("ending", "i1"),
        ("restarts", "i4"),
        ("interruptions", "i4"),
        ("held_gpu_s", "f8"),
        ("good_gpu_s", "f8"),
        ("lost_gpu_s", "f8", (len(Loss),)),
    ],
    align=True,
)

# What readings need of a job, true from ``start_s`` on.
JOB_LOG = np.dtype(
    [
        ("entity", "i4"),
        ("start_s", "f8"),
        ("before", "i8"),  # the job's row before this one, NONE
        ("phase", "i1"),
        ("stage", "i1"),
        ("step", "f8"),
        ("best_step", "f8"),
        ("step_s", "f8"),
        ("pace_s", "f8"),
        ("wait_s", "f8"),
        ("net_s", "f8"),
        ("ideal_s", "f8"),
        ("interval_s", "f8"),
        ("stall_s", "f8"),
        ("save_s", "f8"),
        ("cycle_s", "f8"),
        ("saved_s", "f8"),
        ("saved_step", "f8"),
        ("captured_s", "f8"),
        ("captured_step", "f8"),
        ("corrupt_step", "f8"),
        ("given", "i4"),
        ("restarts", "i4"),
    ],
    align=True,
)

# A kind of generated job: drawn by weight; times are lognormal.
MIX = np.dtype(
    [
        ("weight", "f8"),
        ("kind", "i1"),
        ("gpus", "i4"),
        ("median_s", "f8"),
        ("sigma", "f4"),
        ("longest_s", "f8"),
        ("priority", "i4"),
        ("completes", "f4"),
        ("cancelled", "f4"),  # the rest fails by a user's bug
        ("interval_s", "f8"),
        ("stall_s", "f8"),
        ("save_s", "f8"),
        ("bytes_per_s", "f8"),
    ],
    align=True,
)

TRACE = np.dtype(
    [
        ("submit_s", "f8"),  # after the start
        ("gpus", "i4"),
        ("duration_s", "f8"),
        ("priority", "i4"),
        ("ending", "i1"),
        ("kind", "i1"),
    ],
    align=True,
)

# Measured scaling of a job's step time (Pollux, OSDI'21): see ``sim.engine.scaling``.
MODEL = np.dtype(
    [
        ("alpha_c", "f8"),
        ("beta_c", "f8"),
        ("alpha_n", "f8"),
        ("beta_n", "f8"),
        ("alpha_r", "f8"),
        ("beta_r", "f8"),
        ("gamma", "f8"),
        ("noise", "f8"),  # gradient noise scale v/q at the batch below
        ("batch", "f8"),
        ("local_batch", "f8"),
    ],
    align=True,
)

SERVICE = np.dtype(
    [
        ("job", "i4"),
        ("rate", "f8"),  # requests a second on average
        ("daily", "f4"),
        ("burst", "f4"),  # deviation of a minute's rate
        ("replicas", "i4"),  # wanted
        ("ready", "i4"),
        ("warm_s", "f8"),  # a replica's warm-up
        ("gpus_each", "i4"),
        ("batch", "f4"),  # most requests a batch
        ("batch_s", "f8"),  # of one request, and of each more in its batch
        ("batch_more_s", "f8"),
        ("objective_s", "f8"),
        ("canary", "f4"),  # share of the traffic
        ("canary_slow", "f4"),  # times longer
        ("canary_errors", "f4"),
        ("queue", "f8"),
        ("latency_s", "f8"),  # p99 of the last minute
        ("asked", "f8"),
        ("answered", "f8"),
        ("late", "f8"),
        ("failed", "f8"),
        ("tick_s", "f8"),
        ("surge", "f4"),
        ("good", "f4"),  # share of the last minute's requests answered in time
        ("rate_now", "f8"),  # requests a second in this minute
        ("middle_s", "f8"),  # p50 of the last minute
        ("coming", "i4"),  # replicas that warm up, and when they are ready
        ("warm_at_s", "f8"),
        ("due_s", "f8"),  # its next minute begins; 0: it has not begun
    ],
    align=True,
)

SERVICE_LOG = np.dtype(
    [
        ("entity", "i4"),
        ("start_s", "f8"),
        ("rate", "f4"),
        ("queue", "f4"),
        ("latency_s", "f4"),
        ("middle_s", "f4"),
        ("errors", "f4"),
        ("busy", "f4"),
        ("ready", "i4"),
    ],
    align=True,
)

# A class of fault: what it strikes, how often, what it does, what ends it. From the data file.
FAULT_CLASS = np.dtype(
    [
        ("scope", "i1"),
        ("effect", "i1"),
        ("rate", "f8"),  # a day and unit of its scope; the mean over all units
        ("shape", "f4"),  # Weibull's; 1: exponential
        ("frail", "b1"),  # the node's frailty multiplies its rate
        ("size_lo", "f4"),  # the effect's size, uniform; its meaning is the effect's
        ("size_hi", "f4"),
        ("ramp_s", "f8"),  # from onset to full size; 0: sudden
        ("crash_lo_s", "f8"),  # until the job sees an error; inf: it never does
        ("crash_hi_s", "f8"),
        ("hangs", "b1"),  # its job hangs until then
        ("reason", "i1"),
        ("said", "i2"),  # what the log says at onset, NONE: nothing
        ("code", "i2"),
        ("and_pcie", "f4"),  # share with a PCIe error beside it
        ("seen", "f4"),  # share that the site's checks attribute to the node at once
        ("restart_mends", "f4"),  # share that a restart of the job ends
        ("reboot_mends", "f4"),  # share that a reboot ends
        ("lasts_mu", "f8"),  # ln seconds until it ends by itself or a crew has repaired it
        ("lasts_sigma", "f4"),
        ("lasts_alone", "b1"),  # it ends by itself; else only where a crew works on it
        ("relapses", "f4"),  # share that comes again after repair
        ("relapse_mu", "f8"),
        ("relapse_sigma", "f4"),
        ("spreads", "f4"),  # share that starts others of its kind near it
        ("spread_s", "f8"),  # within this time
        ("spread_most", "i2"),
        ("warns", "f4"),  # share with a precursor
        ("warn_mu", "f8"),  # ln seconds of its lead
        ("warn_sigma", "f4"),
        ("warn_effect", "i1"),  # what the precursor shows: an Effect, NONE
        ("notice_lo_s", "f8"),  # detection delay, for the surrogate; fitted at the level above
        ("notice_hi_s", "f8"),
        ("cause", "i2"),  # index of what a diagnosis calls it
    ],
    align=True,
)

# A fault of the scenario that comes at its time, whatever is done.
PLANNED = np.dtype(
    [
        ("class", "i2"),
        ("entity", "i4"),  # of the class's scope
        ("gpu", "i1"),  # NONE: drawn
        ("onset_s", "f8"),  # epoch
        ("lasts_s", "f8"),  # inf: nobody comes
        ("severity", "f4"),
    ],
    align=True,
)

# Ground truth: what broke, where and when.
FAULT = np.dtype(
    [
        ("class", "i2"),
        ("entity", "i4"),
        ("node", "i4"),  # NONE where it is no node's
        ("gpu", "i1"),
        ("job", "i4"),  # the first that it touched: its slot then, NONE
        ("number", "i8"),  # that job's number, NONE
        ("home", "i4"),  # node, or row of ``domains``, in whose list of open faults it is
        ("next", "i4"),  # in that list, NONE
        ("share", "f4"),  # of its size that is reached; 0 where a link that flaps is up
        ("phase", "i4"),  # how far its course is
        ("onset_s", "f8"),
        ("mended_s", "f8"),  # nan: still there
        ("severity", "f4"),
        ("size", "f4"),
        ("lasts_s", "f8"),  # planned; the repair's length once it has begun
        ("parent", "i4"),  # the fault that it followed from, NONE
        ("index", "i4"),  # which of its class and entity: by it its random numbers are found
        ("restart_mends", "b1"),
        ("reboot_mends", "b1"),
        ("known", "b1"),  # the site knows
        ("crew", "b1"),  # a crew works on it
        ("noticed_s", "f8"),  # by the surrogate; nan
        ("interrupted", "i4"),  # jobs it has stopped
        ("warned_s", "f8"),  # when its precursor began; nan: none
    ],
    align=True,
)

# Leaves, racks, power and cooling domains, storage: state and members (slice of ``members``). The
# leaves come first: that of a node is row ``leaf``.
DOMAIN = np.dtype(
    [
        ("scope", "i1"),
        ("index", "i4"),
        ("first", "i4"),
        ("count", "i4"),
        ("up", "b1"),
        ("factor", "f4"),  # share of its capacity that is there
        ("free_nodes", "i4"),  # ready, given to nobody (leaves)
        ("fault", "i4"),  # the first of its open ones, NONE
    ],
    align=True,
)

SAID = np.dtype(
    [
        ("time_s", "f8"),
        ("said", "i2"),
        ("code", "i4"),
        ("node", "i4"),
        ("gpu", "i1"),
        ("job", "i4"),
    ],
    align=True,
)

# What the surrogate of detection and diagnosis says: an incident that wants a decision.
TROUBLE = np.dtype(
    [
        ("fault", "i4"),  # NONE: a false alarm
        ("number", "i8"),  # of the job, which tells apart those that had its slot
        ("node", "i4"),  # blamed first
        ("gpu", "i1"),
        ("job", "i4"),
        ("cause", "i2"),
        ("probability", "f4"),
        ("other_node", "i4"),
        ("other_cause", "i2"),
        ("other_probability", "f4"),
        ("opened_s", "f8"),
        ("due_s", "f8"),
        ("looks", "i4"),
        ("open", "b1"),
    ],
    align=True,
)


class _Tables(NamedTuple):
    core: Table
    site: Table
    heap: Table
    types: Table
    nodes: Table
    jobs: Table
    done: Table
    queue: Table  # (Q,) i4 waiting jobs, first to be served first
    buckets: Table  # (GPUS + 1,) i4 first ready node with that many free GPUs; 0: first spare
    mix: Table
    trace: Table
    models: Table
    services: Table
    classes: Table
    planned: Table
    faults: Table
    arrivals: Table  # (entities of the class's scope, classes) f8 next arrival, epoch; inf
    drawn: Table  # the same shape, i4: how many were drawn
    domains: Table
    members: Table  # (M,) i4 nodes of the domains
    said: Table
    troubles: Table
    node_log: Table
    job_log: Table
    service_log: Table
    node_last: Table  # (N,) i8 newest row of each node in node_log
    job_last: Table  # (J,) i8 newest row of each job in job_log, NONE


class Tables(_Tables):
    """All tables of one world; ``core`` and ``site`` have one row.

    Compiled code gets one address for them all (``handle``), not 27 arrays.
    """

    @cached_property
    def book(self) -> Table:
        """(27, 3) i8 where each table is, its rows and its columns; as compiled code reads them."""
        lines = np.zeros((len(self), 3), dtype=np.int64)
        for line, (name, table) in zip(lines, self._asdict().items(), strict=True):
            if table.dtype != SCHEMA[name] or not table.flags.c_contiguous:
                raise TypeError(f"table {name} has rows {table.dtype}, or not one after the other")
            line[:] = (table.ctypes.data, len(table), table.shape[1] if table.ndim == 2 else 1)
        return lines

    @cached_property
    def address(self) -> int:
        """Return where ``book`` is."""
        return int(self.book.ctypes.data)


_I4, _I8, _F8 = np.dtype("i4"), np.dtype("i8"), np.dtype("f8")

# The type of a row of each table. ``arrivals`` and ``drawn`` have a column for each fault class.
SCHEMA: Mapping[str, np.dtype[Any]] = {
    "core": CORE,
    "site": SITE,
    "heap": HEAP,
    "types": GPU_TYPE,
    "nodes": NODE,
    "jobs": JOB,
    "done": DONE,
    "queue": _I4,
    "buckets": _I4,
    "mix": MIX,
    "trace": TRACE,
    "models": MODEL,
    "services": SERVICE,
    "classes": FAULT_CLASS,
    "planned": PLANNED,
    "faults": FAULT,
    "arrivals": _F8,
    "drawn": _I4,
    "domains": DOMAIN,
    "members": _I4,
    "said": SAID,
    "troubles": TROUBLE,
    "node_log": NODE_LOG,
    "job_log": JOB_LOG,
    "service_log": SERVICE_LOG,
    "node_last": _I8,
    "job_last": _I8,
}
# Rows of these are never changed once written: a fork shares them.
SHARED = frozenset(
    {"types", "mix", "trace", "models", "classes", "planned", "members"}
    | {"done", "said", "node_log", "job_log", "service_log"}
)
# How many rows of a growing table are in use stands in ``core`` under this name.
USED: Mapping[str, str] = {
    "heap": "heap_n",
    "jobs": "jobs_n",
    "done": "done_n",
    "queue": "queue_n",
    "faults": "faults_n",
    "said": "said_n",
    "troubles": "troubles_n",
    "node_log": "node_log_n",
    "job_log": "job_log_n",
    "service_log": "service_log_n",
}
