"""The audit tells when work is at risk, and only then; it copies, and advises how often to save."""

import math
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.checkpoints.advice import FailureRate, advice
from agent.checkpoints.audit import REREAD_S, Audit, Watched
from agent.checkpoints.catalogue import Look
from agent.checkpoints.places import Place
from agent.checkpoints.wiring import CheckpointAges, KnownCheckpoints
from agent.checkpoints.work import Looker
from agent.launch.jobside.gpumedic_job import rhythm
from agent.launch.jobside.gpumedic_job.manifest import Saved, seal
from agent.metrics import Metrics
from core.clock import ManualClock
from core.cluster import ClusterState, JobPhase
from core.errors import ActionFailed
from core.target import Target
from core.types import Incident
from remediation.capacity.look import Outlook
from remediation.capacity.needs import INTERVAL, needs
from remediation.catalogue import CATALOG, make
from remediation.policies.interval import best_interval_s
from tests.checkpoint_files import cut, flip, listed, save
from tests.fakes import FakeCluster
from tests.loop import cycles, loop

HOUR_S = 3600.0
JOB = "train"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    folder.mkdir()
    return folder


def saved_at(folder: Path, step: int, time_s: float) -> Path:
    """Save as the job would have at that time."""
    path = save(folder / f"step_{step}.pt", step)
    os.utime(path, (time_s, time_s))
    return path


def audit(folder: Path, clock: ManualClock, **chosen: Any) -> Audit:
    watched = Watched(JOB, folder, HOUR_S, copies=chosen.pop("copies", ""))
    return Audit((watched,), clock, **chosen)


async def told(found: Audit) -> list[str]:
    await found.look()
    return [f"{event.code} {event.severity}" for event in await found.events()]


async def test_only_beyond_its_loss_budget_is_a_job_told_of(job: Path, clock: ManualClock) -> None:
    saved_at(job, 1, clock.now_s())
    found = audit(job, clock)
    said = []
    for _ in range(4):
        said.append(await told(found))
        await clock.advance(2000.0)
    saved_at(job, 2, clock.now_s())

    assert said == [[], [], ["too_old warning"], ["too_old warning"]]
    assert await told(found) == []


async def test_it_says_which_newer_one_is_damaged_and_how_old_the_valid_one_is(
    job: Path, clock: ManualClock
) -> None:
    start_s = clock.now_s()
    saved_at(job, 1, start_s - 2.5 * HOUR_S)
    flip(saved_at(job, 2, start_s - HOUR_S / 2), 2500)
    cut(saved_at(job, 3, start_s - HOUR_S / 4), 900)
    for step, back_s in ((2, HOUR_S / 2), (3, HOUR_S / 4)):
        os.utime(job / f"step_{step}.pt", (start_s - back_s, start_s - back_s))
    found = audit(job, clock)

    said = await told(found)
    (event,) = await found.events()

    assert said == ["too_old critical"]
    assert event.target == Target(job=JOB)
    assert "of step 1 is 2 h 30 min old; its loss budget is 1 h" in event.text
    assert "step_3.pt is truncated" in event.text
    assert "step_2.pt is bit-flipped" in event.text


async def test_one_that_retention_removes_between_two_looks_is_no_damage(
    job: Path, clock: ManualClock
) -> None:
    for step in (1, 2):
        saved_at(job, step, clock.now_s() + step)
    found = audit(job, clock)
    async with Looker() as looker:
        headers = await looker.look(job, Look(read_bytes=0), now_s=clock.now_s())
        (job / "step_2.pt").unlink()
        listing = await found._read_newest(looker, found.watched[0], headers)

    assert [(each.name, each.valid) for each in listing.checkpoints] == [("step_1.pt", True)]
    assert [*found._read[JOB]] == ["step_1.pt"]


async def test_an_error_that_passes_condemns_no_checkpoint(job: Path, clock: ManualClock) -> None:
    """It is away for a moment while it is read: the next look reads it again."""
    path = saved_at(job, 1, clock.now_s())
    found = audit(job, clock)
    async with Looker() as looker:
        headers = await looker.look(job, Look(read_bytes=0), now_s=clock.now_s())
        path.rename(job / "away")
        path.symlink_to("nowhere")
        during = await found._read_newest(looker, found.watched[0], headers)
        path.unlink()
        (job / "away").rename(path)
    await found.look()

    assert [each.state for each in during.checkpoints] == ["unreadable"]
    assert found.saved_s(JOB) == clock.now_s()


