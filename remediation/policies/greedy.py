"""Expected-cost greedy: the open choice that is expected to lose the fewest GPU-seconds.

The cost model, of one choice now, the best one after it should it fail, and the usual course from
there. G are the job's GPUs, one node has g of them; masses are probabilities of what ends the
fault, R is the time of a restart.

- What was tried in vain is less likely: each try takes ``again`` of the mass that it would have
  ended, of no fault and of unknown faults too; what passes by itself and has not yet is less likely
  the older it is; then the masses sum to 1 again.
- A choice *ends*: any that starts the job anew the mass of RESTART, no fault, and TIME and PEOPLE
  as far as those end meanwhile; a reboot in place also REBOOT, and a swap, shrink or loan REBOOT,
  REPLACE and TIME, each as far as the fault lies on the nodes that it is about, and PEOPLE, too,
  where the node takes no jobs; a roll-back, a tuning what their names say, a person ``people_end``
  of all. Of unknown faults a restart ends ``unknown_restart``, and leaving the node
  ``unknown_node`` of the others, as far as the node that is blamed has them.
- It *costs* G times the time that the job stands: R, before it the save where the job runs, a
  reboot. With a person, what the job lacks until one has come, and the page: other choices stay
  open meanwhile, but a page is priced as if they did not, so that a person is called where nothing
  else is likely to help. Of a person who is called already only the time counts.
- What it *does not end* costs the notice of that, ``notice_s``, and the choice that is best then,
  by what is left of the masses; what that does not end either, what it takes: for hardware the
  cheapest open way to leave the node, for people a page or, where less, as long as they take
  unasked, and so on.
- *What ends by itself* lasts ``passes_s`` on average, what people end unasked ``unasked_s``, and
  each as much longer as it is old.
- *A node away* for A seconds takes a spare from faults that come meanwhile: the chance that more
  come than spares are left (Poisson, A times the faults a day times ``needs``), times the wait for
  a node, A / 2 and at most twice a person's time, times G, or g where the job can shrink; times
  ``scarcity``. A job that shrinks lacks g until a node comes back, and starts once more to grow. A
  borrowed node stops a lesser job so long.
- *A node that returns after a reboot* fails again where a reboot does not mend it: ``relapse`` x
  (notice, R, half an interval's work, the swap it should have been).
- *Waiting* costs what the job lacks until the next look, and a crash, should one come; then the
  best choice is still to be made, unless it has passed; where more waiting is cheaper than that, it
  goes on. A job that stands does not start by itself, but what ends meanwhile, or a node that comes
  back, makes its start cheaper.
- *Waiting for a job to cool*: after a try the guards let it rest for half an hour, for five minutes
  where it makes no steps. Then a restart that is closed will be open, surely after a try of this
  incident, else with the probability ``opens``; meanwhile the job lacks what it lacks, and part of
  what ends by itself has ended.
- *A checkpoint* is waiting with its stall, and without the lost work should the job crash.
- A job at its speed under a fault that does not pass crashes in ``brews_s`` on average, or within
  half an hour with the probability of its warning.
"""

import math
from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from core.choice import Choice
from core.situation import Bools, Fact, Remedy
from core.types import Floats
from remediation.deciding.chooser import Moment
from remediation.policies.knobs import Knob, usual
from remediation.policies.tuned import tuned


class G(IntEnum):
    """Places of the weights, in the order of ``WEIGHTS``."""

    AGAIN = 0
    UNKNOWN_RESTART = 1
    UNKNOWN_NODE = 2
    PASSES_S = 3
    NOTICE_S = 4
    BREWS_S = 5
    NEEDS = 6
    SCARCITY = 7
    RELAPSE = 8
    LOAN = 9
    PEOPLE_END = 10
    OPENS = 11
    UNASKED_S = 12


