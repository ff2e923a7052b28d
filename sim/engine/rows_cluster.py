"""Rows of what a cluster has one of, of its domains, of what happens and of what is said."""

import numpy as np

from sim.engine.words import Loss, Scope, Use

ACTS = 64  # steps whose times are kept: no bound on actions an hour may be higher

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
        ("orders_n", "i8"),
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
        ("energy_j", "f8"),  # that GPUs drew since the world began, each node's up to ``moved_s``
        ("storage_demand", "f8"),  # bytes/s that running jobs read, if nothing slows them
        ("storage_factor", "f8"),  # share of the storage's bandwidth that is there
        ("load_factor", "f8"),  # times the usual request rate
        ("domains_at", "i4", (len(Scope),)),  # first row of each scope in ``domains``, NONE
        ("touches", "i8"),  # changes so far that each job must heed once
        # what was decided about incidents, and what came of it (``sim.engine.decisions``)
        ("out", "i4"),  # nodes out by the agent's hand, and by others'
        ("kept", "i4"),
        ("open_n", "i4"),  # incidents open now
        ("incidents", "i4"),  # opened since the start
        ("false_incidents", "i4"),  # of these, about nothing
        ("closed", "i4"),
        ("idle_closed", "i4"),  # closed though nothing was done about them
        ("pages", "i4"),
        ("drains", "i4"),  # nodes taken out
        ("wrong_drains", "i4"),  # on which no fault of the node or a GPU was open
        ("recovered", "i4"),  # incidents about a fault that are over
        ("recovered_s", "f8"),  # sum of their times
        ("repairs", "i4"),  # nodes that came back after a crew had work on them
        ("repairs_s", "f8"),  # sum of the times that they were out
        ("boots", "i4"),  # nodes that came back after a reboot by order
        ("boots_s", "f8"),
        ("acts", "i8"),  # steps of plans ordered so far
        ("acts_due", "i8"),  # and those that plans under way may still order
        ("acts_s", "f8", (ACTS,)),  # when the last ones were, in turn
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
        ("people_s", "f8"),  # mean time from a page until a person has mended it
        ("validate_s", "f8"),  # a node in which nothing is found passes its checks
        ("repair_scale", "f8"),  # times a crew's work
        ("notice_scale", "f8"),  # times the delays of detection
        ("warn_recall", "f4"),  # share of precursors for which an incident is opened
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