async def test_what_was_being_written_is_read_again(job: Path, clock: ManualClock) -> None:
    """As long and as old as it will be, and not all of it there yet."""
    path = saved_at(job, 1, clock.now_s())
    whole = path.read_bytes()
    found = audit(job, clock)
    with path.open("r+b") as file:
        file.write(whole[:2500] + bytes(100))
        file.flush()
        os.utime(path, (clock.now_s(), clock.now_s()))
        await found.look()
        (during,) = found.standing[JOB].listing.checkpoints
        file.seek(0)
        file.write(whole)
    os.utime(path, (clock.now_s(), clock.now_s()))
    await found.look()

    assert during.state == "being written"
    assert found.saved_s(JOB) == clock.now_s()


async def test_a_job_without_any_is_given_its_budget_first(job: Path, clock: ManualClock) -> None:
    found = audit(job, clock)

    first = await told(found)
    await clock.advance(HOUR_S + 1)
    later = await told(found)

    assert (first, later) == ([], ["none_valid warning"])


async def test_a_folder_that_is_gone_is_said(tmp_path: Path, clock: ManualClock) -> None:
    found = audit(tmp_path / "away", clock)
    await found.look()
    await clock.advance(HOUR_S + 1)

    assert await told(found) == ["none_valid warning"]
    (event,) = await found.events()
    assert "No such file or directory" in event.text


async def test_a_folder_that_is_away_for_a_moment_is_no_alarm_and_nothing_to_rely_on(
    job: Path, clock: ManualClock
) -> None:
    found = audit(job, clock)
    await clock.advance(10 * HOUR_S)
    saved_at(job, 1, clock.now_s())
    before = (await told(found), found.saved_s(JOB))
    away = job.with_name("away")
    shutil.move(job, away)
    during = (await told(found), found.saved_s(JOB))
    shutil.move(away, job)
    after = (await told(found), found.saved_s(JOB))

    assert before == after == ([], clock.now_s())
    assert during == ([], None)


async def test_a_job_that_does_not_run_loses_nothing(job: Path, clock: ManualClock) -> None:
    saved_at(job, 1, clock.now_s() - 2 * HOUR_S)
    cluster = FakeCluster(clock)
    found = audit(job, clock, state=cluster.state)
    running = await told(found)
    cluster.jobs[JOB] = replace(cluster.jobs[JOB], phase=JobPhase.COMPLETED)

    assert running == ["too_old warning"]
    assert await told(found) == []


async def test_bits_that_rot_are_found_within_a_day_and_reading_is_not_repeated_before(
    job: Path, clock: ManualClock, tmp_path: Path
) -> None:
    """The same length and time, other bytes: only reading shows it, and it is read once a day."""
    start_s = clock.now_s()
    path = saved_at(job, 1, start_s)
    found = audit(job, clock, memory=tmp_path / "kept.json")
    await found.look()
    flip(path, 2500)
    os.utime(path, (start_s, start_s))

    await clock.advance(REREAD_S / 2)
    another = audit(job, clock, memory=tmp_path / "kept.json")
    await another.look()
    believed = another.saved_s(JOB)
    await clock.advance(REREAD_S / 2)
    await another.look()

    assert believed == start_s
    assert another.saved_s(JOB) is None


async def test_where_contents_are_not_to_be_read_headers_are_believed(
    job: Path, clock: ManualClock
) -> None:
    path = saved_at(job, 1, clock.now_s())
    flip(path, 2500)
    os.utime(path, (clock.now_s(), clock.now_s()))
    by_headers = Audit((Watched(JOB, job, HOUR_S, read=False),), clock)
    in_full = Audit((Watched(JOB, job, HOUR_S),), clock)
    await by_headers.look()
    await in_full.look()

    assert by_headers.saved_s(JOB) == clock.now_s()
    assert in_full.saved_s(JOB) is None


async def test_what_was_kept_and_cannot_be_read_is_learned_anew(
    job: Path, clock: ManualClock, tmp_path: Path
) -> None:
    saved_at(job, 1, clock.now_s())
    for text in (
        "",
        "[]",
        '{"rate": {"failures": -1}, "read": {}}',
        '{"rate": {}, "read": {"a": 1}}',
    ):
        (tmp_path / "kept.json").write_text(text)
        found = audit(job, clock, memory=tmp_path / "kept.json")

        assert await told(found) == []
        assert found.rate.node_days == 0.0


