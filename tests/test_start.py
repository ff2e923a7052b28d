"""What is looked for at the start, and what is done where it is not there."""

import pytest

from agent.config import Settings
from agent.start import discover
from core.clock import RealClock
from tests.real import free_port


@pytest.mark.parametrize(
    ("with_host", "enabled", "names", "events"),
    [
        (False, True, {"prometheus"}, {"node events"}),
        (True, False, {"prometheus"}, {"node events"}),
        (True, True, {"host", "nvml", "progress"}, {"kernel"}),
    ],
)
async def test_a_prometheus_that_is_not_there_yet_is_awaited_where_nothing_else_is(
    with_host: bool,
    enabled: bool,
    names: set[str],
    events: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Started before its Prometheus, a controller must not stay blind until it is restarted."""
    monkeypatch.setattr("agent.start.LOCAL_PROMETHEUS", f"http://127.0.0.1:{free_port()}")
    settings = Settings(**{"host": {"enabled": enabled}})  # type: ignore[arg-type]

    found = await discover(settings, clock=RealClock(), with_host=with_host)

    assert {source.name for source in found.sources} == names
    assert {source.name for source in found.event_sources} == events
    assert "no Prometheus at" in found.said[0]
