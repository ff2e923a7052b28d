"""The doctor names each thing that is missing with its remedy, and never falls ill itself."""

import json
from pathlib import Path

import pytest

from agent import doctor
from agent.config import Settings
from agent.database import Database
from agent.doctor import Check, Status, examine, worst
from tests.command_line import gpumedic


async def test_everything_missing_comes_with_a_remedy(tmp_path: Path) -> None:
    said = await gpumedic("doctor", "--json", folder=tmp_path)
    found = json.loads(said.out)
    states = {check["name"]: check["status"] for check in found["checks"]}

    assert said.code == Status[found["status"].upper()]
    assert [c for c in found["checks"] if c["status"] != "ok" and not c["remedy"]] == []
    assert states["python"] == states["packages"] == "ok"
    assert states["forecast"] == states["prophet"] == "ok"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((), Status.OK),
        ((Status.OK, Status.WARNING), Status.WARNING),
        ((Status.UNKNOWN, Status.WARNING), Status.UNKNOWN),
        ((Status.CRITICAL, Status.UNKNOWN, Status.OK), Status.CRITICAL),
    ],
)
def test_the_worst_finding_is_the_answer(found: tuple[Status, ...], expected: Status) -> None:
    assert worst([Check("x", status, "") for status in found]) is expected


async def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("the driver said something new")

    monkeypatch.setattr(doctor, "inventory", broken)
    found = {check.name: check for check in await examine(Settings(), only=("gpu", "python"))}

    assert found["gpu"].status is Status.UNKNOWN
    assert "the driver said something new" in found["gpu"].found
    assert found["python"].status is Status.OK


async def test_without_facebooks_package_forecasts_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "REFERENCE_TEST", "tests.worker_tasks:raise_value_error")
    found = {each.name: each for each in await examine(Settings(), only=("forecast", "prophet"))}

    assert found["forecast"].status is Status.OK
    assert found["prophet"].status is Status.WARNING
    assert "cmdstanpy" in found["prophet"].remedy


async def test_a_lock_counts_only_while_somebody_holds_it(tmp_path: Path) -> None:
    database = Database.open(tmp_path, owner="a test")
    held = await state_folder(tmp_path)
    database.close()
    free = await state_folder(tmp_path)

    assert "a controller holds it" in held.found
    assert "a controller holds it" not in free.found


async def state_folder(folder: Path) -> Check:
    settings = Settings.model_validate({"state_dir": folder})
    found = await examine(settings, only=("state folder",))
    return found[0]


async def test_the_base_install_is_told_what_the_controller_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "CONTROLLER", ("no-such-package",))
    (found,) = await examine(Settings(), only=("controller",))

    assert (found.status, found.remedy) == (Status.WARNING, "pip install 'gpumedic[controller]'")