WEIGHTS: Sequence[Knob] = (
    Knob("again", 0.7, 0.1, 0.99, "how much a try in vain speaks against its remedy (assumed)"),
    Knob("unknown_restart", 0.73, 0.05, 0.95, "unknown faults that a restart ends (Unicron)"),
    Knob("unknown_node", 0.5, 0.05, 0.95, "of the others, those on a node: a new one ends them"),
    Knob("passes_s", 1_800, 300, 28_800, "what passes does so in this time (FALCON)", True),
    Knob("notice_s", 300, 30, 3_600, "a try in vain is noticed so late (assumed)", True),
    Knob("brews_s", 7_200, 600, 172_800, "a fault crashes a job at speed so soon (assumed)", True),
    Knob("needs", 0.5, 0.05, 1.0, "share of faults that need another node (Unicron: 37 %)"),
    Knob("scarcity", 1.0, 0.05, 5.0, "weight of a spare that is missed", True, unit="times"),
    Knob("relapse", 1.0, 0.1, 5.0, "weight of a node that fails again", True, unit="times"),
    Knob("loan", 1.0, 0.1, 5.0, "weight of a job that lends a node", True, unit="times"),
    Knob("people_end", 0.95, 0.5, 1.0, "what people end (assumed)"),
    Knob("opens", 0.5, 0.0, 1.0, "a restart that is closed is open once its job has cooled"),
    Knob("unasked_s", 7_200, 300, 86_400, "people mend it unasked in this time (assumed)", True),
)

LOOK_S = 300.0  # an incident for which nothing was done is looked at again
_COOLS_S = 1800.0  # the guards leave alone for so long what was disturbed (their default)
_BACK_OFF_S = 300.0  # a job that makes no steps is left alone for so long only (the guards)
_WARNED_S = 1800.0  # a warning says what comes within this time
_DAY_S = 86_400.0
_MASSES = len(Remedy) + 2  # UNKNOWN and NO_FAULT stand behind the remedies
_LONGEST_S = 7_200.0  # of work between checkpoints, where a job writes none


def _tries(facts: Floats, weights: Floats, moves: float) -> float:
    """Return what tries in vain leave of a probability; moves: what moves count."""
    tries = facts[Fact.RESTARTS_TRIED] + moves * facts[Fact.MOVES_TRIED]
    return float((1.0 - weights[G.AGAIN]) ** tries)


def _lasts_s(fact: int, facts: Floats, weights: Floats) -> float:
    """Return how long what ends without us is yet to last: the longer the older it is.

    Such times have long tails (Pareto's, of mean residual life scale + age): what has lasted lasts.
    """
    scale_s = weights[G.UNASKED_S] if fact == Fact.PEOPLE else weights[G.PASSES_S]
    return float(scale_s + facts[Fact.AGE_S])


def _mass(fact: int, facts: Floats, weights: Floats) -> float:
    """Return the mass of a remedy, of UNKNOWN or NO_FAULT after what was tried; not divided yet."""
    mass = facts[fact]
    if fact in (Fact.RESTART, Fact.NO_FAULT):
        mass *= _tries(facts, weights, 1.0)
    elif fact in (Fact.REBOOT, Fact.ROLL_BACK, Fact.TUNE):
        mass *= _tries(facts, weights, 0.0)
    elif fact == Fact.TIME:
        mass *= weights[G.PASSES_S] / _lasts_s(fact, facts, weights)
    elif fact == Fact.UNKNOWN:
        restart = weights[G.UNKNOWN_RESTART]
        mass *= restart * _tries(facts, weights, 1.0) + 1.0 - restart
    return float(mass)


def _passed(fact: int, facts: Floats, weights: Floats, within_s: float) -> float:
    return float(1.0 - math.exp(-within_s / _lasts_s(fact, facts, weights)))


def _on(choice: int, facts: Floats) -> float:
    """Return the probability that a fault of a node lies where the choice takes it for."""
    if choice < Choice.REBOOT or choice > Choice.BORROW:
        return 0.0
    blamed = facts[Fact.NODE_BLAMED]
    if choice == Choice.SWAP_BOTH:
        blamed = blamed + facts[Fact.OTHER_BLAMED]
    named = max(1e-9, 1.0 - facts[Fact.UNKNOWN] - facts[Fact.NO_FAULT])
    return float(min(1.0, blamed / named))


