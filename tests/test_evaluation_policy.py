"""Policies are compared on the same lives, and the intervals are those of paired lives."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from core.choice import Choice
from core.errors import InputError
from core.figures import Row
from remediation.deciding.chooser import Moment
from remediation.evaluation import play as playing
from remediation.evaluation.comparison import BEST_STATIC, Comparison, compared
from remediation.evaluation.gate import verdict
from remediation.evaluation.intervals import even_ratio, gap_closed, mean, ratio
from remediation.evaluation.life import LifeResult
from remediation.evaluation.play import play
from remediation.evaluation.policies import BUILT_IN, ORACLE, STATIC, Entrant, entrants
from remediation.evaluation.rows import best_honest, rows
from remediation.evaluation.suites import GATE, SUITES
from remediation.learning.families import FAMILIES, HELD_OUT_SEED, LIVES_A_CLUSTER, TUNING_SEED
from tests.lives import life

SMALL = replace(FAMILIES["train"], nodes=(6, 6), life=(12.0, 12.0), incidents=(8.0, 8.0))
SEED = TUNING_SEED + 160_000
TWO = ("larger", "other_faults")
RULE = "tuned_runbook"


def lives(*names: str, seed: int = SEED) -> tuple[LifeResult, ...]:
    return play(SMALL, seed, tuple(map(Entrant, names)))


def untimed(results: Sequence[LifeResult]) -> list[LifeResult]:
    return [replace(each, decision_s=0.0) for each in results]


def drawn(
    losses: dict[str, float],
    *,
    families: Sequence[str] = ("larger", "other_faults"),
    count: int = 30,
) -> Comparison:
    """Lives whose losses differ more between lives than between policies."""
    random, found = np.random.default_rng(3), []
    for family in families:
        for seed in range(count):
            hard = float(random.lognormal(4.0, 1.0))
            for policy, factor in losses.items():
                noise = float(random.normal(1.0, 0.05))
                found.append(life(policy, family, seed, lost_h=hard * factor * noise))
    return compared(found, static=STATIC)


def by_name(found: Sequence[Row]) -> dict[str, Row]:
    return {row.metric: row for row in found}


def test_a_life_is_the_same_whoever_lived_before_it() -> None:
    together = lives("no_op", "always_restart", "runbook", "greedy")

    assert untimed(together) == untimed([lives(each.policy)[0] for each in together])
    assert len({each.priced_gpu_s for each in together}) > 1
    assert len({each.asked_gpu_s for each in together}) == 1


def test_another_seed_is_another_life() -> None:
    one, other = lives("runbook")[0], lives("runbook", seed=SEED + LIVES_A_CLUSTER)[0]

    assert one.lost_gpu_s != other.lost_gpu_s


def test_losses_by_cause_and_prices_add_up() -> None:
    for each in lives("random", "always_escalate", "runbook"):
        assert sum(gpu_s for _, gpu_s in each.losses_gpu_s) == pytest.approx(each.lost_gpu_s)
        assert each.asked_gpu_s - each.useful_gpu_s == pytest.approx(each.lost_gpu_s)
        assert each.priced_gpu_s >= each.lost_gpu_s
        assert (each.priced_gpu_s > each.lost_gpu_s) == (each.pages > 0)
        assert 0 < each.decision_s < 60


@pytest.mark.parametrize("seed", range(SEED, SEED + 6 * LIVES_A_CLUSTER, LIVES_A_CLUSTER))
def test_no_policy_breaks_a_guard(seed: int) -> None:
    cheap = [name for name in BUILT_IN if name not in ("twin", ORACLE)]

    assert {each.policy: each.breaches for each in lives(*cheap, seed=seed)} == dict.fromkeys(
        cheap, ()
    )


def test_knowing_the_future_loses_less_than_any_rule() -> None:
    found = lives(ORACLE, *STATIC)

    assert found[0].priced_gpu_s <= min(each.priced_gpu_s for each in found[1:])


class Stubborn:
    """Always wants the same, open or not."""

    name, version = "stubborn", "1"

    def choose(self, moment: Moment) -> Choice:
        return Choice.SWAP_BOTH


def test_what_is_not_open_is_not_done_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playing, "make", lambda who, lane: Stubborn())

    found = lives("no_op")[0]

    assert "not_open" in found.breaches
    assert found.decisions > 0


def test_a_policy_that_spins_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playing, "MOST_DECISIONS", 5)

    found, free = lives("random")[0], lives("no_op")[0]

    assert found.capped
    assert found.decisions == 5
    assert found.asked_gpu_s == free.asked_gpu_s


def test_paired_lives_tell_what_lives_alone_do_not() -> None:
    found = drawn({"runbook": 1.0, "rl": 0.9})
    own, other = (found.column(name, lambda each: each.lost_gpu_s) for name in ("rl", "runbook"))

    value, low, high = ratio(own, other)

    assert low < 0.9 < high < 1.0
    assert low < value < high
    assert mean(own).high > mean(other).low  # alone, their intervals overlap


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random, inside = np.random.default_rng(1), 0
    for _ in range(60):
        hard = random.lognormal(0.0, 0.5, 40)
        own = {"f": hard * random.normal(0.8, 0.2, 40)}
        _, low, high = ratio(own, {"f": hard})
        inside += low <= 0.8 <= high

    assert inside >= 51


def test_small_families_count_as_much_as_large_ones() -> None:
    small, large = np.full(10, 1.0), np.full(10, 1000.0)
    own = {"small": 2.0 * small, "large": 0.5 * large}
    other = {"small": small, "large": large}

    assert even_ratio(own, other).value == pytest.approx(1.0)
    assert ratio(own, other).value == pytest.approx(0.5, abs=0.01)


def test_the_gap_is_none_at_the_rule_and_all_at_the_best() -> None:
    rule, best = {"f": np.array([100.0, 90.0])}, {"f": np.array([50.0, 40.0])}

    assert gap_closed(rule, rule, best).value == 0.0
    assert gap_closed(best, rule, best).value == 1.0
    assert np.isnan(gap_closed(rule, rule, rule).value)


def test_the_best_static_rule_is_chosen_for_each_family() -> None:
    found = compared(
        [
            life("always_swap", "larger", lost_h=10.0),
            life("always_restart", "larger", lost_h=20.0),
            life("always_swap", "other_faults", lost_h=10.0),
            life("always_restart", "other_faults", lost_h=5.0, pages=0),
            life("greedy", "larger", lost_h=1.0),
            life("greedy", "other_faults", lost_h=1.0),
        ],
        static=STATIC,
    )

    assert found.static == {"larger": "always_swap", "other_faults": "always_restart"}
    assert [each.lost_gpu_s for each in found.lives(BEST_STATIC)] == [36_000.0, 18_000.0]
    assert best_honest(found) == "greedy"


def test_lives_that_not_all_have_lived_are_left_out() -> None:
    found = compared([life("runbook", seed=1), life("runbook", seed=2), life("rl", seed=2)])

    assert [each.seed for each in found.lives("runbook")] == [2]


def test_the_headline_is_named_as_the_issue_names_it() -> None:
    found = drawn({"tuned_runbook": 1.0, "runbook": 1.1, "rl": 0.7, "oracle": 0.5, "no_op": 4.0})

    named = by_name(tuple(rows(found, "rl")))

    over = named["lost_gpu_hours_ratio_vs_tuned_runbook"]
    assert over.ok
    assert over.low is not None
    assert over.high is not None
    assert over.low < 0.7 < over.high < 1.0
    gap = named["gap_closed_to_oracle"]
    assert gap.value == pytest.approx(0.6, abs=0.03)
    assert gap.ok
    assert named["guard_breaches"].value == 0
    assert named["wrong_drains_per_1000_node_days"].value == pytest.approx(20.0)
    assert named["worst_family_ratio_vs_runbook"].ok
    assert 'lost_gpu_hours{policy="no_op",family="larger"}' in named
    assert 'lost_gpu_hours{policy="rl",cause="stopped"}' in named
    assert named['energy_mwh{policy="rl"}'].value == pytest.approx(1.0)
    useful = named['energy_kwh_per_useful_gpu_hour{policy="no_op"}'].value
    assert useful is not None
    assert useful > 1.0  # 1 MWh for 1,000 GPU-hours, of which not all were useful
    assert len(named) == len(tuple(rows(found, "rl")))


def test_the_gap_is_parted_into_what_knowing_the_present_and_the_future_would_win() -> None:
    losses = {"tuned_runbook": 1.0, "tuned_greedy": 0.9, "rl": 0.8, "present": 0.7, "oracle": 0.5}
    named = by_name(tuple(rows(drawn(losses), "rl")))

    of_all = {name: row.value for name, row in named.items() if row.value is not None}
    assert of_all['gap_closed_to_oracle{policy="present"}'] == pytest.approx(0.6, abs=0.03)
    assert of_all['gap_closed_to_present{policy="rl"}'] == pytest.approx(2 / 3, abs=0.04)
    assert 'gap_closed_to_present{policy="oracle"}' not in named
    assert named["priced_loss_ratio_vs_tuned_greedy"].ok


def test_a_ratio_whose_interval_holds_one_is_not_good_enough() -> None:
    found = drawn({"tuned_runbook": 1.0, "rl": 0.89}, count=2)
    factors = {0: 3.0, 1: 0.1}
    uneven = [
        replace(each, lost_gpu_s=factors[each.seed] * each.lost_gpu_s) for each in found.lives("rl")
    ]
    noisy = compared([*found.lives("tuned_runbook"), *uneven])

    row = by_name(tuple(rows(noisy, "rl")))["lost_gpu_hours_ratio_vs_tuned_runbook"]

    assert row.ok is False


def test_who_is_better_and_worse_nowhere_may_act() -> None:
    found = verdict(drawn({"tuned_runbook": 1.0, "rl": 0.8}), "rl", rule=RULE, version="1")

    assert found.passed
    assert found.high < 1.0
    assert [each.name for each in found.families] == ["larger", "other_faults"]


@pytest.mark.parametrize(
    ("factor", "said"),
    [(1.0, "the whole interval must be below 1"), (1.3, "the whole interval must be below 1")],
)
def test_who_is_not_better_may_not_act(factor: float, said: str) -> None:
    found = verdict(drawn({"tuned_runbook": 1.0, "rl": factor}), "rl", rule=RULE, version="1")

    assert not found.passed
    assert said in found.refused[0]


def test_one_worse_family_is_enough_to_refuse() -> None:
    good, bad = drawn({"tuned_runbook": 1.0, "rl": 0.5}), drawn({"tuned_runbook": 1.0, "rl": 1.2})
    both = compared(
        [
            *(each for name in good.policies for each in good.of[name]["larger"]),
            *(each for name in bad.policies for each in bad.of[name]["other_faults"]),
        ]
    )

    found = verdict(both, "rl", rule=RULE, version="1")

    assert found.high < 1.0
    assert [reason for reason in found.refused if reason.startswith("in other_faults")]


def test_who_is_behind_what_acts_may_not_act() -> None:
    found = drawn({"tuned_runbook": 1.0, "rl": 0.8, "acts_now": 0.6})

    alone = verdict(found, "rl", rule=RULE, version="1")
    beside = verdict(found, "rl", rule=RULE, version="1", acting="acts_now")
    ahead = verdict(found, "acts_now", rule=RULE, version="1", acting="rl")

    assert alone.passed
    assert "times what the policy does that acts now" in beside.refused[0]
    assert ahead.passed


def test_a_breach_or_too_few_lives_refuse() -> None:
    some = drawn({"tuned_runbook": 1.0, "rl": 0.5}, count=5)
    ill = [replace(each, breaches=("cooldown",)) for each in some.lives("rl")]
    broken = compared([*some.lives(RULE), *ill])

    refused = " ".join(verdict(broken, "rl", rule=RULE, version="1").refused)

    assert "10 orders of rl broke a guard" in refused
    assert "fewer than 10 lives" in refused


def test_all_names_every_policy_and_an_unknown_one_is_answered() -> None:
    named = [each.name for each in entrants(["all"], {})]

    assert set(named) == set(BUILT_IN)
    assert [each.name for each in entrants([BEST_STATIC], {})] == list(STATIC)
    with pytest.raises(InputError, match="no policy 'runbok'; there are no_op, random"):
        entrants(["runbok"], {})


def test_suites_share_no_life_with_training_or_each_other() -> None:
    seeds = {name: set(suite.all_seeds(1000)) for name, suite in SUITES.items()} | {
        "gate": set(GATE.all_seeds(1000))
    }
    clusters = {name: {seed // LIVES_A_CLUSTER for seed in each} for name, each in seeds.items()}

    assert {name: len(each) for name, each in clusters.items()} == {
        "held-out": 5000,
        "seeds": 1000,
        "tuning": 1000,
        "train": 1000,
        "gate": 6000,
    }
    assert min(seeds["held-out"]) >= HELD_OUT_SEED
    assert max(seeds["train"]) < TUNING_SEED <= min(seeds["tuning"])
    apart = ("train", "tuning", "held-out", "gate")
    assert len(set.union(*(clusters[name] for name in apart))) == 13_000
