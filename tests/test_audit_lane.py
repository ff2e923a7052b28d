"""Lives by choices of chance keep every bound, by an account that knows nothing of the masks."""

from dataclasses import replace

import numpy as np
import pytest

from remediation.evaluation.audit import Breach
from remediation.evaluation.audit_lane import audit_lane, orders_of
from sim.lanes import Lane
from sim.scenario import JobSpec, Scenario, Site
from sim.terms import Shield, Terms, even_remedies

DAY_S = 86_400.0
SCRIPT = Scenario(
    name="audited",
    nodes=12,
    racks=3,
    spares=3,
    jobs=(
        JobSpec("large", nodes=5, priority=10, kind="elastic", least_nodes=2),
        JobSpec("small", nodes=3, kind="elastic", least_nodes=1),
    ),
    history_s=0.0,
    telemetry="surrogate",
    site=Site(blame=0.7, false_alarms=4.0),
    profile="rsc1",
    rate_scale=600.0,
)
SHIELDS = {
    "usual": Shield(),
    "tight": Shield(
        max_nodes_out=3,
        max_ratio_out=0.3,
        max_nodes_out_per_rack=2,
        max_nodes_out_per_switch=1,
        cooldown_s=7200.0,
        max_actions_per_hour=6,
        min_spares_left=1,
        priority_spares=2,
        max_job_share=0.4,
        max_unsaved_gpu_s=3600.0,
        lemon_after=1,
    ),
    "wide": Shield(
        max_nodes_out=9,
        max_ratio_out=0.8,
        max_nodes_out_per_rack=9,
        max_nodes_out_per_switch=9,
        cooldown_s=0.0,
        max_actions_per_hour=64,
        min_probability=0.0,
        probation_s=0.0,
        lemon_after=4,
    ),
}


def lived(shield: Shield, seed: int) -> Lane:
    """Live a day, choosing by chance among what is open."""
    lane, random = Lane(SCRIPT, Terms(even_remedies(), shield=shield)), np.random.default_rng(seed)
    alive = lane.reset(seed, duration_s=DAY_S)
    while alive:
        choices = np.flatnonzero(lane.open)
        alive = lane.step(int(choices[random.integers(len(choices))]))
    return lane


@pytest.mark.parametrize("shield", list(SHIELDS))
def test_chance_within_the_masks_crosses_no_bound(shield: str) -> None:
    found: list[Breach] = []
    orders = 0
    for seed in range(25):
        lane = lived(SHIELDS[shield], seed)
        found += audit_lane(lane)
        orders += len(lane.orders)

    assert orders > 200
    assert found == []


def test_what_a_wide_shield_allowed_crosses_a_tight_one() -> None:
    """The audit does see: lives within wide bounds, judged by tight ones, cross each of them."""
    crossed = set()
    for seed in range(25):
        lane = lived(SHIELDS["wide"], seed)
        lane.terms = replace(lane.terms, shield=SHIELDS["tight"])
        crossed |= {breach.guard for breach in audit_lane(lane)}

    assert crossed == {
        "max_nodes_out",
        "max_nodes_out_per_rack",
        "max_nodes_out_per_switch",
        "cooldown",
        "max_actions_per_hour",
        "min_spares_left",
        "priority_spares",
        "max_job",
        "unsaved_work",
        "min_probability",
        "probation",
        "lemon",
    }


def test_every_choice_but_waiting_is_an_order() -> None:
    lane = lived(SHIELDS["wide"], 3)

    assert len(orders_of(lane.orders)) == len(lane.orders) > 0
    assert any(order.nodes for order in orders_of(lane.orders))