def _guess(facts: Floats) -> float:
    """Return the probability that an unknown fault of a node lies on the one that is blamed."""
    return float(max(facts[Fact.NODE_BLAMED], 1.0 / max(1.0, facts[Fact.JOB_NODES])))


def _unknown_ends(choice: int, facts: Floats, weights: Floats) -> float:
    """Return the share of unknown faults that a choice ends which starts the job anew."""
    restart = weights[G.UNKNOWN_RESTART]
    left = restart * _tries(facts, weights, 1.0)
    left = left / (left + 1.0 - restart)
    if choice in (Choice.RESTART, Choice.REBOOT, Choice.ROLL_BACK, Choice.TUNE):
        return float(left)
    return float(left + (1.0 - left) * weights[G.UNKNOWN_NODE] * _guess(facts))


def _ends(fact: int, choice: int, facts: Floats, weights: Floats) -> float:
    """Return the share of a remedy's mass, of UNKNOWN's or NO_FAULT's, that the choice ends."""
    if choice == Choice.ESCALATE:
        return float(weights[G.PEOPLE_END])
    on, share = _on(choice, facts), 0.0
    if fact in (Fact.RESTART, Fact.NO_FAULT):
        share = 1.0
    elif fact == Fact.UNKNOWN:
        share = _unknown_ends(choice, facts, weights)
    elif fact == Fact.REBOOT:
        share = on
    elif fact == Fact.REPLACE:
        share = on if choice != Choice.REBOOT else 0.0
    elif fact in (Fact.TIME, Fact.PEOPLE):
        reboot_s = facts[Fact.REBOOT_S] if choice == Choice.REBOOT else 0.0
        share = _passed(fact, facts, weights, facts[Fact.RESTART_S] + reboot_s)
        left_behind = fact == Fact.TIME or facts[Fact.NODE_OUT] > 0
        share += (1.0 - share) * on if left_behind and choice != Choice.REBOOT else 0.0
    elif fact == Fact.ROLL_BACK:
        share = 1.0 if choice == Choice.ROLL_BACK else 0.0
    elif fact == Fact.TUNE:
        share = 1.0 if choice == Choice.TUNE else 0.0
    return float(share)


def _node_gpus(facts: Floats) -> float:
    return float(facts[Fact.JOB_GPUS] / max(1.0, facts[Fact.JOB_NODES]))


def _back_s(facts: Floats) -> float:
    """Return the time until the next node comes back, should one more be taken out."""
    return float(facts[Fact.REPAIR_S] / (1.0 + facts[Fact.NODES_OUT]))


def _spares(facts: Floats) -> float:
    """Return how many nodes could stand in for others: spares, and nodes without a job."""
    return float(facts[Fact.SPARES] + facts[Fact.FREE_NODES])


def _missed(facts: Floats, weights: Floats, away_s: float, used: int) -> float:
    """Return what faults lose that come while a node is away and find no spare, GPU-seconds."""
    mean = away_s / _DAY_S * facts[Fact.FAULTS_A_DAY] * weights[G.NEEDS]
    left = _spares(facts) - used
    chance, term, number = 1.0, math.exp(-min(mean, 700.0)), 0
    while number <= left:
        chance -= term
        number += 1
        term *= mean / number
    gpus = _node_gpus(facts) if facts[Fact.CAN_SHRINK] > 0 else facts[Fact.JOB_GPUS]
    wait_s = min(away_s / 2, 2 * facts[Fact.PEOPLE_S])
    return float(weights[G.SCARCITY] * max(0.0, chance) * wait_s * gpus)


def lacks(facts: Floats) -> float:
    """Return how many GPUs' worth of work the job lacks as it is."""
    pace = min(1.0, facts[Fact.PACE]) if facts[Fact.JOB_RUNS] > 0 else 0.0
    return float(facts[Fact.JOB_GPUS] * (1.0 - pace))


