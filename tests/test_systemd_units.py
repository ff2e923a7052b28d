"""The units we ship are right to the letter for systemd, and locked down."""

import subprocess
from pathlib import Path

import pytest

from tests.real import program

UNITS = sorted((Path(__file__).parent.parent / "deploy" / "systemd").glob("*.service"))
MOST_EXPOSED = 30  # tenths of systemd's own scale: 3.0 of 10 is "OK"; unconfined units are near 9.6


@pytest.fixture(params=UNITS, ids=lambda path: path.stem)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit whose program exists here, so that only the rest can be wrong."""
    source: Path = request.param
    path = tmp_path / source.name
    path.write_text(source.read_text().replace("/opt/gpumedic/bin/gpumedic", "/bin/true"))
    return path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [program("systemd-analyze"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_both_services_have_a_unit() -> None:
    assert [path.stem for path in UNITS] == ["gpumedic-controller", "gpumedic-node"]


def test_systemd_finds_nothing_to_say_about_a_unit(unit: Path) -> None:
    verified = analyze("verify", str(unit))

    # An unknown key or bad value is a line on stderr and exit status 0.
    assert (verified.stderr, verified.returncode) == ("", 0)


def test_systemd_would_notice_a_misspelt_key(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSecs="))

    assert "Unknown key" in analyze("verify", str(unit)).stderr


def test_a_unit_exposes_little_of_the_machine(unit: Path) -> None:
    judged = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(unit))

    assert judged.returncode == 0, judged.stdout


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_reloads_by_signal_and_keeps_the_stop_file(path: Path) -> None:
    lines = path.read_text().splitlines()

    assert "Type=notify" in lines
    assert "ExecReload=kill -HUP $MAINPID" in lines
    assert "RuntimeDirectoryPreserve=yes" in lines  # /run/gpumedic/paused outlives a restart


def test_only_the_node_forbids_code_made_at_run_time() -> None:
    forbids = {path.stem: "MemoryDenyWriteExecute=yes" in path.read_text() for path in UNITS}

    # numba, inside the controller's diagnosis workers, must map executable memory.
    assert forbids == {"gpumedic-controller": False, "gpumedic-node": True}
