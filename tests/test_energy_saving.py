"""Energy saved: less of it for the same work, within the bound of slowdown, by the known law."""

import pytest

from agent.energy.saving import (
    CLOCK_SHARE,
    IDLE_WATTS,
    POWER_EXPONENT,
    Card,
    cheapest,
    cooling,
    energy_ratio,
    step_ratio,
    watts_at,
)
from remediation.catalogue import costs
from sim.engine import thermal

BUSY = Card(full_watts=650.0)


def test_the_law_is_the_simulators_and_the_catalogues() -> None:
    assert POWER_EXPONENT == thermal.POWER_EXPONENT
    assert IDLE_WATTS == costs.IDLE_WATTS
    assert step_ratio(0.8) == pytest.approx(costs.slowdown(0.8))
    full = Card(full_watts=costs.MOST_WATTS)
    assert watts_at(costs.clock_within(500.0), full) == pytest.approx(500.0)


@pytest.mark.parametrize("most_slowdown", [0.0, 0.01, 0.05, 0.1, 0.3])
def test_it_is_the_best_of_all_within_the_bound(most_slowdown: float) -> None:
    found = cheapest(BUSY, most_slowdown=most_slowdown)

    if found is None:
        assert most_slowdown == 0.0
        return
    assert found.most_slowdown <= most_slowdown + 1e-9
    shares = [share / 1000 for share in range(400, 1001)]
    fits = [share for share in shares if step_ratio(share, 0.8) <= 1 + most_slowdown]
    best = min(energy_ratio(share, BUSY) for share in fits)
    assert found.energy_ratio == pytest.approx(best, abs=0.006)
    assert found.energy_ratio < 1


def test_a_host_that_waits_makes_haste_worth_more() -> None:
    """With a host that draws power all the while, the best clock is a higher one."""
    alone = cheapest(BUSY, most_slowdown=1.0)
    with_host = cheapest(Card(full_watts=650.0, host_watts=240.0), most_slowdown=1.0)

    assert alone is not None
    assert with_host is not None
    assert alone.watts < with_host.watts < 650
    assert alone.energy_ratio < with_host.energy_ratio < 1


def test_little_power_is_left_alone() -> None:
    assert cheapest(Card(full_watts=180.0), most_slowdown=0.1) is None


def test_a_hot_gpu_is_kept_below_where_its_clocks_fall() -> None:
    found = cooling(BUSY, 90.0, inlet_celsius=30.0)

    assert found is not None
    assert found.cool
    rise = (90.0 - 30.0) / BUSY.full_watts
    assert 83.0 < 30.0 + rise * found.watts <= 84.0
    assert found.slowdown == pytest.approx(step_ratio(found.share, CLOCK_SHARE) - 1)
    assert cooling(BUSY, 80.0) is None
    assert cooling(BUSY, float("nan")) is None
