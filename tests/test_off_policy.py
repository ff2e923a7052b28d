"""What another policy would have lost is told from a journal where chance left it to be told."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.database import Database
from agent.store import SqliteStore
from core.choice import Choice
from core.cluster import ClusterState
from core.situation import Fact, Situation
from core.types import Diagnosis, Floats, Incident, IncidentState, Severity
from remediation.deciding.decided import Decided, entry
from remediation.evaluation.exploring import SAFE, Exploring
from remediation.evaluation.journal import logged
from remediation.evaluation.off_policy import Logged, agreement, estimate
from remediation.policies.thumb import Thumb

FACTS = len(Fact)
BROKEN = Fact.REPLACE


@dataclass(frozen=True, slots=True)
class Named:
    """As much of an incident as chance is drawn from."""

    id: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A moment of which only the situation and the incident's name are known."""

    situation: Situation
    name: str = "i"
    now_s: float = 0.0

    @property
    def incident(self) -> Incident:
        return Named(self.name)  # type: ignore[return-value]

    @property
    def diagnosis(self) -> Diagnosis:
        raise NotImplementedError

    @property
    def state(self) -> ClusterState:
        raise NotImplementedError


def seen(name: str = "i", *, age_s: float = 0.0, tried: float = 0.0) -> Seen:
    facts, offered = np.zeros(FACTS), np.ones(len(Choice), dtype=bool)
    facts[Fact.AGE_S], facts[Fact.RESTARTS_TRIED] = age_s, tried
    offered[Choice.REBOOT] = False
    return Seen(Situation(facts, offered), name)


def loss(broken: Floats, choice: Floats, luck: Floats) -> Floats:
    """A swap costs 100 whatever is broken; a restart 10, and 400 more where hardware is."""
    restart = 10.0 + 400.0 * (luck < broken)
    return np.where(choice == Choice.SWAP, 100.0, restart)


def wanted(broken: Floats) -> Floats:
    """What the policy in the shadow chooses: it swaps what is likely broken."""
    return np.where(broken > 0.3, Choice.SWAP.value, Choice.RESTART.value)


def journal(incidents: int, *, share: float, seed: int) -> Logged:
    """Incidents of one or two decisions; who acts restarts, or leaves it to chance."""
    random = np.random.default_rng(seed)
    number = np.sort(np.r_[np.arange(incidents), np.flatnonzero(random.random(incidents) < 0.4)])
    broken = random.random(len(number))
    chance = random.random(len(number)) < share
    chosen = np.where(chance & (random.random(len(number)) < 0.5), Choice.SWAP, Choice.RESTART)
    other = wanted(broken)
    likely = {Choice.SWAP.value: share / 2, Choice.RESTART.value: 1.0 - share / 2}
    facts = np.zeros((len(number), FACTS))
    facts[:, BROKEN] = broken
    return Logged(
        incident=number,
        cause=tuple("gpu_hang" if each < 0.5 else "node_down" for each in broken),
        facts=facts,
        chosen=chosen.astype(np.int64),
        other=other.astype(np.int64),
        chance=np.array([likely[int(each)] for each in chosen]),
        other_chance=np.array([likely[int(each)] for each in other]),
        lost=loss(broken, chosen, random.random(len(number))),
    )


def truth() -> float:
    """Mean loss an incident of the policy in the shadow, from very many it decided itself."""
    random = np.random.default_rng(99)
    broken = random.random(400_000)
    return 1.4 * float(loss(broken, wanted(broken), random.random(len(broken))).mean())


def test_the_intervals_hold_what_is_true() -> None:
    true, made = truth(), [estimate(journal(400, share=0.5, seed=k)) for k in range(60)]

    for kind in ("ips", "snips", "doubly_robust"):
        inside = [low <= true <= high for _, low, high in (getattr(each, kind) for each in made)]
        assert np.mean(inside) > 0.85, kind
    assert all(each.why_not == "" and each.effective > 10 for each in made)