def crashes(facts: Floats, weights: Floats, within_s: float) -> float:
    """Return the probability that a job that makes steps crashes in that time."""
    if facts[Fact.JOB_RUNS] == 0 or facts[Fact.PACE] <= 0:
        return 0.0
    stays = max(0.0, 1.0 - facts[Fact.NO_FAULT] - facts[Fact.TIME])
    brewing = stays * (1.0 - math.exp(-within_s / weights[G.BREWS_S]))
    warned = facts[Fact.BREACH] * min(1.0, within_s / _WARNED_S)
    return float(max(brewing, warned))


def _work_s(facts: Floats) -> float:
    """Return the time between checkpoints, seconds."""
    return float(min(facts[Fact.INTERVAL_S], _LONGEST_S))


def unsaved_s(facts: Floats) -> float:
    """Return the work that a crash now would lose, seconds; of a job that never saves, all."""
    return float(min(facts[Fact.UNSAVED_S], max(facts[Fact.PHASE_S], _LONGEST_S)))


def _price(choice: int, facts: Floats, weights: Floats) -> float:
    """Return what a choice to act costs whether it helps or not, GPU-seconds."""
    gpus, node_gpus = facts[Fact.JOB_GPUS], _node_gpus(facts)
    restart, repair_s = gpus * facts[Fact.RESTART_S], facts[Fact.REPAIR_S]
    makes_steps = facts[Fact.JOB_RUNS] > 0 and facts[Fact.PACE] > 0
    cost = restart + (gpus * facts[Fact.STALL_S] if makes_steps else 0.0)
    if choice == Choice.REBOOT:
        cost += gpus * facts[Fact.REBOOT_S]
    elif choice == Choice.SWAP:
        cost += _missed(facts, weights, repair_s, 1)
    elif choice == Choice.SWAP_BOTH:
        cost += _missed(facts, weights, repair_s, 2)
    elif choice == Choice.SWAP_AND_REPAIR:
        again = gpus * (weights[G.NOTICE_S] + facts[Fact.RESTART_S] + _work_s(facts) / 2)
        again += _missed(facts, weights, repair_s, 1)
        fails = _on(choice, facts) * facts[Fact.REPLACE]
        cost += _missed(facts, weights, facts[Fact.REBOOT_S], 1)
        cost += weights[G.RELAPSE] * fails * again
    elif choice == Choice.SHRINK:
        cost += node_gpus * _back_s(facts) + restart
    elif choice == Choice.BORROW:
        lender = max(node_gpus, facts[Fact.ABOVE] * facts[Fact.GPUS] / 2)
        cost += weights[G.LOAN] * lender * (facts[Fact.RESTART_S] + _back_s(facts))
    elif choice == Choice.ROLL_BACK:
        cost += gpus * _work_s(facts)
    elif choice == Choice.ESCALATE:
        crash_s = unsaved_s(facts) + facts[Fact.RESTART_S]
        crash = crashes(facts, weights, facts[Fact.PEOPLE_S]) * gpus * crash_s
        cost = facts[Fact.PAGE_GPU_S] + lacks(facts) * facts[Fact.PEOPLE_S] + crash
    return float(cost)


def _paged(facts: Floats, open: Bools, weights: Floats) -> float:
    """Return what it costs until a person has ended it, GPU-seconds; one comes if paging is closed.

    Pages that end nothing are made again.
    """
    cost = _price(Choice.ESCALATE.value, facts, weights)
    if not open[Choice.ESCALATE]:
        cost -= facts[Fact.PAGE_GPU_S]
    return float(cost / weights[G.PEOPLE_END])


def _leaving(resets: bool, facts: Floats, open: Bools, weights: Floats) -> float:
    """Return what the cheapest open way to leave a node costs, or else a page, GPU-seconds.

    resets: whether a reboot would do
    """
    least = _paged(facts, open, weights)
    for choice in (Choice.SWAP.value, Choice.SHRINK.value, Choice.BORROW.value):
        if open[choice]:
            least = min(least, _price(choice, facts, weights))
    if resets and open[Choice.REBOOT]:
        least = min(least, _price(Choice.REBOOT.value, facts, weights))
    return float(least)


