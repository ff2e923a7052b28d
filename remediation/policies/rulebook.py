"""The runbook: the vendors' recommended actions and an escalation ladder, as one pure function.

What a fault is called does not matter here, only what ends it (``remediation.deciding.remedies``):

- nothing is likely broken, and the job makes its steps: nothing is done
- a crash or hang that a restart ends: the job is restarted, so often and no more
- hardware: the node goes and a spare comes (the driver's advice after Xid 79, 48, 95, 119: drain
  it, reset or reboot it, have it serviced where that does not help); where a reset is likely to
  mend it, it comes back at once; without a spare the job goes on smaller, waits for the reboot, or
  takes a node of a job that matters less
- slowness: of hardware, that; any other is given time to pass, as most does (FALCON), and where it
  stays, a node half as likely broken goes too
- a warning: the job saves its state, and leaves the node before it fails
- a bad state, a setting, something only people can mend: back to an older checkpoint; the knob; a
  page; so, too, where nobody knows what it is, it stays, and the job's steps are in vain perhaps
- nothing of this helped so often: a page, and a start whenever one is allowed until somebody comes

The functions are plain enough to be compiled as they stand (``remediation.policies.compiled``).
"""

from collections.abc import Sequence
from enum import IntEnum

from core.choice import Choice
from core.situation import Bools, Fact
from core.types import Floats
from remediation.deciding.chooser import Moment
from remediation.policies.knobs import Knob, usual
from remediation.policies.tuned import tuned


class K(IntEnum):
    """Places of the knobs, in the order of ``KNOBS``."""

    QUIET = 0
    TRANSIENT = 1
    RESTARTS = 2
    MOVES = 3
    BLAMED = 4
    SECOND = 5
    SLOW = 6
    CRAWL = 7
    PATIENCE_S = 8
    HARDWARE = 9
    REPAIRABLE = 10
    LEMON = 11
    WARNED = 12
    UNSAVED_S = 13
    PEOPLE = 14
    SETTING = 15
    ROLL_BACK = 16
    KEPT_SPARES = 17
    COOLING_S = 18
    UNKNOWN = 19


KNOBS: Sequence[Knob] = (
    Knob("quiet", 0.5, 0.1, 0.95, "nothing is done where no fault is at least this likely"),
    Knob("transient", 0.5, 0.1, 0.95, "a restart is tried where it ends it this likely (Unicron)"),
    Knob(
        "restarts",
        2,
        0,
        4,
        "restarts before anything else (gpud: two reboots an Xid)",
        unit="starts",
    ),
    Knob(
        "moves",
        3,
        1,
        6,
        "nodes taken away before a page (DLRover relaunches a worker 3 times)",
        unit="nodes",
    ),
    Knob("blamed", 0.5, 0.1, 0.95, "a node goes where the fault lies on it this likely"),
    Knob("second", 0.3, 0.05, 0.5, "a second node goes with it where this likely (assumed)"),
    Knob("slow", 0.9, 0.5, 0.99, "share of its speed below which a job is slow (FALCON: 10 %)"),
    Knob("crawl", 0.3, 0.05, 0.7, "share of its speed below which it might as well stand still"),
    Knob(
        "patience_s",
        600,
        60,
        14_400,
        "slowness and the unknown have so long to pass (FALCON)",
        True,
    ),
    Knob("hardware", 0.5, 0.1, 0.95, "a running job leaves a node this likely broken"),
    Knob("repairable", 0.5, 0.05, 1.0, "share of broken nodes that a reset mends, to try one"),
    Knob(
        "lemon",
        3,
        0.5,
        20,
        "earlier incidents of a node that is not trusted again",
        True,
        unit="incidents",
    ),
    Knob("warned", 0.5, 0.05, 1.0, "a warning is heeded that comes true this likely"),
    Knob("unsaved_s", 300, 30, 3_600, "work that is worth a checkpoint at a warning", True),
    Knob("people", 0.4, 0.1, 1.0, "a person is paged where only people end it this likely"),
    Knob("setting", 0.2, 0.1, 1.0, "a knob is turned where that ends it this likely"),
    Knob("roll_back", 0.3, 0.1, 0.4, "an older checkpoint is taken where that ends it this likely"),
    Knob(
        "kept_spares", 0, 0, 2, "spares and free nodes kept for jobs that stand still", unit="nodes"
    ),
    Knob("cooling_s", 600, 0, 3_600, "a job that stands waits so long for a restart to be allowed"),
    Knob("unknown", 0.7, 0.3, 1.0, "a person is paged where what stays is unknown this likely"),
)