def test_a_model_and_weights_that_sum_to_one_make_estimates_surer() -> None:
    made = [estimate(journal(400, share=0.3, seed=k)) for k in range(30)]

    spread = {
        kind: np.std([getattr(each, kind).value for each in made])
        for kind in ("ips", "snips", "doubly_robust")
    }
    assert max(spread["doubly_robust"], spread["snips"]) < 0.8 * spread["ips"]


def test_without_chance_nothing_can_be_told() -> None:
    found = estimate(journal(400, share=0.0, seed=1))

    assert "left nothing to chance" in found.why_not
    assert "policy.explore" in found.why_not
    assert np.isnan([found.ips.value, found.snips.value, found.doubly_robust.value]).all()
    assert found.acting.value > 0


def test_a_choice_that_chance_never_made_cannot_be_told() -> None:
    log = journal(400, share=0.5, seed=1)
    once = np.where(np.arange(len(log.lost)) == 7, 0.0, log.other_chance)

    found = estimate(replace(log, other_chance=once))

    assert found.why_not.startswith(f"on 1 of {len(log.lost)} decisions")


def test_a_few_incidents_are_not_enough() -> None:
    found = estimate(journal(12, share=0.1, seed=2))

    assert "Wait for more" in found.why_not


def test_who_always_agrees_loses_the_same() -> None:
    log = journal(200, share=0.0, seed=3)
    alike = replace(log, other=log.chosen, other_chance=log.chance)

    found = estimate(alike)

    assert found.ips.value == found.snips.value == pytest.approx(found.acting.value)
    assert found.doubly_robust.value == pytest.approx(found.acting.value)
    assert agreement(alike).share == 1.0


def test_agreement_is_told_by_choice_and_cause() -> None:
    log = journal(300, share=0.5, seed=4)

    found = agreement(log)

    assert set(found.by_choice) == {"restart", "swap"}
    assert set(found.by_cause) == {"gpu_hang", "node_down"}
    for parts in (found.by_choice, found.by_cause):
        assert sum(same for same, _ in parts.values()) == found.same
        assert sum(count for _, count in parts.values()) == found.decisions


def test_chance_takes_safe_choices_as_often_as_it_says() -> None:
    policy = Exploring(Thumb("always", Choice.ESCALATE), share=0.3, seed=5)
    taken = [policy.choose(seen(f"incident-{k}")) for k in range(20_000)]
    chances = policy.chances(seen())

    found = np.bincount(taken, minlength=len(Choice)) / len(taken)
    assert chances.sum() == pytest.approx(1.0)
    assert np.abs(found - chances).max() < 0.015
    assert found[Choice.REBOOT] == 0.0
    assert not set(taken) - {*SAFE, Choice.ESCALATE}


def test_chance_does_not_change_its_mind_within_ten_minutes() -> None:
    policy = Exploring(Thumb("always", Choice.WAIT), share=1.0)
    moments = [seen(age_s=age_s) for age_s in np.arange(0.0, 600.0, 15.0)]

    assert len({policy.choose(moment) for moment in moments}) == 1
    assert len({policy.choose(seen(age_s=600.0 * k)) for k in range(20)}) > 1
    assert len({policy.choose(seen(tried=float(k))) for k in range(20)}) > 1


def decided(at_s: float, choice: Choice, other: Choice | None, **facts: float) -> Decided:
    known = np.zeros(FACTS)
    for name, value in facts.items():
        known[Fact[name]] = value
    return Decided(
        time_s=at_s,
        incident_id="i",
        plan_id="",
        fault="gpu_hang",
        facts=tuple(known.tolist()),
        open=(0, 2),
        choice=int(choice),
        propensity=0.5,
        policy="runbook",
        policy_version="1",
        shadow_choice=None if other is None else int(other),
        shadow="rl",
        shadow_version="1",
        shadow_propensity=0.5,
    )


