"""Rows of faults: their classes, planned ones, those that came, and what is noticed of them."""

import numpy as np

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
        ("unwatched", "b1"),  # the collective's own timeout does not end that
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
        ("stopped", "b1"),  # a roll-out that goes no further
        ("noticed_s", "f8"),  # by the surrogate; nan
        ("interrupted", "i4"),  # jobs it has stopped
        ("warned_s", "f8"),  # when its precursor began; nan: none
    ],
    align=True,
)

# What the surrogate of detection and diagnosis says: an incident that wants a decision.
TROUBLE = np.dtype(
    [
        ("fault", "i4"),  # NONE: a false alarm
        ("warning", "b1"),  # it is about a fault that may come
        ("number", "i8"),  # of the job, which tells apart those that had its slot
        ("node", "i4"),  # blamed first
        ("gpu", "i1"),
        ("job", "i4"),
        ("cause", "i2"),
        ("probability", "f4"),
        ("placed", "b1"),  # the first cause is one of the node; else of the job or a domain
        ("other_node", "i4"),
        ("other_cause", "i2"),
        ("other_probability", "f4"),
        ("other_placed", "b1"),
        ("persistent", "f4"),  # probability, as told, that no restart ends it, nor time
        ("no_fault", "f4"),  # probability, as told, that nothing is broken
        ("opened_s", "f8"),
        ("blamed_s", "f8"),  # when ``node`` was blamed first
        ("due_s", "f8"),
        ("looks", "i4"),
        ("open", "b1"),
        ("busy", "b1"),  # a plan is under way; its next step is looked at when it is due
        # what was tried for it
        ("restarts", "i2"),
        ("moves", "i2"),
        ("tried_s", "f8"),  # when the last of either was ordered; -inf: never
        ("paged", "b1"),  # a person was, and when the last comes to mend it; inf: nobody does
        ("person_s", "f8"),
        # the plan, where compiled code carries it out (``sim.engine.steps``)
        ("choice", "i1"),
        ("stage", "i1"),
        ("ordered", "b1"),
        ("ordered_s", "f8"),
        ("save", "b1"),  # it begins with a checkpoint
        ("at", "i4"),  # node that it is about
        ("beside", "i4"),  # the second node of SWAP_BOTH, NONE
        ("spare", "i4"),  # node that takes its place, and the second's
        ("spare_beside", "i4"),
        ("lender", "i4"),  # job that lends a node, NONE
        ("subject", "i4"),  # job that it stops or saves, and its number
        ("subject_number", "i8"),
        ("acts_due", "i4"),  # actions that may still be ordered
        ("order", "i4"),  # its row in ``orders``
    ],
    align=True,
)

# What was decided, waiting left out, and whether its effect showed: what audits read.
ORDER = np.dtype(
    [
        ("time_s", "f8"),
        ("ended_s", "f8"),  # when its plan ended; nan: it has not
        ("trouble", "i4"),
        ("choice", "i1"),
        ("node", "i4"),  # that it is about
        ("other", "i4"),  # the second of SWAP_BOTH, NONE
        ("put", "i4"),  # the node put in its place, NONE
        ("job", "i8"),  # number of the job that it is about, NONE
        ("taken", "i1"),  # how many nodes it took out of service
        ("back_s", "f8"),  # when ``node`` was in service again, and ``other``; inf: it is not
        ("other_back_s", "f8"),
        ("out", "i2"),  # nodes out by our hand once it had been ordered
        ("rack", "i2"),  # of them in the rack of ``node``, and under its leaf
        ("leaf", "i2"),
        ("spares", "i4"),  # spares ready once it had started the job anew
        ("unsaved_gpu_s", "f8"),  # work of a stepping job that its stop lost
        ("save", "b1"),  # saving it was tried first
        ("knob", "i1"),  # that was turned: ``sim.engine.terms.Knob``
        ("also_put", "i4"),  # the node put in the place of ``other``, NONE
        ("gpus", "i4"),  # of the job that it stops
        ("stood", "b1"),  # that job stood or hung already
        # what was said of the cause: the likeliest, and of the fault's lying on ``node``, ``other``
        ("probability", "f4"),
        ("blamed", "f4"),
        ("other_blamed", "f4"),
        ("priority", "i4"),  # of the job, and the highest and lowest of all then
        ("highest", "i4"),
        ("lowest", "i4"),
        ("worked", "b1"),
    ],
    align=True,
)
