"""Looking ahead: the same for the same moment, blind for the truth, and right where it is plain."""

import numpy as np
import pytest

from core.choice import Choice
from core.errors import InputError
from core.situation import LONG_S, Fact
from core.types import Floats
from remediation.policies.rulebook import Runbook
from remediation.policies.thumb import THUMBS
from remediation.twin.guesses import guesses_of
from remediation.twin.incident import open_incident, to_come, ways_of
from remediation.twin.lookahead import TwinLookahead, TwinSettings
from remediation.twin.mirror import Mirror
from remediation.twin.oracle import RUNBOOK
from remediation.twin.rolling import roll_out
from sim.engine.room import with_room
from sim.engine.tables import Tables
from sim.engine.words import NONE
from sim.lanes import Lane
from tests.twins import TERMS, Told, lives, struck, told

PLENTY = TwinSettings(rounds=(16, 16, 32), limit_s=1e9)


def looking(settings: TwinSettings = PLENTY) -> TwinLookahead:
    return TwinLookahead(Runbook(), settings, terms=TERMS)


def rolled(moment: Told, choices: list[Choice], *, broken: bool = True) -> Floats:
    """Return (choices, 8) what each loses in eight guesses, with no faults to come."""
    twin = Mirror().of(moment)
    scene = open_incident(twin, moment)
    ways = (RUNBOOK.numbers, *ways_of(TERMS, scene), np.zeros(47), np.zeros(12, dtype=bool))
    guesses = guesses_of(scene, 8, seed=5)
    if not broken:
        guesses["kind"], guesses["hung"] = NONE, False
    come, kinds = to_come(scene, hours=6.0)
    come["faults_a_s"], twin.tables.site["false_alarms"] = 1e-12, 0.0
    losses = np.full((len(choices), 8), np.nan)
    scratch = with_room(Tables(*(part.copy() for part in twin.tables)))
    assert roll_out(
        (twin.tables, scratch),
        (guesses, come, kinds),
        (np.array(choices, dtype=np.int64), losses),
        int(RUNBOOK.inner),
        ways,
    )
    return losses


def test_the_same_choice_meets_the_same_luck() -> None:
    moment = told(struck(spares=1), "gpu_hang", stays=0.5)

    losses = rolled(moment, [Choice.RESTART, Choice.SWAP, Choice.RESTART])

    assert np.array_equal(losses[0], losses[2])
    assert not np.array_equal(losses[0], losses[1])


def test_waiting_loses_nothing_where_nothing_is_broken_and_the_job_runs() -> None:
    lane = next(
        lane
        for lane in lives(range(9))
        if lane.facts[Fact.PACE] > 0.97
        and all(job.phase == "running" for job in lane.moment().state.jobs)
    )
    moment = lane.moment()
    calm = told(moment, moment.diagnosis.causes[0].fault, stays=0.5)
    stalls = 7.0 / (600.0 + 7.0)  # of the largest job; no job of this cluster stands for more
    crossing = 0.126 * 0.176  # of a step: its ranks cross switches more often than they must
    gpus = sum(job.gpus for job in moment.state.jobs)

    losses = rolled(calm, [Choice.WAIT], broken=False)

    assert (losses <= (stalls + crossing) * gpus * 6 * 3600.0).all()


def test_a_passing_fault_without_spares_gets_a_restart() -> None:
    moment = told(struck(spares=0), "software_error", stays=0.02)

    assert looking().choose(moment) is Choice.RESTART


def test_broken_hardware_with_spares_at_hand_leaves_the_job() -> None:
    moment = told(struck(spares=4), "gpu_power_fault", stays=0.98)

    assert looking().choose(moment) in (Choice.SWAP, Choice.SWAP_AND_REPAIR)


def test_people_are_called_where_nothing_else_would_help() -> None:
    shut = (Choice.SWAP, Choice.SWAP_AND_REPAIR, Choice.REBOOT, Choice.BORROW, Choice.SHRINK)
    moment = told(struck(spares=0), "gpu_power_fault", stays=0.98, shut=shut)
    moment.situation.facts[Fact.RESTART_S] = 900.0  # a restart in vain is dear

    assert looking().choose(moment) is Choice.ESCALATE


def test_a_job_that_never_saves_loses_no_more_than_it_can_compute() -> None:
    moment = told(struck(spares=1), "nan_loss", stays=0.5)
    moment.situation.facts[Fact.INTERVAL_S] = LONG_S
    gpus = sum(job.gpus for job in moment.state.jobs)
    begun_s = min(job.since_s for job in moment.state.jobs)
    hours = 6.0 + (moment.now_s - begun_s) / 3600.0

    losses = rolled(moment, [Choice.RESTART, Choice.SWAP, Choice.ROLL_BACK])

    assert (losses <= gpus * hours * 3600.0).all()


def hidden(lane: Lane) -> Lane:
    """Return a copy of a life in which something else is broken, and will break, unseen."""
    other = lane.fork()
    faults = other.tables.faults[: int(other.tables.core[0]["faults_n"])]
    for name in ("restart_mends", "reboot_mends"):
        faults[name] = ~faults[name]
    faults["lasts_s"] *= 7.0
    other.tables.core[0]["seed"] += np.uint64(12345)
    other.tables.arrivals[:] += 5000.0
    return other


def test_the_hidden_truth_makes_no_difference() -> None:
    policy, compared = looking(TwinSettings(rounds=(8,), limit_s=1e9)), 0
    for lane in lives(range(1)):
        choice = policy.choose(lane.moment())
        assert policy.choose(hidden(lane).moment()) is choice
        compared += 1
    assert compared > 20


def test_it_ends_by_count_and_says_what_it_expects() -> None:
    policy = looking(TwinSettings(rounds=(4, 4), limit_s=1e9))
    moment = told(struck(spares=1), "gpu_hang", stays=0.5)

    choice = policy.choose(moment)

    assert policy.looked is not None
    assert policy.looked.chosen is choice
    assert set(policy.looked.expected) == {
        Choice(at) for at in np.flatnonzero(moment.situation.open).tolist()
    }
    assert all(4 <= each.samples <= 8 for each in policy.looked.expected.values())
    assert policy.looked.expected[choice].samples == max(
        each.samples for each in policy.looked.expected.values()
    )


def test_the_policy_within_decides_where_no_other_is_surely_better() -> None:
    moment = told(struck(spares=1), "gpu_hang", stays=0.5)
    inner = THUMBS["always_restart"]()
    stubborn = TwinSettings(rounds=(4,), better=1e6, limit_s=1e9)

    assert TwinLookahead(inner, stubborn, terms=TERMS).choose(moment) is inner.choose(moment)


def test_a_look_ahead_of_no_hours_or_one_sample_is_refused() -> None:
    with pytest.raises(InputError, match="more than 0 hours"):
        TwinSettings(hours=0.0)
    with pytest.raises(InputError, match="2 samples"):
        TwinSettings(rounds=(1,))
