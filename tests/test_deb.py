"""The Debian package: what it places where, and that nothing of it starts by itself.

The Python environment under /opt is left out here: docs/node-service.md says how the whole was
tried.
"""

import re
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from agent.roothelper.settings import HelperSettings, read_settings
from tests.real import program

ROOT = Path(__file__).parent.parent
HELPER = ROOT / "deploy" / "helper.example.toml"
SCRIPTS = ("postinst", "prerm", "postrm")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, but for its environment."""
    dpkg, folder = program("dpkg-deb"), tmp_path_factory.mktemp("deb")
    stage = folder / "stage"
    subprocess.run([ROOT / "deploy" / "deb" / "stage", stage], check=True)
    command = [dpkg, "--root-owner-group", "-Znone", "--build", str(stage), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.deb"))


def told(package: Path, *options: str) -> str:
    command = ["dpkg-deb", options[0], str(package), *options[1:]]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout


def test_it_says_what_it_is_and_needs(package: Path) -> None:
    fields_of = dict(re.findall(r"^(\S+): (.+)$", told(package, "--field"), re.MULTILINE))

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (fields_of["Package"], fields_of["Version"]) == ("gpumedic", version)
    assert re.match(r"python3 \(>= 3\.\d+\), python3 \(<< 3\.\d+\), systemd", fields_of["Depends"])


def test_every_file_is_roots_and_in_its_place(package: Path) -> None:
    lines = [line.split() for line in told(package, "--contents").splitlines()]
    files = {words[5][1:] for words in lines if not words[0].startswith("d")}

    assert {words[1] for words in lines} == {"root/root"}
    assert all(words[0][5] == words[0][8] == "-" for words in lines if words[0][0] != "l")
    units = {path.name for path in (ROOT / "deploy" / "systemd").glob("gpumedic-*")}
    assert {f"/usr/lib/systemd/system/{name}" for name in units} < files
    assert files - {f"/usr/lib/systemd/system/{name}" for name in units} == {
        "/etc/gpumedic/config.toml",
        "/etc/gpumedic/helper.toml",
        "/usr/bin/gpumedic",
        "/usr/lib/sysusers.d/gpumedic.conf",
        "/usr/lib/tmpfiles.d/gpumedic.conf",
        "/usr/share/doc/gpumedic/copyright",
    }


def test_its_scripts_are_shell_and_enable_nothing(package: Path) -> None:
    for name in SCRIPTS:
        text = told(package, "--info", name)
        read = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True, check=False)
        assert (read.returncode, read.stderr) == (0, "")
        orders = re.findall(r"systemctl (\S+)", text)
        assert {"enable", "start", "restart"}.isdisjoint(orders)
        assert "set -e" in text


def test_the_helpers_example_is_its_defaults(tmp_path: Path) -> None:
    file = tmp_path / "helper.toml"
    file.write_text(re.sub(r"^# (?=\w+ = )", "", HELPER.read_text(), flags=re.MULTILINE))
    file.chmod(0o600)

    assert set(tomllib.loads(file.read_text())) == {each.name for each in fields(HelperSettings)}
    assert read_settings(file) == HelperSettings()
