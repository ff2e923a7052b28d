"""A history on disk outlives a restart; a damaged or a foreign file, or a full disk, is told."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agent import history_folder
from agent.history import History
from core.errors import StoreError, StoreLocked
from core.target import Target
from tests.real import small_volume
from tests.test_history import METRIC, NOW_S, SPAN_S, STEP_S, everything, ramp, window


def reopened(path: Path) -> History:
    return History(path, step_s=STEP_S, span_s=SPAN_S)


def test_a_restart_is_warm(tmp_path: Path) -> None:
    first = reopened(tmp_path)
    first.merge(window(-39, ramp(40)), now_s=NOW_S)
    first.merge(window(0, ramp(1), metric="port_errors_total"), now_s=NOW_S)
    before = everything(first)
    first.close()

    second = reopened(tmp_path)

    assert second.found_problems == ()
    assert second.metrics() == (METRIC, "port_errors_total")
    assert everything(second).targets == before.targets
    np.testing.assert_array_equal(everything(second).value, before.value)
    assert second.stats(needed_s=39 * STEP_S).learning == 2
    second.close()


KILLED = """
import os, signal, sys
import numpy as np
from pathlib import Path
from tests.test_history_disk import *
h = reopened(Path(sys.argv[1]))
for step in range(30):
    h.merge(window(step - 30, ramp(1, rows=5) + step), now_s=NOW_S)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_all_it_merged(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent

    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, check=False)

    assert ended.returncode == -signal.SIGKILL
    history = reopened(tmp_path)
    kept = history.window(METRIC, start_s=NOW_S - 30 * STEP_S, end_s=NOW_S - STEP_S)
    assert history.found_problems == ()
    np.testing.assert_array_equal(kept.value, ramp(1, rows=5) + np.arange(30))
    history.close()


def filled(path: Path) -> None:
    history = reopened(path)
    history.merge(window(-39, ramp(40)), now_s=NOW_S)
    history.merge(window(-39, ramp(40), metric="node_up"), now_s=NOW_S)
    history.close()


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scribbled_on(path: Path) -> None:
    path.write_bytes(b"\xff" * 100 + path.read_bytes()[100:])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_in_half, scribbled_on, emptied, Path.unlink])