async def test_copies_are_made_and_a_place_that_fails_is_told(
    job: Path, tmp_path: Path, clock: ManualClock
) -> None:
    saved_at(job, 1, clock.now_s())
    good = audit(job, clock, copies=str(tmp_path / "copies"))
    await good.look()
    await good.copy()
    (tmp_path / "file").write_text("in the way")
    bad = audit(job, clock, copies=str(tmp_path / "file" / "below"))
    await bad.look()
    await bad.copy()

    assert [each.name for each in Place(str(tmp_path / "copies")).copies()] == ["step_1.pt"]
    assert await told(good) == []
    assert await told(bad) == ["not_copied warning"]
    (event,) = await bad.events()
    assert "Name a folder that this user may write to" in event.text


async def test_metrics_show_age_cost_states_and_copies(
    job: Path, tmp_path: Path, clock: ManualClock
) -> None:
    metrics = Metrics(version="0", mode="controller")
    start_s = clock.now_s()
    path = saved_at(job, 1, start_s)
    seal(path, Saved(start_s - 50.0, 1, save_s=4.0), form="torch.save")
    cut(saved_at(job, 2, start_s), 800)
    found = audit(job, clock, shown=metrics.saved, copies=str(tmp_path / "copies"))
    await found.look()
    await found.copy()

    page = metrics.exposition("")[0].decode()

    for line in (
        'gpumedic_checkpoint_age_seconds{job="train"} 50.0',
        'gpumedic_checkpoint_save_seconds{job="train"} 4.0',
        'gpumedic_checkpoint_copy_age_seconds{job="train"} 50.0',
        'gpumedic_checkpoints{job="train",state="complete"} 1.0',
        'gpumedic_checkpoints{job="train",state="truncated"} 1.0',
    ):
        assert line in page


async def test_the_scheduler_s_word_gives_way_to_what_was_found(
    job: Path, clock: ManualClock
) -> None:
    """A guard that asks whether a job can go back asks for a checkpoint that is whole."""
    cluster = FakeCluster(clock)
    found = audit(job, clock)
    known = KnownCheckpoints(cluster, found)
    before = (await known.state()).job(JOB)
    cut(saved_at(job, 2, clock.now_s()), 800)
    await found.look()
    none_valid = (await known.state()).job(JOB)
    saved_at(job, 3, clock.now_s() - 7.0)
    await found.look()
    valid = (await known.state()).job(JOB)

    reported = cluster.jobs[JOB].checkpoint_s
    assert before is not None
    assert none_valid is not None
    assert valid is not None
    assert before.checkpoint_s == reported
    assert none_valid.checkpoint_s is None
    assert valid.checkpoint_s == clock.now_s() - 7.0


async def test_a_node_service_shows_the_age(job: Path, clock: ManualClock) -> None:
    saved_at(job, 1, clock.now_s() - 30.0)
    found = audit(job, clock)
    await found.look()

    (reading,) = CheckpointAges(found, clock).snapshot().readings

    assert (reading.metric, reading.target, reading.value) == (
        "job_checkpoint_age_s",
        Target(job=JOB),
        30.0,
    )


@pytest.fixture
async def watched_loop(job: Path, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Any]:
    """A controller whose settings name the job's folder."""
    folder = {"job": JOB, "path": str(job), "loss_budget": "1h"}
    app = await loop(
        tmp_path / "state",
        clock,
        cluster=FakeCluster(clock),
        checkpoints={"folder": [folder], "audit": "5m"},
    )
    yield app
    await app.close()


async def test_a_late_checkpoint_opens_an_incident_that_ends_with_the_next_save(
    watched_loop: Any, job: Path, clock: ManualClock
) -> None:
    app = watched_loop
    saved_at(job, 1, clock.now_s() - 2 * HOUR_S)
    await app.audit.look()
    await cycles(app, clock, 2)
    (opened,) = await app.controller.store.find(Incident)
    diagnosis = app.controller.watch.diagnoses[opened.id]
    saved_at(job, 2, clock.now_s())
    await app.audit.look()
    await cycles(app, clock, 30)
    (ended,) = await app.controller.store.find(Incident)

    assert opened.jobs == (JOB,)
    assert "loss budget is 1 h" in opened.events[0].text
    assert diagnosis.causes[0].fault == "checkpoint_failing"
    assert (opened.state, ended.state) == ("open", "resolved")


