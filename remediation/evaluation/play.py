"""A life of a cluster, decision by decision, under a policy that is made anew for it."""

import time

from core.choice import Choice
from remediation.evaluation.audit_lane import audit_lane
from remediation.evaluation.life import MOST_DECISIONS, LifeResult
from remediation.evaluation.policies import Entrant, make
from remediation.learning.families import Family, terms_of
from sim.lanes import Lane

_DAY_S = 86_400.0
NOT_OPEN = "not_open"


def play(family: Family, seed: int, entrants: tuple[Entrant, ...]) -> tuple[LifeResult, ...]:
    """Live a life under each policy in turn: the same cluster and faults for all of them."""
    lane = Lane(family.scenario(seed), terms_of(family, seed))
    return tuple(_lived(lane, family, seed, each) for each in entrants)


def _lived(lane: Lane, family: Family, seed: int, who: Entrant) -> LifeResult:
    due = lane.reset(seed, duration_s=lane.scenario.duration_s)
    chooser = make(who, lane)
    decisions, spent_s, wrong = 0, 0.0, []
    while due:
        choice = Choice.WAIT
        if decisions < MOST_DECISIONS:
            moment, began_s = lane.moment(), time.perf_counter()
            choice = chooser.choose(moment)
            spent_s += time.perf_counter() - began_s
            decisions += 1
        if not lane.open[choice]:
            wrong.append(NOT_OPEN)
            choice = Choice.WAIT
        due = lane.step(choice)
    breaches = (*wrong, *(breach.guard for breach in audit_lane(lane)))
    came = lane.account()
    return LifeResult(
        policy=who.name,
        version=chooser.version,
        family=family.name,
        seed=seed,
        priced_gpu_s=came.priced_gpu_s,
        lost_gpu_s=came.lost_gpu_s,
        asked_gpu_s=came.asked_gpu_s,
        useful_gpu_s=came.useful_gpu_s,
        productive_gpu_s=came.productive_gpu_s,
        losses_gpu_s=tuple(came.losses_gpu_s.items()),
        incidents=came.incidents,
        recovered=came.recovered,
        recovering_s=came.recovering_s,
        pages=came.pages,
        wrong_drains=came.wrong_drains,
        node_days=came.nodes * came.lasted_s / _DAY_S,
        late_requests=came.late_requests,
        energy_j=came.energy_j,
        decisions=decisions,
        decision_s=spent_s,
        capped=decisions >= MOST_DECISIONS,
        breaches=breaches,
    )
