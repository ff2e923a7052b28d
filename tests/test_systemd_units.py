"""The units we ship are right to the letter for systemd, and locked down."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.real import missing, program

FOLDER = Path(__file__).parent.parent / "deploy" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
MOST_EXPOSED = 25  # tenths of systemd's own scale: 2.5 of 10; unconfined units are near 9.6


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units, their programs exchanged for one that exists here: only the rest can be wrong."""
    copies = []
    for source in (*UNITS, *FOLDER.glob("*.socket")):
        text = source.read_text()
        for name in ("gpumedic", "python"):
            text = text.replace(f"/opt/gpumedic/bin/{name}", "/bin/true")
        copies.append(tmp_path / source.name)
        copies[-1].write_text(text)
    return copies


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [program("systemd-analyze"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_service_has_a_unit() -> None:
    assert [path.stem for path in UNITS] == [
        "gpumedic-controller",
        "gpumedic-helper",
        "gpumedic-node",
    ]


def test_systemd_finds_nothing_to_say_about_the_units(units: list[Path]) -> None:
    verified = analyze("verify", *units)

    # An unknown key or bad value is a line on stderr and exit status 0.
    assert (verified.stderr, verified.returncode) == ("", 0)


def test_systemd_would_notice_a_misspelt_key(units: list[Path]) -> None:
    unit = units[0]
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSecs="))

    assert "Unknown key" in analyze("verify", unit).stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_exposes_little_of_the_machine(unit: Path) -> None:
    judged = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", unit)

    assert judged.returncode == 0, judged.stdout


@pytest.mark.parametrize("name", ["controller", "node"])
def test_a_unit_is_watched_reloads_by_signal_and_keeps_the_stop_file(name: str) -> None:
    lines = (FOLDER / f"gpumedic-{name}.service").read_text().splitlines()

    assert {"Type=notify", "WatchdogSec=60", "ExecReload=kill -HUP $MAINPID"} <= set(lines)
    assert "RuntimeDirectoryPreserve=yes" in lines  # /run/gpumedic/paused outlives a restart


def test_the_user_and_its_folders_are_made(tmp_path: Path) -> None:
    if os.geteuid():
        missing("making a user in a folder of its own takes root", in_ci=False)
    (tmp_path / "etc").mkdir()
    for what, options in (("sysusers", ()), ("tmpfiles", ("--create",))):
        folder = tmp_path / "usr" / "lib" / f"{what}.d"
        folder.mkdir(parents=True)
        text = (FOLDER / f"gpumedic.{what}").read_text()
        (folder / "gpumedic.conf").write_text(text)
        command = [program(f"systemd-{what}"), f"--root={tmp_path}", *options, "gpumedic.conf"]
        subprocess.run(command, check=True, capture_output=True)

    names = (line.split(":") for line in (tmp_path / "etc/passwd").read_text().splitlines())
    numbers = {words[0]: (int(words[2]), words[-1]) for words in names}
    state = (tmp_path / "var/lib/gpumedic").stat()
    uid, shell = numbers["gpumedic"]
    assert (state.st_uid, state.st_mode & 0o777, shell) == (uid, 0o700, "/usr/sbin/nologin")
    assert (tmp_path / "etc/gpumedic/conf.d").stat().st_uid == 0


def test_only_the_node_forbids_code_made_at_run_time() -> None:
    forbids = {path.stem: "MemoryDenyWriteExecute=yes" in path.read_text() for path in UNITS}

    # numba, inside the controller's diagnosis workers, must map executable memory.
    assert forbids == {
        "gpumedic-controller": False,
        "gpumedic-helper": False,
        "gpumedic-node": True,
    }
