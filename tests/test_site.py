"""How long things take at a site: set, refused where senseless, and moved by what is seen."""

from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import pytest

from agent.config import Reloader, check
from agent.config import load as load_settings
from agent.config.settings import SiteTimes
from agent.site_memory import SiteMemory
from agent.tuning import site_figures
from core.clock import ManualClock
from core.site import SiteFigures
from core.situation import Fact
from core.target import Target
from core.types import Action, IncidentState, Outcome, OutcomeStatus, PlanRecord, PlanState
from remediation.catalogue import make
from remediation.deciding.choosing import ChoosingPolicy
from remediation.deciding.policy import Past
from remediation.deciding.site_seen import PEOPLE, lessons, weighed
from remediation.policies.rulebook import Runbook
from tests.fakes import FakeCluster
from tests.healing import NOW_S, diagnosis, guards, incident, plan_of, record_of
from tests.loop import loop

NODE = Target(node="node-1")


def took(kind: str, seconds: float, status: OutcomeStatus = OutcomeStatus.SUCCEEDED) -> Outcome:
    action = make(kind, NODE, {}, plan_id=f"{kind}{seconds}", step=0)
    return Outcome(action, status, NOW_S - seconds, NOW_S, "done")


def plan(*outcomes: Outcome, id: str = "p1", state: PlanState = PlanState.DONE) -> PlanRecord:
    steps: list[Action] = [outcome.action for outcome in outcomes]
    made = plan_of(*((each.kind, each.target, {}) for each in steps), id=id)
    return record_of(replace(made, actions=tuple(steps)), state, *outcomes)


def test_the_defaults_of_the_settings_are_those_of_the_figures(tmp_path: Path) -> None:
    settings = load_settings([], environ={}).settings

    assert site_figures(settings) == SiteFigures()
    assert len(SiteTimes.model_fields) == len(fields(SiteFigures))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("repair = '0s'", 'at least "1s"'),
        ("people = '-5m'", "people"),
        ("page_gpu_hours = -1", "page_gpu_hours"),
        ("faults_a_day = 0", "faults_a_day"),
        ("false_share = 1.0", "false_share"),
        ("reboot = '2d'", "longer than a repair takes"),
    ],
)
def test_a_senseless_figure_is_refused(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"[site]\n{text}\n")

    (problem,) = check([file], environ={})

    assert said in str(problem)


async def test_a_reload_takes_figures_over(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'state_dir = "{tmp_path / "state"}"\n')
    read = partial(load_settings, [file], environ={})
    app = await loop(tmp_path / "state", ManualClock())
    reloader = Reloader(read(), read=read, apply=app.apply)
    with file.open("a") as more:
        more.write('[site]\npeople = "15m"\n')

    (change,) = reloader.reload()

    assert (change.key, change.needs_restart) == ("site.people", False)
    assert app.controller.heal.site.people_s == 900.0
    await app.close()


async def test_policies_see_the_figures() -> None:
    state = await FakeCluster(ManualClock(NOW_S)).state()
    past = Past(guards=guards(), site=SiteFigures(people_s=900.0, page_gpu_s=1.0, reboot_s=7.0))
    made = ChoosingPolicy(Runbook()).decide(
        incident(), diagnosis(), state, now_s=NOW_S, plan_id="p1", past=past
    )

    assert made.moment is not None
    facts = made.moment.situation.facts
    assert [facts[f] for f in (Fact.PEOPLE_S, Fact.PAGE_GPU_S, Fact.REBOOT_S)] == [900.0, 1.0, 7.0]


def test_what_was_set_counts_as_two_that_were_seen() -> None:
    seen = lessons([plan(took("reboot_node", 120.0), took("validate_node", 600.0))], [])

    found = weighed(SiteFigures(reboot_s=720.0, validate_s=1800.0), seen)

    assert found.reboot_s == pytest.approx((2 * 720.0 + 120.0) / 3)
    assert found.validate_s == pytest.approx((2 * 1800.0 + 600.0) / 3)
    assert found.people_s == SiteFigures().people_s


def test_what_failed_tells_no_time() -> None:
    seen = lessons([plan(took("reboot_node", 120.0, OutcomeStatus.TIMED_OUT))], [])

    assert weighed(SiteFigures(), seen) == SiteFigures()


def test_a_persons_time_runs_from_the_call_to_the_end_unless_a_plan_helped() -> None:
    page = plan(took("page_person", 300.0), id="page", state=PlanState.OVERRIDDEN)
    over = replace(incident(), state=IncidentState.RESOLVED, resolved_s=NOW_S + 900.0)
    helped = plan(took("restart_job", 60.0), id="restart")

    assert lessons([page], [over])[PEOPLE] == {"i1": 1200.0}
    assert lessons([page], [incident()])[PEOPLE] == {}
    assert lessons([page, helped], [over])[PEOPLE] == {}


def test_each_is_learned_once_and_kept() -> None:
    memory, seen = SiteMemory(), [plan(took("reboot_node", 120.0))]
    memory.note(seen, [], now_s=NOW_S)
    memory.note(seen, [], now_s=NOW_S + 86_400.0)
    kept = SiteMemory.remembering(memory.state())

    assert memory.figures(SiteFigures()).reboot_s == pytest.approx((2 * 720.0 + 120.0) / 3)
    assert kept.figures(SiteFigures()) == memory.figures(SiteFigures())
    assert SiteMemory.remembering({}).figures(SiteFigures()) == SiteFigures()
    assert kept.watched_days(NOW_S + 86_400.0) == 1.0
    broken = {**memory.state(), "figure": memory.state()["key"]}
    assert SiteMemory.remembering(broken).figures(SiteFigures()) == SiteFigures()


def test_faults_are_counted_by_the_days_of_watching() -> None:
    memory, site = SiteMemory(), SiteFigures(faults_a_day=1.0)
    memory.note((), (), now_s=NOW_S)
    opened = [replace(incident(), id=f"i{k}") for k in range(4)]
    memory.note((), opened, now_s=NOW_S + 2 * 86_400.0)

    assert SiteMemory().faults_a_day(site, 1024, NOW_S) == 1.0
    assert memory.faults_a_day(site, 1024, NOW_S + 2 * 86_400.0) == pytest.approx(4.25 / 2.25)
    memory.note((), (), now_s=NOW_S + 60 * 86_400.0)
    assert memory.watched_days(NOW_S + 60 * 86_400.0) == pytest.approx(28.0)
    assert memory.faults_a_day(site, 1024, NOW_S + 60 * 86_400.0) == pytest.approx(0.25 / 28.25)
