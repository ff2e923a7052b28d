"""The journal in the place of /dev/kmsg: a real journald in a mount namespace of its own."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.kernel.cursor import FILE, Cursor, boot_id, write_cursor
from agent.kernel.following import Following
from agent.kernel.journal import Journal
from agent.kernel.kmsg import KMSG, Kmsg
from agent.kernel.log import KernelLog
from core.clock import RealClock
from core.types import Event
from tests.kmsg import GPU, PCI, UUID, XID
from tests.real import missing, program

JOURNALD = Path("/lib/systemd/systemd-journald")
READY_S = 60.0


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """Run journald with its files in a folder; gives the command that reads them."""
    run = tmp_path_factory.mktemp("journal")
    if not JOURNALD.exists():
        missing("systemd-journald is not installed: .ci/run installs systemd")
    if not (os.access(KMSG, os.R_OK | os.W_OK) and os.geteuid() == 0):
        missing("a journald of one's own takes root and /dev/kmsg", in_ci=False)
    if Path("/dev/nvidiactl").exists():
        missing("Xids that are made up would alarm who watches this machine's GPUs", in_ci=False)
    inside = f"mount --bind {run} /run && exec {JOURNALD}"
    own = [program("unshare"), "--mount", "--propagation", "private", "sh", "-c", inside]
    with subprocess.Popen(own, stderr=subprocess.DEVNULL) as running:
        try:
            command = (program("journalctl"), f"--directory={run}/log/journal")
            until((run / "log" / "journal").exists, running)
            yield command
        finally:
            running.terminate()


def until(holds: Callable[[], object], running: "subprocess.Popen[bytes] | None" = None) -> None:
    """Ask until it holds."""
    ends_s = time.monotonic() + READY_S
    while not holds():
        if running is not None and running.poll() is not None:
            missing("this machine lets nobody have a mount namespace", in_ci=False)
        assert time.monotonic() < ends_s, "it never came to be"
        time.sleep(0.05)


def log_of(command: tuple[str, ...], state: Path) -> KernelLog:
    return KernelLog(
        "n1",
        Following(RealClock(), state, (Kmsg(state / "no-such-file"), Journal(command))),
        gpus=lambda: {PCI: UUID},
    )


def says(line: str) -> None:
    KMSG.write_text(f"<4>{line}\n")


def hear(log: KernelLog, code: str) -> list[Event]:
    """Poll until an Xid of that code has come; return all Xids on the way."""
    found: list[Event] = []

    def come() -> bool:
        found.extend(event for event in log.poll()[0] if event.kind == "xid")
        return code in [event.code for event in found]

    until(come)
    return found


def test_the_journal_is_read_on_from_its_cursor(journal: tuple[str, ...], tmp_path: Path) -> None:
    """journald takes ``NVRM:`` off a line that came by way of a process; it is there again."""
    first = log_of(journal, tmp_path)
    says(XID.format(48))
    event = next(each for each in hear(first, "48") if each.code == "48")
    again = log_of(journal, tmp_path)
    says(XID.format(95))

    assert event.target == GPU
    assert event.text.startswith("NVRM: Xid (PCI:0000:3b:00): 48")
    assert abs(event.time_s - time.time()) < READY_S * 3
    assert [each.code for each in hear(again, "95")] == ["95"]
    assert again.following.lost == 0


def test_a_cursor_that_journald_does_not_know_is_said_and_replaced_by_now(
    journal: tuple[str, ...], tmp_path: Path
) -> None:
    says(XID.format(61))
    hear(log_of(journal, tmp_path / "other"), "61")
    write_cursor(tmp_path / FILE, Cursor(boot_id(), journal="s=garbage;i=1"))
    log = log_of(journal, tmp_path)

    told, (problem, *_) = log.poll()
    says(XID.format(120))

    assert (told, problem.code) == ((), "cursor_damaged")
    assert [each.code for each in hear(log, "120")] == ["120"]
    assert log.following.lost == 1


def test_what_a_flood_leaves_out_of_the_journal_is_skipped_and_counted(
    journal: tuple[str, ...],
) -> None:
    reader = Journal(journal)
    reader.open(None, boot_id())

    lines = list(reader.read(iter([True] * 3)))
    at_end = list(reader.read(iter([True])))

    assert [len(lines), len(at_end), reader.lost] == [3, 0, 1]


def test_a_program_that_hangs_or_is_not_there_costs_its_deadline(tmp_path: Path) -> None:
    hangs = Journal(("sh", "-c", "exec sleep 600"), deadline_s=0.1)
    absent = Following(RealClock(), tmp_path, (Journal(("no-such-journalctl",)),))
    silent = Following(RealClock(), tmp_path, (hangs,))

    problems = [KernelLog("n1", each).poll()[1] for each in (absent, silent)]

    assert [problem.code for found in problems for problem in found] == ["log_unreadable"] * 2
    assert "no-such-journalctl is not on PATH" in problems[0][0].text
