"""Fixtures every test may use."""

from pathlib import Path

import pytest

from core.clock import ManualClock


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
