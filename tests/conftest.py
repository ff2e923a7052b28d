"""Fixtures every test may use."""

from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings
from xdist.remote import Producer

from agent.lab.nvml.scenario import VARIABLE, Scenario
from core.clock import ManualClock
from tests.dealing import Dealing, place
from tests.launching import Undisturbed
from tests.nvml import built, loaded

# structlog's own way to print a traceback, with the variables of every frame, takes seconds each.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.set_exc_info,
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

# No test is timed: what is slow on a busy machine is not wrong.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what waits for real programs."""
    items.sort(key=lambda item: place(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Dealing:
    """Deal whole files, and what waits for the same programs, to one worker each."""
    return Dealing(config, log)


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until the test moves it."""
    return ManualClock()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Recorded telemetry, fault injections and traces that lie beside a developer's checkout."""
    folder = Path(__file__).parent.parent.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"recorded data is not beside this checkout: no folder {folder.name}")
    return folder


@pytest.fixture(scope="session")
def undisturbed() -> Undisturbed:
    """What launched trainings come to without a fault."""
    return Undisturbed()


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test driver, built once."""
    return built(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scenario:
    """Eight GPUs at work in this process, as the test goes on to say."""
    loaded(nvml_library)
    scenario = Scenario(tmp_path / "nvml.txt")
    monkeypatch.setenv(VARIABLE, str(scenario.path))
    return scenario


@pytest.fixture
def nvml_calls(nvml_library: Path) -> Callable[[str], int]:
    """How often a call of NVML was made in this process."""
    library = loaded(nvml_library)
    return lambda call: int(library.lab_calls(call.encode()))
