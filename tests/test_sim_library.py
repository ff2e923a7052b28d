"""Every named scenario can be read, says what it is about, and is in the package."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from core.errors import InputError
from sim import library
from sim.catalogue import drawn
from sim.scenario import Scenario
from sim.scenario_file import parse_scenario, to_toml

ROOT = Path(library.__file__).parents[1]
# What a roadmap of the simulator promises, and the rows of the scoreboard that it can play.
PROMISED = [
    "demo",
    "quiet",
    "random",
    "silent-hang",
    "thermal-runaway",
    "lemon-nodes",
    "rack-power",
    "leaf-switch-flap",
    "storage-slow",
    "loader-starved",
    "oom-leak",
    "disk-full",
    "inference-surge",
    "bad-canary",
    "driver-rollout",
    "noisy-neighbour",
    "energy-cap",
    "nan-loss",
    "silent-corruption",
    "ecc-growth",
    "fail-slow",
    "two-faults",
    "maintenance",
    "telemetry-faults",
    "false-alarms",
    "load-surge",
    "elastic-mix",
    "llama3",
    "rsc1-16k",
    "rsc1-16k-5min",
    "byterobust-dense",
    "byterobust-moe",
    "c4",
    "ft-hsdp",
    "dlrover",
    "unicron-a",
    "unicron-b",
    "falcon",
    "minder",
    "pollux-64",
    "infinitehbd",
]

everyone = pytest.mark.parametrize("name", library.names())


def strikes(made: Scenario) -> bool:
    return bool(made.faults or drawn(made.profile, made.rates))


def test_the_library_has_what_was_promised() -> None:
    assert set(PROMISED) <= set(library.names())


@everyone
def test_a_scenario_says_in_one_sentence_what_it_is(name: str) -> None:
    made = library.scenario(name)

    assert made.name == name
    assert made.text.endswith(".")
    assert made.text[:-1].count(". ") == 0
    assert made.tags
    assert parse_scenario(to_toml(made), name="other") == made


@everyone
def test_a_scenario_has_something_to_run_and_breaks_something_unless_it_says_not(name: str) -> None:
    made = library.scenario(name)

    assert made.jobs or made.workload
    assert strikes(made) or "fault-free" in made.tags or "queue" in made.tags


@everyone
def test_what_would_be_best_is_said_of_every_planned_fault(name: str) -> None:
    made = library.scenario(name)

    assert made.best or not made.faults


def test_a_name_that_there_is_not_names_the_nearest_and_a_path_is_a_file(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text(to_toml(replace(library.scenario("quiet"), name="mine")))

    assert library.find(str(own)).name == "mine"
    assert library.find("quiet") == library.scenario("quiet")
    with pytest.raises(InputError, match="did you mean 'silent-hang'"):
        library.find("silent-hangs")


def test_the_wheel_holds_the_data() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"]
    builder = WheelBuilder(str(ROOT))

    held = {file.distribution_path for file in builder.recurse_included_files()}

    assert project == "gpumedic"
    assert {"sim/data/faults.toml", "sim/data/rates.toml"} <= held
    assert {f"sim/scenarios/{name}.toml" for name in library.names()} <= held
