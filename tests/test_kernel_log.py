"""The kernel's log is followed from a cursor: nothing twice, nothing lost in silence, no flood."""

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from agent.checks.once import check_once
from agent.collect.nvml import NvmlReader
from agent.config import Settings
from agent.kernel.cursor import FILE, Cursor, boot_id, read_cursor, write_cursor
from agent.kernel.following import Following
from agent.kernel.kmsg import KMSG, Kmsg
from agent.kernel.log import KernelLog
from agent.kernel.recent import recent
from agent.kernel.tally import MOST_EVENTS, Tally
from agent.kernel.wiring import kernel_log_of
from core.clock import Clock, ManualClock, RealClock
from core.codec import from_json
from core.target import Target
from core.types import Event, Severity
from tests.kmsg import GPU, PCI, UUID, XID, Buffer
from tests.real import missing


@pytest.fixture
def buffer(tmp_path: Path) -> Iterator[Buffer]:
    made = Buffer(tmp_path)
    yield made
    made.close()


def log_of(path: Path, clock: Clock, *, state: Path | None = None, most: int = 5_000) -> KernelLog:
    following = Following(clock, state, (Kmsg(path),), most=most)
    return KernelLog("n1", following, gpus=lambda: {PCI: UUID})


def codes(log: KernelLog) -> list[str]:
    return [event.code for event in log.poll()[0]]


def trouble(log: KernelLog) -> list[str]:
    return [problem.code for problem in log.poll()[1]]


def test_what_is_new_is_told_once_with_gpu_and_time(buffer: Buffer, clock: ManualClock) -> None:
    log = log_of(buffer.path, clock)
    buffer.write(XID.format(48), "an ordinary line", XID.format(63), boot_s=0.0)

    told, problems = log.poll()

    assert problems == ()
    assert [(e.target, e.kind, e.code) for e in told] == [(GPU, "xid", "48"), (GPU, "xid", "63")]
    assert told[0].time_s == clock.now_s() - clock.monotonic_s()
    assert log.poll() == ((), ())


def test_the_next_process_reads_on_where_this_one_stood(
    buffer: Buffer, clock: ManualClock, tmp_path: Path
) -> None:
    first = log_of(buffer.path, clock, state=tmp_path)
    buffer.write(XID.format(31), XID.format(13))
    assert codes(first) == ["31", "13"]

    second = log_of(buffer.path, clock, state=tmp_path)
    buffer.write(XID.format(31), XID.format(13), XID.format(79))

    assert codes(second) == ["79"]
    assert second.following.lost == 0


async def test_another_boot_is_read_from_its_beginning(
    buffer: Buffer, clock: ManualClock, tmp_path: Path
) -> None:
    write_cursor(tmp_path / FILE, Cursor("another boot", 500))
    buffer.write(XID.format(79), boot_s=1.0)
    await clock.advance(7200.0)

    assert codes(log_of(buffer.path, clock, state=tmp_path)) == ["79"]


async def test_at_the_first_start_only_the_last_minutes_are_news(
    buffer: Buffer, clock: ManualClock
) -> None:
    """An Xid of three days ago was somebody else's trouble."""
    buffer.write(XID.format(79), boot_s=0.0)
    buffer.write(XID.format(48), first=2, boot_s=86_000.0)
    log = log_of(buffer.path, clock)
    await clock.advance(86_400.0)

    assert codes(log) == ["48"]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\x00\xff" * 40,
        b"[1, 2]",
        b'{"boot": "b", "number": 1e3, "journal": ""}',
        b'{"boot": "b", "number": -5, "journal": ""}',
        b'{"boot": "b", "number": 5, "journal": "--file=/etc/shadow"}',
        b'{"boot": "b", "number": 5',
        b"[" * 5000,
    ],
)
def test_a_damaged_cursor_is_said_and_replaced_by_now(
    buffer: Buffer, clock: ManualClock, tmp_path: Path, damage: bytes
) -> None:
    (tmp_path / FILE).write_bytes(damage)
    log = log_of(buffer.path, clock, state=tmp_path)
    buffer.write(XID.format(79))

    told, (problem,) = log.poll()
    buffer.write(XID.format(48), first=2)

    assert (told, problem.code) == ((), "cursor_damaged")
    assert "from now on" in problem.text
    assert codes(log) == ["48"]
    assert log.following.lost == 1
    assert read_cursor(tmp_path / FILE) == Cursor(boot_id(), 2)


def test_what_was_overwritten_is_counted(buffer: Buffer, clock: ManualClock) -> None:
    log = log_of(buffer.path, clock)
    buffer.write("one", "two")
    log.poll()
    buffer.write(XID.format(79), first=50)

    assert codes(log) == ["79"]
    assert log.following.lost == 47
    assert 'gpumedic_kernel_log_lost_total{node="n1"} 47.0' in log.text()


