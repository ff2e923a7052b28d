"""The test driver in the process of a test, and in the processes that it starts."""

import ctypes
import os
import shutil
from pathlib import Path

from agent.lab.nvml.build import LIBRARY, build
from agent.lab.nvml.scenario import VARIABLE, Scenario
from tests.real import missing


def built(folder: Path) -> Path:
    """Return the library, or say that there is no compiler."""
    if shutil.which("gcc") is None:
        missing("gcc is not on PATH: .ci/run installs it")
    return build(folder)


def loaded(library: Path) -> ctypes.CDLL:
    """Load the library as the driver of this process.

    nvidia-ml-py asks the loader by name, and the loader gives what is loaded by that name. Without
    a scenario the library says that no driver is loaded, as for every other test of this process.
    """
    return ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def environment(library: Path, scenario: Scenario) -> dict[str, str]:
    """Return the environment of a process that finds the library where the driver would be."""
    folder = str(library.parent)
    assert library.name == LIBRARY
    return {**os.environ, "LD_LIBRARY_PATH": folder, VARIABLE: str(scenario.path)}