@pytest.mark.parametrize("name", [f"{METRIC}.ring", f"{METRIC}.json", "index.json"])
def test_a_damaged_file_is_told_and_started_anew(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    """What is left is whole or gone: never another value than was put there."""
    filled(tmp_path)
    damage(tmp_path / name)

    history = reopened(tmp_path)

    whole = "node_up" if name.startswith(METRIC) else None
    never_there = name.endswith(".ring") and damage is Path.unlink
    assert len(history.found_problems) == (0 if never_there else 1)
    assert history.metrics() == ((whole,) if whole else ())
    history.merge(window(0, ramp(1)), now_s=NOW_S)
    assert np.count_nonzero(~np.isnan(everything(history).value)) == 2
    history.close()


def test_rings_swapped_between_metrics_are_found_out(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "node_up.ring").replace(tmp_path / f"{METRIC}.ring")

    history = reopened(tmp_path)

    assert "metric is 'node_up'" in history.found_problems[0].text
    history.close()


def test_a_list_of_series_from_an_older_ring_is_found_out(tmp_path: Path) -> None:
    filled(tmp_path)
    old = (tmp_path / f"{METRIC}.json").read_text()
    (tmp_path / f"{METRIC}.ring").unlink()
    filled(tmp_path)
    (tmp_path / f"{METRIC}.json").write_text(old)

    history = reopened(tmp_path)

    assert "another ring's" in history.found_problems[0].text
    history.close()


def test_another_step_starts_anew_and_says_so(tmp_path: Path) -> None:
    filled(tmp_path)

    history = History(tmp_path, step_s=30, span_s=SPAN_S)

    assert "its step_s is 15.0, wanted 30" in history.found_problems[0].text
    assert history.metrics() == ()
    history.close()


def test_a_crash_of_the_machine_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages reach the disk in any order: after a power cut old and new may lie side by side."""
    history = reopened(tmp_path)
    history.merge(window(0, ramp(1)), now_s=NOW_S)
    history._folder.release()  # type: ignore[union-attr]
    other_boot = tmp_path / "boot_id"
    other_boot.write_text("another boot")
    monkeypatch.setattr(history_folder, "BOOT_ID", other_boot)

    after = reopened(tmp_path)

    assert "went down before it was closed" in after.found_problems[0].text
    assert after.metrics() == ()
    after.close()


def test_a_clean_close_outlives_a_reboot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    other_boot = tmp_path / "boot_id"
    other_boot.write_text("another boot")
    monkeypatch.setattr(history_folder, "BOOT_ID", other_boot)

    history = reopened(tmp_path)

    assert history.found_problems == ()
    assert history.metrics() == (METRIC, "node_up")
    history.close()


def test_two_processes_cannot_share_a_history(tmp_path: Path) -> None:
    first = reopened(tmp_path)

    with pytest.raises(StoreLocked, match="another gpumedic process"):
        reopened(tmp_path)

    first.close()
    reopened(tmp_path).close()


def test_a_folder_that_cannot_be_made_means_memory_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    history = reopened(tmp_path / "file" / "history")
    history.merge(window(0, ramp(1)), now_s=NOW_S)

    assert not history.persistent
    assert "in memory" in history.found_problems[0].text
    assert history.newest_s(METRIC) == NOW_S
    history.close()


@pytest.mark.parametrize("series_before", [0, 2])
def test_a_full_disk_loses_nothing_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, series_before: int
) -> None:
    """The system call that reserves blocks is made to fail: a real full disk needs a real one."""
    history = reopened(tmp_path)
    if series_before:
        history.merge(window(-5, ramp(6)), now_s=NOW_S)

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    many = tuple(Target(node=f"n{i}") for i in range(1000))
    value = np.arange(1000.0)[:, None]

    with pytest.raises(StoreError, match="the disk is full"):
        history.merge(window(0, value, targets=many), now_s=NOW_S)
    history.merge(window(1, value, targets=many), now_s=NOW_S + STEP_S)
    history.merge(window(1, value, targets=many, metric="node_up"), now_s=NOW_S + STEP_S)

    assert not history.persistent
    kept = history.window(METRIC, start_s=NOW_S - 5 * STEP_S, end_s=NOW_S + STEP_S)
    np.testing.assert_array_equal(kept.value[:, -2:], np.hstack([value, value]))
    assert np.count_nonzero(~np.isnan(kept.value[:, :5])) == 5 * series_before
    history.close()
    monkeypatch.undo()
    after = reopened(tmp_path)
    assert after.metrics() == ()
    after.close()


def test_a_real_full_disk_does_not_kill_the_process(tmp_path: Path) -> None:
    """Writing to a mapped page without a block behind it would be SIGBUS."""
    many = tuple(Target(node=f"n{i}") for i in range(3000))
    with small_volume(tmp_path / "volume", 256 * 2**10) as folder:
        history = reopened(folder)
        history.merge(window(0, ramp(1)), now_s=NOW_S)
        with pytest.raises(StoreError, match="the disk is full"):
            history.merge(window(0, np.ones((3000, 1)), targets=many), now_s=NOW_S)
        for step in range(1, 40):
            history.merge(window(step, np.ones((3000, 1)), targets=many), now_s=NOW_S + 600)

        assert history.stats().series == 3000
        history.close()


def test_the_list_of_series_is_json_that_a_person_can_read(tmp_path: Path) -> None:
    filled(tmp_path)

    body = json.loads((tmp_path / f"{METRIC}.json").read_text())

    assert [labels for _, _, labels in body["series"]] == [{"node": "n0"}, {"node": "n1"}]