def recommend(facts: Floats, open: Bools, knobs: Floats) -> int:
    """Return the runbook's ``Choice`` for a situation; it is always an open one.

    facts: (len(Fact),), open: (len(Choice),), knobs: (len(K),)
    """
    tried = facts[Fact.RESTARTS_TRIED] + facts[Fact.MOVES_TRIED]
    calm = facts[Fact.NO_FAULT] >= knobs[K.QUIET]
    stands = facts[Fact.JOB_STOPPED] > 0
    runs = facts[Fact.JOB_RUNS] > 0
    if facts[Fact.JOB_STARTS] > 0:
        return Choice.WAIT.value
    if runs and facts[Fact.PACE] < knobs[K.CRAWL]:
        stands = facts[Fact.AGE_S] >= knobs[K.PATIENCE_S] or not calm
    if tried > 0 and tried >= knobs[K.RESTARTS] + knobs[K.MOVES] and open[Choice.ESCALATE]:
        choice = Choice.ESCALATE.value
    elif _goes_back(facts, open, knobs):
        choice = Choice.ROLL_BACK.value
    elif stands:
        choice = _mend(facts, open, knobs)
    elif calm:
        choice = Choice.WAIT.value
    elif runs and facts[Fact.PACE] < knobs[K.SLOW]:
        choice = _speed_up(facts, open, knobs)
    else:
        choice = _heed(facts, open, knobs)
    return choice


def _goes_back(facts: Floats, open: Bools, knobs: Floats) -> bool:
    """Say whether the job's state is bad: every step that it makes is in vain."""
    fresh = facts[Fact.RESTARTS_TRIED] < knobs[K.RESTARTS]
    bad = facts[Fact.ROLL_BACK] >= knobs[K.ROLL_BACK]
    return bool(fresh and bad and open[Choice.ROLL_BACK])


def _mend(facts: Floats, open: Bools, knobs: Floats) -> int:
    """Choose for a job that stands still."""
    fresh = facts[Fact.RESTARTS_TRIED] < knobs[K.RESTARTS]
    broken = facts[Fact.REPLACE] + facts[Fact.REBOOT]
    passing = facts[Fact.RESTART] + facts[Fact.TIME]
    gone = facts[Fact.NODE_OUT] > 0 or facts[Fact.NODE_DOWN] > 0
    blamed = facts[Fact.NODE_BLAMED] >= knobs[K.BLAMED]
    lemon = blamed and facts[Fact.NODE_INCIDENTS] >= knobs[K.LEMON]
    leaves = open[Choice.SWAP] or open[Choice.SHRINK] or open[Choice.BORROW]
    suspect = facts[Fact.NODE_BLAMED] > 0 and facts[Fact.MOVES_TRIED] < knobs[K.MOVES]
    restarts = fresh and open[Choice.RESTART]
    if gone and leaves:
        choice = _take_out(facts, open, knobs)
    elif fresh and open[Choice.TUNE] and facts[Fact.TUNE] >= knobs[K.SETTING]:
        choice = Choice.TUNE.value
    elif open[Choice.ESCALATE] and facts[Fact.PEOPLE] >= knobs[K.PEOPLE]:
        choice = Choice.ESCALATE.value
    elif gone or lemon or (blamed and broken > passing):
        choice = _take_out(facts, open, knobs)
    elif restarts and (passing >= knobs[K.TRANSIENT] or not blamed):
        choice = Choice.RESTART.value
    elif fresh and passing >= knobs[K.TRANSIENT] and facts[Fact.PHASE_S] < knobs[K.COOLING_S]:
        choice = Choice.WAIT.value
    elif suspect:
        choice = _take_out(facts, open, knobs)
    elif restarts:
        choice = Choice.RESTART.value
    elif open[Choice.ESCALATE]:
        choice = Choice.ESCALATE.value
    else:
        choice = Choice.RESTART.value if open[Choice.RESTART] else Choice.WAIT.value
    return choice


def _take_out(facts: Floats, open: Bools, knobs: Floats) -> int:
    """Choose how a job that stands still gets rid of a node, best way first."""
    ready = facts[Fact.SPARES] + facts[Fact.FREE_NODES]
    both = facts[Fact.OTHER_BLAMED] >= knobs[K.SECOND] and ready >= 2
    resets = _resets(facts, knobs)
    if both and open[Choice.SWAP_BOTH]:
        choice = Choice.SWAP_BOTH.value
    elif resets and open[Choice.SWAP_AND_REPAIR]:
        choice = Choice.SWAP_AND_REPAIR.value
    elif open[Choice.SWAP]:
        choice = Choice.SWAP.value
    elif open[Choice.SHRINK]:
        choice = Choice.SHRINK.value
    elif open[Choice.BORROW]:
        choice = Choice.BORROW.value
    elif resets and open[Choice.REBOOT]:
        choice = Choice.REBOOT.value
    elif open[Choice.RESTART] and facts[Fact.RESTARTS_TRIED] < knobs[K.RESTARTS]:
        choice = Choice.RESTART.value
    elif open[Choice.ESCALATE]:
        choice = Choice.ESCALATE.value
    else:
        choice = Choice.REBOOT.value if open[Choice.REBOOT] else Choice.WAIT.value
    return choice


