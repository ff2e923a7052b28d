"""The named scenarios that come with the simulator, one file each in ``sim/scenarios``."""

from functools import cache
from pathlib import Path

from core.errors import InputError
from sim.checks import nearest
from sim.scenario import Scenario
from sim.scenario_file import load

_FOLDER = Path(__file__).parent / "scenarios"


@cache
def names() -> tuple[str, ...]:
    """Return the names of the scenarios there are, in order."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


@cache
def scenario(name: str) -> Scenario:
    """Return a scenario of the library; InputError names the nearest where there is none."""
    if name not in names():
        meant = nearest(name, names())
        raise InputError(f"no scenario {name!r}; {meant} `gpumedic simulate list` shows all.")
    return load(_FOLDER / f"{name}.toml")


def find(name_or_path: str) -> Scenario:
    """Return a scenario of the library by its name, or read the file that is named."""
    path = Path(name_or_path)
    if path.suffix == ".toml" or len(path.parts) > 1:
        return load(path)
    return scenario(name_or_path)