def test_the_best_interval_goes_by_the_median_cost_and_the_failures_seen(job: Path) -> None:
    for number in range(4):
        path = saved_at(job, 100 * (number + 1), 0.0)
        seal(
            path, Saved(600.0 * number, 100 * (number + 1), fence=1, save_s=5.0 + number), form="x"
        )

    found = advice(listed(job).checkpoints, 20_000.0)

    assert found is not None
    assert found.save_s == 6.5
    assert found.best_s == best_interval_s(6.5, 20_000.0)
    assert (found.now_s, found.steps) == (600.0, round(found.best_s / 6.0))
    assert found.lost_now is not None
    assert found.lost_best <= found.lost_now


def test_without_a_cost_there_is_no_advice(job: Path) -> None:
    saved_at(job, 1, 0.0)

    assert advice(listed(job).checkpoints, 1000.0) is None


def test_failures_seen_move_what_was_published(clock: ManualClock) -> None:
    """A calm year lowers the rate, a bad day raises it; a stop and a restart are one failure."""
    cluster = FakeCluster(clock)
    calm, bad = FailureRate(), FailureRate()
    published = calm.a_node_day
    at_s = 0.0
    for _ in range(24 * 50):
        at_s += HOUR_S
        calm.note(look(cluster, at_s))
    for restarts in range(4):
        at_s += HOUR_S
        bad.note(look(cluster, at_s, restarts=restarts))

    assert math.isclose(calm.node_days, (24 * 50 - 1) / 24 * 4)
    assert calm.a_node_day < published < bad.a_node_day
    assert bad.failures == 3
    assert FailureRate.remembering(bad.state()) == FailureRate(3, bad.node_days)


def look(cluster: FakeCluster, at_s: float, *, restarts: int = 0) -> ClusterState:
    job = replace(cluster.jobs[JOB], restarts=restarts)
    return ClusterState(at_s, None, (), (job,))  # type: ignore[arg-type]  # nobody asks for places


async def test_the_interval_goes_from_what_saves_cost_to_the_job_and_is_verified(
    job: Path, clock: ManualClock
) -> None:
    """Seen in the manifests, proposed for the failures there are, left beside them, gone by."""
    for number in range(3):
        step, at_s = 100 * number, clock.now_s() - 1800.0 * (3 - number)
        seal(saved_at(job, step, at_s), Saved(at_s, step, fence=1, save_s=60.0), form="torch.save")
    cluster, found, training = FakeCluster(clock), audit(job, clock), rhythm.Rhythm(job, 100)
    known = KnownCheckpoints(cluster, found)
    await found.look()
    silent = await known.state()
    outlook = Outlook(silent, clock.now_s(), faults_a_day=48.0, watched_days=2.0)
    (need,) = (need for need in needs(outlook, new_id=lambda: "p") if need.fault == INTERVAL)
    (action,) = need.actions
    before = silent.job(JOB)
    with pytest.raises(ActionFailed, match="no such action"):
        await known.perform(action)  # nobody listens there: it is the scheduler's to refuse
    training.look()
    await known.perform(action)
    asked = (await known.state()).job(JOB)
    training.look()
    state = await known.state()
    taken = state.job(JOB)

    assert before is not None
    assert asked is not None
    assert taken is not None
    assert (before.interval_s, before.stall_s) == (asked.interval_s, asked.stall_s) == (1800, 60)
    mean_s = 86_400.0 / 48.0 * len(cluster.nodes) / len(before.nodes)
    assert taken.interval_s == pytest.approx(best_interval_s(60.0, mean_s), abs=10.0)
    assert not CATALOG[action.kind].done(action, silent, clock.now_s())
    assert CATALOG[action.kind].done(action, state, clock.now_s())


async def test_a_folder_that_cannot_be_written_is_said_to_whoever_asks(
    tmp_path: Path, clock: ManualClock
) -> None:
    (tmp_path / "job").mkdir()
    rhythm.Rhythm(tmp_path / "job", 100).look()
    (tmp_path / "job" / rhythm.ASKED).mkdir()  # nothing can be put in its place
    known = KnownCheckpoints(FakeCluster(clock), audit(tmp_path / "job", clock))
    kind, params = "set_checkpoint_interval", {"interval_s": 60.0}
    action = make(kind, Target(job=JOB), params, plan_id="p", step=0)

    with pytest.raises(ActionFailed, match=r"job train how often to save: .* cannot be written"):
        await known.perform(action)