def _then(fact: int, facts: Floats, open: Bools, weights: Floats) -> float:
    """Return what it takes to end what was not ended, of that remedy, GPU-seconds."""
    page = _paged(facts, open, weights)
    leave = _leaving(fact in (Fact.REBOOT, Fact.TIME), facts, open, weights)
    cost = page
    if fact in (Fact.REBOOT, Fact.REPLACE):
        cost = leave
    elif fact == Fact.TIME:
        cost = min(leave, lacks(facts) * _lasts_s(fact, facts, weights))
    elif fact == Fact.PEOPLE:
        cost = min(page, lacks(facts) * _lasts_s(fact, facts, weights))
    elif fact == Fact.UNKNOWN:
        cost = page + (leave - page) * weights[G.UNKNOWN_NODE] * _guess(facts)
    elif fact == Fact.ROLL_BACK and open[Choice.ROLL_BACK]:
        cost = min(page, _price(Choice.ROLL_BACK.value, facts, weights))
    elif fact == Fact.TUNE and open[Choice.TUNE]:
        cost = min(page, _price(Choice.TUNE.value, facts, weights))
    return float(cost)


def _acting(facts: Floats, open: Bools, weights: Floats) -> Floats:
    """Return (len(Choice),) the expected losses of what does something; inf for all else."""
    price, loss = np.full(len(open), np.inf), np.full(len(open), np.inf)
    mass, then = np.empty(_MASSES), np.empty(_MASSES)
    lasts = np.empty((len(open), _MASSES))
    notice = weights[G.NOTICE_S] * max(lacks(facts), _node_gpus(facts))
    for fact in range(_MASSES):
        mass[fact] = _mass(fact, facts, weights)
        then[fact] = notice + _then(fact, facts, open, weights)
    mass /= max(1e-9, mass.sum())
    for choice in range(Choice.RESTART, len(open)):
        if open[choice]:
            price[choice] = _price(choice, facts, weights)
            for fact in range(_MASSES):
                lasts[choice, fact] = 1.0 - _ends(fact, choice, facts, weights)
    for choice in range(Choice.RESTART, len(open)):
        if open[choice]:
            left = mass * lasts[choice]
            best = np.inf
            for other in range(Choice.RESTART, len(open)):
                if open[other]:
                    again = (
                        left.sum() * (notice + price[other]) + (left * lasts[other] * then).sum()
                    )
                    best = min(best, again)
            loss[choice] = price[choice] + best
    return loss


def _waiting(saves: bool, best: float, facts: Floats, open: Bools, weights: Floats) -> float:
    """Return the expected loss of another look in a while, with a checkpoint or without.

    best: what the best choice to act is expected to lose, GPU-seconds
    """
    gpus, passes = facts[Fact.JOB_GPUS], _passed(Fact.TIME.value, facts, weights, LOOK_S)
    if facts[Fact.JOB_RUNS] == 0:
        spared = 0.0
        for fact in (Fact.TIME.value, Fact.PEOPLE.value):
            ends = _passed(fact, facts, weights, LOOK_S)
            spared += facts[fact] * ends * _then(fact, facts, open, weights)
        if _spares(facts) < 1 and facts[Fact.NODES_OUT] > 0:
            broken = facts[Fact.REPLACE] + facts[Fact.REBOOT]
            back = 1.0 - math.exp(-LOOK_S * facts[Fact.NODES_OUT] / facts[Fact.REPAIR_S])
            spared += broken * back * max(0.0, best - gpus * facts[Fact.RESTART_S])
        return float(gpus * LOOK_S + best - spared)
    crash_s = facts[Fact.RESTART_S] + (0.0 if saves else unsaved_s(facts))
    meanwhile = lacks(facts) * LOOK_S + crashes(facts, weights, LOOK_S) * gpus * crash_s
    passed = max(1e-6, (facts[Fact.TIME] + facts[Fact.NO_FAULT]) * passes)
    stall = gpus * facts[Fact.STALL_S] if saves else 0.0
    return float(stall + meanwhile + (1.0 - passed) * min(best, meanwhile / passed))