def _needs_people(facts: Floats, open: Bools, knobs: Floats) -> bool:
    """Say whether a job that makes steps has what only people end, or what nobody knows stays."""
    stays = facts[Fact.AGE_S] >= knobs[K.PATIENCE_S]
    unknown = stays and facts[Fact.UNKNOWN] >= knobs[K.UNKNOWN]
    return bool(open[Choice.ESCALATE] and (unknown or facts[Fact.PEOPLE] >= knobs[K.PEOPLE]))


def _resets(facts: Floats, knobs: Floats) -> bool:
    """Say whether a reboot is likely to mend the node, and it has not been in trouble too often."""
    broken = facts[Fact.REPLACE] + facts[Fact.REBOOT]
    if facts[Fact.NODE_INCIDENTS] >= knobs[K.LEMON] or broken <= 0:
        return False
    return bool(facts[Fact.REBOOT] >= knobs[K.REPAIRABLE] * broken)


def _speed_up(facts: Floats, open: Bools, knobs: Floats) -> int:
    """Choose for a job that is slow, but makes steps: nothing that it would not outlast."""
    broken = facts[Fact.REPLACE] + facts[Fact.REBOOT]
    fresh = facts[Fact.RESTARTS_TRIED] < knobs[K.RESTARTS]
    stays = facts[Fact.AGE_S] >= knobs[K.PATIENCE_S]
    if fresh and open[Choice.TUNE] and facts[Fact.TUNE] >= knobs[K.SETTING]:
        choice = Choice.TUNE.value
    elif _needs_people(facts, open, knobs):
        choice = Choice.ESCALATE.value
    elif broken >= knobs[K.HARDWARE] or (stays and broken >= knobs[K.HARDWARE] / 2):
        choice = _leave(facts, open, knobs)
    elif stays and fresh and open[Choice.RESTART] and facts[Fact.RESTART] >= knobs[K.TRANSIENT]:
        choice = Choice.RESTART.value
    else:
        choice = Choice.WAIT.value
    return choice


def _leave(facts: Floats, open: Bools, knobs: Floats) -> int:
    """Choose how a job that makes steps leaves a node: only where it gains by it."""
    if facts[Fact.NODE_BLAMED] < knobs[K.BLAMED] or facts[Fact.MOVES_TRIED] >= knobs[K.MOVES]:
        return Choice.WAIT.value
    if facts[Fact.SPARES] + facts[Fact.FREE_NODES] > knobs[K.KEPT_SPARES]:
        if _resets(facts, knobs) and open[Choice.SWAP_AND_REPAIR]:
            return Choice.SWAP_AND_REPAIR.value
        if open[Choice.SWAP]:
            return Choice.SWAP.value
    without = 1.0 - 1.0 / max(1.0, facts[Fact.JOB_NODES])
    if open[Choice.SHRINK] and facts[Fact.PACE] < without:
        return Choice.SHRINK.value
    return Choice.WAIT.value


def _heed(facts: Floats, open: Bools, knobs: Floats) -> int:
    """Choose for a job at its usual speed, or a node without one, that something is said about."""
    warned = facts[Fact.BREACH] >= knobs[K.WARNED]
    idle = facts[Fact.JOB_RUNS] == 0
    if facts[Fact.REPLACE] + facts[Fact.REBOOT] >= knobs[K.HARDWARE]:
        away = _leave(facts, open, knobs)
        if idle and away == Choice.WAIT.value and open[Choice.SWAP]:
            away = Choice.SWAP.value
        if away != Choice.WAIT.value:
            return away
    fresh = facts[Fact.RESTARTS_TRIED] < knobs[K.RESTARTS]
    if fresh and open[Choice.TUNE] and facts[Fact.TUNE] >= knobs[K.SETTING]:
        return Choice.TUNE.value
    if _needs_people(facts, open, knobs):
        return Choice.ESCALATE.value
    if fresh and warned and open[Choice.RESTART] and facts[Fact.RESTART] >= knobs[K.TRANSIENT]:
        return Choice.RESTART.value
    if warned and open[Choice.CHECKPOINT] and facts[Fact.UNSAVED_S] >= knobs[K.UNSAVED_S]:
        return Choice.CHECKPOINT.value
    return Choice.WAIT.value


# All of it, each after those that it calls.
PARTS = (
    _resets,
    _take_out,
    _leave,
    _goes_back,
    _needs_people,
    _mend,
    _speed_up,
    _heed,
    recommend,
)


class Runbook:
    """The runbook as a chooser; without knobs of its own, published practice."""

    version = "3"

    def __init__(self, knobs: Floats | None = None, *, name: str = "runbook") -> None:
        """Keep the knobs: (len(K),) in the order of ``KNOBS``."""
        self.name = name
        self._knobs = usual(KNOBS) if knobs is None else knobs

    @classmethod
    def tuned(cls, *, name: str = "tuned_runbook") -> "Runbook":
        """Return the runbook with the knobs that the search found."""
        return cls(tuned("runbook", KNOBS), name=name)

    def choose(self, moment: Moment) -> Choice:
        """Return what to do about the incident now."""
        now = moment.situation
        return Choice(recommend(now.facts, now.open, self._knobs))
