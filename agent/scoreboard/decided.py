"""A row's cluster with a policy deciding about each incident, and the site doing nothing itself."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from agent.scoreboard.played import Arm
from core.site import SiteFigures
from remediation.deciding.chooser import Chooser
from remediation.deciding.remedies import table
from remediation.policies.greedy import Greedy
from remediation.policies.rulebook import Runbook
from sim.calibration.play import DAY_S
from sim.catalogue import CAUSES
from sim.lanes import Lane
from sim.scenario import Scenario
from sim.terms import Shield, Terms

# What decides about incidents; the first is what gpumedic ships.
POLICIES: Mapping[str, Callable[[], Chooser]] = {
    "runbook": Runbook.tuned,
    "greedy": Greedy.tuned,
}
SHIPPED = next(iter(POLICIES))
_RATE_PER = 1024.0  # GPUs for which ``faults_a_day`` is given


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of one run; shares of the GPU time that jobs asked for.

    ettr: steps done for the first time, slow ones too; good: the same at full speed
    """

    ettr: float
    good: float
    pages: int
    wrong_drains: int
    lost: Mapping[str, float]


@lru_cache(maxsize=1024)
def _played(arm: Arm, blame: float, policy: Callable[[], Chooser], seed: int) -> Decided:
    lane = Lane(_script(arm.script, blame), _terms(arm))
    chooser = policy()
    due = lane.reset(seed, duration_s=arm.days * DAY_S)
    while due:
        due = lane.step(int(chooser.choose(lane.moment())))
    found = lane.account()
    lost = {name: part / found.asked_gpu_s for name, part in found.losses_gpu_s.items()}
    good = found.useful_gpu_s / found.asked_gpu_s
    return Decided(good + lost["slow"], good, found.pages, found.wrong_drains, lost)


def decided(arm: Arm, v: Mapping[str, float], policy: Callable[[], Chooser], seed: int) -> Decided:
    """Play an arm to its end with a policy about every incident."""
    return _played(arm, v["blame"], policy, seed)


def _script(script: Scenario, blame: float) -> Scenario:
    """Return a scenario whose site leaves everything to us; detection is drawn."""
    site = replace(
        script.site, requeue=False, drain=False, check_s=0.0, blame=blame, false_alarms=0.0
    )
    return replace(script, site=site, telemetry="surrogate", history_s=0.0)


def _terms(arm: Arm) -> Terms:
    """Return what decisions go by: as many nodes may be out as there are spares."""
    script = arm.script
    out = max(script.spares, 1)
    shield = Shield(
        max_nodes_out=out,
        max_ratio_out=1.0,
        max_nodes_out_per_rack=math.ceil(script.nodes / script.racks),
        max_nodes_out_per_switch=script.nodes,
    )
    a_day = arm.faults_a_s(script.nodes) * DAY_S
    gpus = script.nodes * script.machines.gpus_per_node
    site = SiteFigures(faults_a_day=a_day * _RATE_PER / gpus, people_s=script.site.people_s)
    return Terms(table(CAUSES), shield=shield, site=site)