def _later(open: Bools) -> Bools:
    """Return (len(Choice),) what will be open once the job has cooled."""
    soon = open.copy()
    soon[Choice.RESTART] = True
    return soon


def _cooled(facts: Floats, weights: Floats, wait_s: float) -> Floats:
    """Return (len(Fact),) what will be known after a wait: part of what ends alone has ended."""
    later = facts.copy()
    later[Fact.AGE_S] += wait_s
    for fact in (Fact.TIME.value, Fact.PEOPLE.value):
        ended = facts[fact] * _passed(fact, facts, weights, wait_s)
        later[fact] -= ended
        later[Fact.NO_FAULT] += ended
    return later


def losses(facts: Floats, open: Bools, weights: Floats) -> Floats:
    """Return (len(Choice),) the expected loss of each open choice, GPU-seconds; inf for the others.

    facts: (len(Fact),), open: (len(Choice),), weights: (len(G),)
    """
    loss = _acting(facts, open, weights)
    best = loss.min()
    if best == np.inf:  # nothing can be done: a person has been called, or it passes
        best = _paged(facts, open, weights)
    loss[Choice.WAIT] = _waiting(False, best, facts, open, weights)
    if open[Choice.CHECKPOINT]:
        loss[Choice.CHECKPOINT] = _waiting(True, best, facts, open, weights)
    cools_s = _COOLS_S if facts[Fact.PACE] > 0 else _BACK_OFF_S
    tried = facts[Fact.RESTARTS_TRIED] > 0 and facts[Fact.SINCE_TRIED_S] < cools_s
    if not open[Choice.RESTART] and (tried or facts[Fact.PHASE_S] < cools_s):
        since_s = facts[Fact.SINCE_TRIED_S] if tried else facts[Fact.PHASE_S]
        wait_s = max(LOOK_S, cools_s - since_s)
        soon = _acting(_cooled(facts, weights, wait_s), _later(open), weights).min()
        opens = 1.0 if tried else weights[G.OPENS]
        patient = lacks(facts) * wait_s + soon + (best - soon) * (1.0 - opens)
        loss[Choice.WAIT] = min(loss[Choice.WAIT], patient)
    return loss


def ends(choice: int, facts: Floats, weights: Floats) -> float:
    """Return the probability that the choice ends what the incident is about."""
    total, ended = 1e-9, 0.0
    for fact in range(_MASSES):
        mass = _mass(fact, facts, weights)
        total += mass
        ended += mass * _ends(fact, choice, facts, weights)
    return float(ended / total)


def choose(facts: Floats, open: Bools, weights: Floats) -> int:
    """Return the open choice of the least expected loss; waiting for a job that starts."""
    if facts[Fact.JOB_STARTS] > 0:
        return Choice.WAIT.value
    return int(losses(facts, open, weights).argmin())


# All of it, each after those that it calls.
PARTS = (
    *(
        _tries,
        _lasts_s,
        _mass,
        _passed,
        _on,
        _guess,
        _unknown_ends,
        _ends,
        _node_gpus,
        _back_s,
        _spares,
        _missed,
        lacks,
    ),
    *(
        crashes,
        _work_s,
        unsaved_s,
        _price,
        _paged,
        _leaving,
        _then,
        _acting,
        _waiting,
        _later,
        _cooled,
        losses,
        choose,
    ),
)


class Greedy:
    """The least expected loss, one step ahead; the same situation gives the same choice."""

    version = "2"

    def __init__(self, weights: Floats | None = None, *, name: str = "greedy") -> None:
        """Keep the weights: (len(G),) in the order of ``WEIGHTS``."""
        self.name = name
        self._weights = usual(WEIGHTS) if weights is None else weights

    @classmethod
    def tuned(cls, *, name: str = "tuned_greedy") -> "Greedy":
        """Return the policy with the weights that the search found."""
        return cls(tuned("greedy", WEIGHTS), name=name)

    def choose(self, moment: Moment) -> Choice:
        """Return what to do about the incident now."""
        now = moment.situation
        return Choice(choose(now.facts, now.open, self._weights))