def test_the_journal_tells_what_was_lost() -> None:
    job = {"JOB_GPUS": 16.0, "PAGE_GPU_S": 900.0}
    stands = decided(100.0, Choice.WAIT, Choice.SWAP, JOB_STOPPED=1.0, AGE_S=0.0, **job)
    slow = decided(800.0, Choice.ESCALATE, Choice.WAIT, JOB_RUNS=1.0, PACE=0.5, AGE_S=700.0, **job)

    found = logged([slow, stands], {"i": 900.0})

    # It stands, then makes half its speed, and is well at the end.
    assert found.lost.tolist() == [700 * (16 + 8) / 2, 100 * 8 / 2 + 900.0]
    assert found.chosen.tolist() == [Choice.WAIT, Choice.ESCALATE]
    assert found.other.tolist() == [Choice.SWAP, Choice.WAIT]


def test_work_that_was_not_saved_is_lost_with_the_job() -> None:
    runs = {"JOB_GPUS": 8.0, "JOB_RUNS": 1.0, "PACE": 1.0, "UNSAVED_S": 300.0, "AGE_S": 0.0}
    made = [
        decided(0.0, Choice.WAIT, Choice.WAIT, **runs),
        decided(700.0, Choice.RESTART, Choice.WAIT, JOB_GPUS=8.0, JOB_STOPPED=1.0, AGE_S=700.0),
    ]

    assert logged(made, {"i": 700.0}).lost.tolist() == [8 * 300.0 + 700 * 8 / 2, 0.0]


def test_what_has_no_end_or_no_shadow_is_left_out_and_a_draw_counts_once() -> None:
    job = {"JOB_GPUS": 16.0}
    alone = decided(0.0, Choice.WAIT, None, **job)
    again = [decided(15.0 * k, Choice.WAIT, Choice.SWAP, AGE_S=15.0 * k, **job) for k in range(3)]

    assert len(logged([alone, *again], {"i": 60.0}).lost) == 1
    assert len(logged(again, {}).lost) == 0


def over(name: str, at_s: float) -> Incident:
    return Incident(
        id=name,
        state=IncidentState.RESOLVED,
        severity=Severity.WARNING,
        opened_s=at_s - 900,
        updated_s=at_s,
        resolved_s=at_s,
        title="over",
        targets=(),
        jobs=(),
    )


async def keep(folder: Path, decisions: list[Decided], incidents: list[Incident]) -> None:
    database = Database.open(folder, owner="a test")
    try:
        store = SqliteStore(database)
        await store.put(*incidents)
        await store.journal([entry(each) for each in decisions])
    finally:
        database.close()


def shadow_said(folder: Path, *words: str) -> str:
    config = folder / "config.toml"
    config.write_text(f'state_dir = "{folder}"\n')
    where = ["policy", "shadow", "--config", str(config), *words]
    said = CliRunner().invoke(app, where, catch_exceptions=False, env={"COLUMNS": "200"})
    assert said.exit_code == 0
    return " ".join(said.stdout.split())


async def test_the_command_line_tells_what_the_shadow_would_have_lost(tmp_path: Path) -> None:
    job = {"JOB_GPUS": 16.0, "AGE_S": 0.0}
    made = [
        replace(decided(100.0, Choice.WAIT, choice, **job), incident_id=f"i{k}")
        for k, choice in enumerate([Choice.WAIT, Choice.SWAP] * 20)
    ]
    await keep(tmp_path, made, [over(f"i{k}", 1000.0) for k in range(40)])

    found = json.loads(shadow_said(tmp_path, "--json"))

    assert (found["same"], found["decisions"], found["incidents"]) == (20, 40, 40)
    assert found["by_choice"] == {"wait": [20, 40]}
    assert found["why_not"] == ""
    assert found["lost_gpu_s_an_incident"]["acting"][0] == 900 * 8
    assert found["lost_gpu_s_an_incident"]["snips"][0] == 900 * 8
    assert "rl chose the same on 20 of 40 decisions" in shadow_said(tmp_path)


async def test_the_command_line_says_why_nothing_can_be_told(tmp_path: Path) -> None:
    sure = replace(
        decided(100.0, Choice.WAIT, Choice.SWAP, JOB_GPUS=8.0),
        propensity=1.0,
        shadow_propensity=0.0,
    )
    await keep(tmp_path, [sure], [over("i", 1000.0)])

    assert "left nothing to chance" in shadow_said(tmp_path)
    assert "set policy.shadow and wait" in shadow_said(tmp_path, "--since", "1h")