def test_the_kernels_word_that_it_overwrote_something_ends_no_read(
    buffer: Buffer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, read, answers = log_of(buffer.path, clock), os.read, [errno.EPIPE]

    def overrun(fd: int, size: int) -> bytes:
        if answers:
            raise OSError(answers.pop(), "overwritten")
        return read(fd, size)

    buffer.write(XID.format(79))
    monkeypatch.setattr(os, "read", overrun)

    assert codes(log) == ["79"]


def test_a_record_that_is_cut_or_garbled_costs_itself_only(
    buffer: Buffer, clock: ManualClock
) -> None:
    log = log_of(buffer.path, clock)
    for record in (b"4,1,", b"\xff\xfe", b"4,2,5,-", b"4,99999999999999999999999,5,-;x\n"):
        buffer.raw(record)
    buffer.write(XID.format(79), first=3)

    assert codes(log) == ["79"]
    assert log.following.garbled == 4


async def test_a_flood_is_one_event_a_poll_and_bounded(buffer: Buffer, clock: ManualClock) -> None:
    log = log_of(buffer.path, clock, most=100)
    buffer.write(*[XID.format(31)] * 250)

    (first,), _ = log.poll()
    for _ in range(2):
        await clock.advance(1.0)
        log.poll()

    assert first.text.endswith("(100 times)")
    assert log.tally.counts[GPU, "xid", "31"].times == 250
    assert log.following.lines == 250


@pytest.mark.parametrize(("every_s", "fits"), [(1 / 64, 7.8125), (1 / 32, 15.625), (15.0, 50)])
async def test_a_flood_is_read_at_one_pace_however_often_it_is_looked_at(
    buffer: Buffer, clock: ManualClock, every_s: float, fits: float
) -> None:
    """A line takes up to 20 microseconds: 500 of them a second are 1 % of a core."""
    log, read = log_of(buffer.path, clock, most=50), []
    buffer.write(*["a line of a flood"] * 200)

    for _ in range(3):
        log.poll()
        read.append(log.following.lines)
        await clock.advance(every_s)

    assert read == [50, int(50 + fits), int(50 + 2 * fits)]


def test_of_a_hundred_thousand_lines_a_second_each_is_read_or_counted(
    buffer: Buffer, clock: ManualClock
) -> None:
    log, second = log_of(buffer.path, clock), 100_000
    buffer.overrun(second, "a line of a flood")
    assert log.poll() == ((), ())
    buffer.write(XID.format(79), first=second + 1)

    assert codes(log) == ["79"]
    assert log.following.lines > 1
    assert log.following.lines + log.following.lost == second + 1


def test_no_flood_of_names_fills_the_page(clock: ManualClock) -> None:
    tally = Tally(most_keys=10)
    events = [
        Event(Target(node="n1", port=f"eth{n}"), n, "link_down", "", "x", Severity.WARNING)
        for n in range(MOST_EVENTS + 50)
    ]

    tally.take(events)

    assert len(tally.counts) == 11
    assert tally.counts[Target(node="n1"), "other", ""].times == MOST_EVENTS + 40
    assert tally.after(0) == (MOST_EVENTS + 50, tuple(events[50:]))
    assert tally.after(MOST_EVENTS + 49)[1] == tuple(events[-1:])


def test_an_event_says_which_jobs_it_hit_when_it_came(clock: ManualClock) -> None:
    """In its text, and in a label of when it was last; not of the count, which goes on."""
    jobs = {1.0: "Slurm job 9 of ann", 7.0: "Slurm job 12 of bob"}
    tally = Tally(lambda gpu, time_s: jobs.get(time_s, "") if gpu == UUID else "")
    xids = [Event(GPU, time_s, "xid", "94", "Xid 94", Severity.WARNING) for time_s in (1, 2, 7)]
    down = Event(Target(node="n1"), 1.0, "thermal", "", "hot", Severity.WARNING)

    (first,) = tally.take(xids[:2])
    before = tally.text()
    (second, other) = tally.take([xids[2], down])[::-1]
    labels = f'node="n1",gpu="{UUID}",kind="xid",code="94",severity="warning"'

    assert first.text == "Xid 94 (2 times); it hits Slurm job 9 of ann"
    assert f"timestamp_seconds{{{labels}}} 2.0" in before
    assert (second.text, other.text) == ("Xid 94; it hits Slurm job 12 of bob", "hot")
    assert f'timestamp_seconds{{{labels},hits="Slurm job 12 of bob"}} 7.0' in tally.text()
    assert f"total{{{labels}}} 3.0" in tally.text()


def test_a_log_that_cannot_be_read_is_said_and_tried_again(
    tmp_path: Path, clock: ManualClock
) -> None:
    log = log_of(tmp_path / "kmsg", clock)
    assert trouble(log) == ["log_unreadable"]

    buffer = Buffer(tmp_path)
    buffer.write(XID.format(79))

    assert codes(log) == ["79"]
    buffer.close()


def test_one_xid_told_to_nvml_and_to_the_log_is_one(buffer: Buffer, clock: ManualClock) -> None:
    now_s = clock.now_s()
    told = [[Event(GPU, now_s + 1, "xid", "31", "NVML", Severity.WARNING)], [], []]
    log = replace(log_of(buffer.path, clock), more=(lambda: told.pop(0),))
    buffer.write(XID.format(31), boot_s=0.0)
    assert len(log.poll()[0]) == 1

    # The log's own second one is a second one; one that NVML has alone is news too.
    buffer.write(XID.format(31), first=2, boot_s=4.0)
    told[0] = [Event(GPU, now_s + 60, "xid", "45", "NVML", Severity.WARNING)]
    second, _ = log.poll()

    assert [(e.code, e.severity) for e in second] == [
        ("31", Severity.WARNING),
        ("45", Severity.INFO),
    ]
    assert log.snapshot().readings[0].value == 45.0


def test_what_the_driver_says_a_gpu_needs_is_told_as_it_changes(
    buffer: Buffer, clock: ManualClock
) -> None:
    needs = {UUID: "none"}
    log = replace(log_of(buffer.path, clock), recovery=lambda: needs)
    assert codes(log) == []

    needs[UUID] = "reset_gpu"
    assert codes(log) == ["reset_gpu"]
    needs[UUID] = ""  # a driver that does not answer says nothing
    assert codes(log) == []
    line = "154, GPU recovery action changed from 0x1 (GPU Reset Required) to 0x2 (Node Reboot)"
    buffer.write(f"NVRM: Xid (PCI:{PCI}): {line}")
    assert codes(log) == ["154", "reboot_node"]
    needs[UUID] = "reboot_node"  # the log was quicker than the field
    assert codes(log) == []


def test_events_are_served_from_a_number_on(buffer: Buffer, clock: ManualClock) -> None:
    log = log_of(buffer.path, clock)
    client = TestClient(Starlette(routes=log.routes()))
    buffer.write(XID.format(79))
    log.poll()

    first = client.get("/v1/events").json()
    then = client.get("/v1/events", params={"after": first["cursor"]}).json()
    odd = client.get("/v1/events", params={"after": "9" * 40}).json()

    assert from_json(tuple[Event, ...], first["events"])[0].target == GPU
    assert then == odd == {"cursor": "1", "events": []}


# What tests say in the kernel's own name must alarm nobody who watches this machine: no Xid.
HARMLESS = "<4>INFO: task gpumedic-test:1 blocked for more than 120 seconds.\n"


@pytest.fixture
def kmsg() -> Iterator[int]:
    """The kernel's own buffer, open for writing."""
    try:
        to = os.open(KMSG, os.O_WRONLY)
        os.close(os.open(KMSG, os.O_RDONLY))
    except OSError as error:
        missing(f"/dev/kmsg: {error.strerror}; it takes root", in_ci=False)
    yield to
    os.close(to)


def test_a_log_that_is_not_to_be_read_is_not_opened(clock: ManualClock) -> None:
    told = [Event(GPU, clock.now_s(), "xid", "79", "NVML: Xid 79", Severity.WARNING)]
    nvml = NvmlReader("n1", clock=clock)
    log = kernel_log_of("n1", nvml, None, state_dir=None, clock=clock, read=False)

    assert replace(log, more=(lambda: told,)).poll()[0][0].code == "79"
    assert log.poll() == ((), ())
    assert log.following.lines == 0


def test_a_line_in_the_kernels_own_buffer_is_an_event(kmsg: int, tmp_path: Path) -> None:
    first = log_of(KMSG, RealClock(), state=tmp_path)
    first.poll()
    os.write(kmsg, HARMLESS.encode())

    told, problems = first.poll()
    again = log_of(KMSG, RealClock(), state=tmp_path)

    assert problems == ()
    assert [e.kind for e in told if "gpumedic-test" in e.text] == ["hung_task"]
    assert abs(told[0].time_s - RealClock().now_s()) < 60.0
    assert again.poll()[0] == ()


async def test_what_a_flood_leaves_out_shows_in_the_kernels_numbers(
    kmsg: int, clock: ManualClock
) -> None:
    os.write(kmsg, b"<6>gpumedic test: one\n")
    os.write(kmsg, b"<6>gpumedic test: two\n")
    log = log_of(KMSG, clock, most=1)

    log.poll()
    await clock.advance(1.0)
    os.write(kmsg, b"<6>gpumedic test: three\n")
    log.poll()

    assert log.following.lines == 2
    assert log.following.lost >= 1


def test_a_check_reads_what_was_said_of_late(kmsg: int) -> None:
    os.write(kmsg, HARMLESS.encode())

    heard = recent("n1", since_s=60.0, clock=RealClock())
    (state,) = check_once(Settings(), "n1", only=["kernel"])

    assert heard.problems == ()
    assert any("gpumedic-test" in event.text for event in heard.events)
    assert state.reason.startswith("n1")
