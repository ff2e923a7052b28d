"""Rows of jobs: running, ended, their past, kinds of generated and replayed ones, services."""

import numpy as np

from sim.engine.words import Loss

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
        ("accumulate", "f4"),  # batches a step, as many times as submitted
        ("compressed", "b1"),  # gradients are sent compressed
        ("cache", "f4"),  # share of reads that a local cache answers
        ("cache_asked", "f4"),  # the same as submitted: what ``data_s`` holds for
        ("starved", "f4"),  # share of its reads that a fault keeps from any cache, 0: none
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
        ("ordered", "i4"),  # GPUs it was since told to run on; 0: ``gpus``
        ("begun_s", "f8"),  # first start, nan
        ("since_s", "f8"),  # in this phase
        ("ended_s", "f8"),  # nan
        ("restarts", "i4"),
        ("interruptions", "i4"),  # by faults
        ("attempts", "i4"),  # failures in a row, none after a steady run
        ("bad", "i4"),  # a fault that must be away before it can run, NONE
        ("struck", "i4"),  # the fault that it hangs or will crash by, NONE
        ("touch", "i8"),  # the last of ``core.touches`` that it heeded
        ("launch_s", "f8"),  # how long the start under way takes, or the last one took
        ("due_s", "f8"),  # when it ends at its pace, inf: not known
        ("fresh", "b1"),
        # what the agent does with it
        ("troubled", "i4"),  # open incidents about it
        ("paged", "i4"),  # people who are on their way for them
        ("handled", "i4"),  # the incident whose plan is under way, NONE
        ("acted_s", "f8"),  # end of the last plan that restarted it
        ("lent", "i4"),  # nodes that it has lost so and may take from the spares again
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
        ("asked_gpu_s", "f8"),  # what it was to have up to when it was last told another size
        ("sized_s", "f8"),  # when that was
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
        ("cache", "f4"),  # share of the memory that keeps answered prompts
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
