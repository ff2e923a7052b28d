"""The root helper does what it is asked once, within its bounds, and gives back what was there."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from agent.roothelper.journal import Change, Journal
from agent.roothelper.order import read_order
from agent.roothelper.processes import belongs
from agent.roothelper.settings import HelperSettings, read_settings
from core.clock import ManualClock
from core.errors import ConfigError
from tests.root_helper import WHO, Worker, ask, desk_at, worker

SLURM_V1 = "4:memory:/slurm/uid_1000/job_7/step_0/task_0\n0::/system.slice/slurmd.service"
SLURM_V2 = "0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0"
POD = "1f0e-22"
KUBERNETES = "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1f0e_22.slice/cri-1"
KUBERNETES_GUARANTEED = "0::/kubepods.slice/kubepods-pod1f0e_22.slice/cri-containerd-12.scope"
CGROUPFS = "0::/kubepods/besteffort/pod1f0e-22/12ab"


def nice(of: Worker) -> int:
    return os.getpriority(os.PRIO_PROCESS, of.process.pid)


def test_a_process_of_the_job_gets_its_signal_once(tmp_path: Path) -> None:
    with worker() as first, worker() as second:
        desk = desk_at(tmp_path)
        done = ask(desk, "signal", "a", signal="TERM", **first.named)
        ended = first.process.wait(60)
        again = ask(desk, "signal", "a", signal="TERM", **first.named)
        other = ask(desk, "signal", "a", signal="TERM", **second.named)

        assert (done["ok"], done["repeated"], done["inverse"], ended) == (True, False, None, -15)
        assert (again["ok"], again["repeated"]) == (True, True)
        assert (other["code"], second.runs) == ("key_used", True)


@pytest.mark.parametrize(
    ("changed", "settings", "code"),
    [
        ({"started": 1}, {}, "not_that_process"),
        ({"pid": 2**22 + 1}, {}, "not_that_process"),
        ({"pid": 2**62}, {}, "not_that_process"),
        ({}, {"job_cgroups": ("job_{job}",)}, "not_of_job"),
        ({}, {"least_uid": 2**31}, "not_a_user"),
        ({"signal": "SEGV"}, {}, "out_of_bounds"),
    ],
)
def test_another_process_is_never_hit(
    tmp_path: Path, changed: dict[str, object], settings: dict[str, Any], code: str
) -> None:
    with worker() as mine:
        desk = desk_at(tmp_path, **settings)
        refused = ask(desk, "signal", "a", **({"signal": "KILL"} | mine.named | changed))

        assert (refused["ok"], refused["code"], mine.runs) == (False, code, True)
        assert not (tmp_path / "journal.jsonl").exists()


@pytest.mark.parametrize(
    ("text", "job"),
    [
        (SLURM_V1, "7"),
        (SLURM_V2, "7"),
        (KUBERNETES, POD),
        (KUBERNETES_GUARANTEED, POD),
        (CGROUPFS, POD),
    ],
)
def test_a_job_is_known_by_its_cgroup(text: str, job: str) -> None:
    patterns = HelperSettings().job_cgroups

    assert belongs(text, job, patterns)
    assert not belongs(text, job[:-1] or "70", patterns)
    assert not belongs(text, f"{job}7", patterns)


def test_what_was_before_is_given_back(tmp_path: Path) -> None:
    with worker() as mine:
        before = nice(mine)
        low = ask(desk_at(tmp_path), "renice", "a", nice=before + 3, **mine.named)
        # Another process of the helper: what it knows is in the journal.
        lower = ask(desk_at(tmp_path), "renice", "b", nice=before + 5, **mine.named)
        during = nice(mine)
        back = ask(desk_at(tmp_path), key="c", **lower["inverse"])

        assert (low["before"], lower["before"]) == ([before, {}], [before, {}])
        assert (during, back["ok"], back["inverse"]) == (before + 5, True, None)
        twice = ask(desk_at(tmp_path), key="d", **lower["inverse"])
        assert (nice(mine) - before, twice["code"]) == (0, "nothing_held")


def test_a_persons_hand_wins(tmp_path: Path) -> None:
    with worker() as mine:
        desk = desk_at(tmp_path)
        low = ask(desk, "renice", "a", nice=nice(mine) + 3, **mine.named)
        os.setpriority(os.PRIO_PROCESS, mine.process.pid, 9)
        back = ask(desk, key="b", **low["inverse"])
        fresh = ask(desk, "renice", "c", nice=12, **mine.named)

        assert (back["code"], fresh["before"], nice(mine)) == ("overridden", [9, {}], 12)


def test_disk_urgency_is_set_and_given_back(tmp_path: Path) -> None:
    with worker() as mine:
        desk = desk_at(tmp_path)
        idle = ask(desk, "ionice", "a", io_class="idle", io_level=0, **mine.named)
        best = ask(desk, "ionice", "b", io_class="best-effort", io_level=7, **mine.named)
        back = ask(desk, key="c", **best["inverse"])

        assert (idle["ok"], best["ok"], back["ok"]) == (True, True, True)
        assert idle["before"] == best["before"]
        real_time = ask(desk, "ionice", "d", io_class="realtime", io_level=0, **mine.named)
        assert real_time["code"] == "out_of_bounds"


def test_a_job_may_read_how_many_loaders_would_do(tmp_path: Path) -> None:
    desk, hint = desk_at(tmp_path), tmp_path / "hints" / "7"
    first = ask(desk, "loader_hint", "a", job="7", loaders=8)

    assert (hint.read_text(), hint.stat().st_mode & 0o777) == ("8\n", 0o644)
    assert ask(desk, key="b", **first["inverse"])["ok"]
    assert not hint.exists()
    assert ask(desk, "loader_hint", "c", job="7", loaders=1000)["code"] == "out_of_bounds"
    assert ask(desk, "loader_hint", "d", job="../etc", loaders=1)["code"] == "input"


def test_a_process_may_have_any_name(tmp_path: Path) -> None:
    """The kernel cuts a name after 15 bytes, be that in the middle of a letter."""
    named = os.fsencode(tmp_path) + b"/\xff) S 1"
    Path(os.fsdecode(named)).symlink_to(shutil.which("sleep") or "")
    with worker(named) as mine:
        done = ask(desk_at(tmp_path), "signal", "a", signal="TERM", **mine.named)

        assert done["ok"], done
        assert mine.process.wait(60) == -15


def test_a_reboot_is_off_until_it_is_named(tmp_path: Path) -> None:
    told = tmp_path / "told"
    program = ("/usr/bin/touch", str(told))

    off = ask(desk_at(tmp_path, reboot=program), "reboot", "a")
    assert (off["code"], told.exists()) == ("not_enabled", False)
    on = ask(desk_at(tmp_path, reboot=program, verbs=("reboot",)), "reboot", "b")
    assert (on["ok"], on["inverse"], told.exists()) == (True, None, True)


def test_a_program_that_fails_is_told_and_not_tried_again_by_itself(tmp_path: Path) -> None:
    desk = desk_at(tmp_path, reboot=("/bin/false",), verbs=("reboot",))

    assert ask(desk, "reboot", "a")["error"] == "reboot: /bin/false ended with 1: "
    assert ask(desk, "reboot", "a")["code"] == "ended_before"


def test_an_order_that_a_crash_cut_short_is_not_repeated_and_can_be_given_back(
    tmp_path: Path,
) -> None:
    with worker() as mine:
        values = {"verb": "renice", "key": "a", "nice": 4, **mine.named}
        journal = Journal(tmp_path / "journal.jsonl", ManualClock())
        before = [nice(mine), {}]
        journal.begin(read_order(json.dumps(values).encode()), Change(before, [4, {}], True), WHO)
        os.setpriority(os.PRIO_PROCESS, mine.process.pid, 4)
        with journal.path.open("ab") as file:
            file.write(b'\n{"row":"end","key":"a","outc')  # and here the machine died

        desk = desk_at(tmp_path)
        again = desk.answer(json.dumps(values).encode(), WHO)
        back = ask(desk, "renice", "b", restore=True, **mine.named)

        assert again["code"] == "ended_before"
        assert "whether it had its effect is not known" in again["error"]
        assert (back["ok"], nice(mine)) == (True, before[0])
        assert ask(desk_at(tmp_path), "renice", "b", restore=True, **mine.named)["repeated"]


def test_what_an_earlier_boot_set_is_gone(tmp_path: Path) -> None:
    with worker() as mine:
        low = ask(desk_at(tmp_path), "renice", "a", nice=5, **mine.named)
        path = tmp_path / "journal.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines() if line]
        path.write_text("\n".join(json.dumps(row | {"boot": "before"}) for row in rows))

        refused = ask(desk_at(tmp_path), key="b", **low["inverse"])

        assert (refused["code"], nice(mine)) == ("nothing_held", 5)


def test_nothing_is_done_that_cannot_be_written_down(tmp_path: Path) -> None:
    with worker() as mine:
        desk = desk_at(tmp_path)
        (tmp_path / "journal.jsonl").mkdir()
        refused = ask(desk, "signal", "a", signal="KILL", **mine.named)

        assert (refused["code"], mine.runs) == ("store", True)


def test_too_many_orders_in_a_minute_are_refused(tmp_path: Path) -> None:
    desk = desk_at(tmp_path)
    answers = [ask(desk, "loader_hint", f"k{n}", job="7", loaders=1) for n in range(61)]

    assert [each.get("code") for each in answers] == [None] * 60 + ["too_many"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"\xff\xfe", "no JSON object"),
        (b"[1]", "no JSON object"),
        (b"[" * 4000, "no JSON object"),
        (b'{"verb": "exec", "key": "a"}', "The verb is 'exec'"),
        (b'{"verb": "reboot"}', "The key is None"),
        (b'{"verb": "reboot", "key": "a\\nb"}', "The key is"),
        (b'{"verb": "signal", "key": "a"}', "It needs ['job', 'pid', 'started', 'signal']"),
        (b'{"verb": "loader_hint", "key": "a", "job": "7", "loaders": true}', "a whole number"),
        (b'{"verb": "gpu_reset", "key": "a", "gpu": "0; reboot"}', "a GPU's UUID"),
        (b'{"verb": "gpu_reset", "key": "a", "gpu": "GPU-12345678", "restore": 2}', "restore is 2"),
    ],
)
def test_a_line_that_is_no_order_is_refused_with_what_would_be(
    tmp_path: Path, line: bytes, said: str
) -> None:
    refused = desk_at(tmp_path).answer(line, WHO)

    assert refused["code"] == "input"
    assert said in refused["error"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("verb = []", "there is no key verb"),
        ('verbs = ["exec"]', "verbs names exec"),
        ("least_nice = true", "least_nice = True is no int"),
        ("signals = [9]", "is no a list of texts"),
        ("user =", "Correct the file"),
    ],
)
def test_settings_that_cannot_be_meant_end_it(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "helper.toml"
    path.write_text(text)
    path.chmod(0o600)

    with pytest.raises(ConfigError, match=said):
        read_settings(path)


def test_settings_that_others_could_write_end_it(tmp_path: Path) -> None:
    path = tmp_path / "helper.toml"
    path.write_text("least_nice = 5")
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="others than root may write it"):
        read_settings(path)

    path.chmod(0o644)
    assert read_settings(path).least_nice == 5
    assert read_settings(tmp_path / "none.toml") == HelperSettings()
