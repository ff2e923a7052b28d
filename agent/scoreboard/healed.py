"""A published site as gpumedic would run it: seen and started sooner, saved at Young's interval.

The engine's own automation carries it out, with gpumedic's measured times: what ends a fault and
who is blamed is as the site knows it, less the share of blames that are measured to be wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from agent.scoreboard.played import Arm
from sim.calibration.statistics import best_interval_s
from sim.scenario import Scenario

_FRESH_S = 20.0  # of a standby's start, where a node is new to the job: as in the scenarios
_LEAST_S = 10.0  # no checkpoint sooner than a step or two


@dataclass(frozen=True, slots=True)
class Own:
    """What a row knows better than the assumptions say in general; None: as they say.

    stays_s:   mean wait at a stop that nothing of ours shortens: people decide
    goes_on_s: the others' start where one replica fails and the rest go on; its node is back in
               ``without_s``, in which one of ``replicas`` is missing; 0: all start again
    """

    stall_s: float | None = None
    save_s: float | None = None
    stays_s: float = 0.0
    goes_on_s: float = 0.0
    without_s: float = 0.0
    replicas: int = 1


def healed(base: Arm, v: Mapping[str, float], own: Own, *, standby: bool) -> Arm:
    """Return the arm of a cluster that gpumedic looks after.

    v: assumed values; standby: with workers that wait warm, else with the starts of ``base``
    """
    script = replace(base.script, rate_scale=base.script.rate_scale * v["rate_times"])
    if script.rates:
        rates = tuple((name, rate * v["rate_times"]) for name, rate in script.rates)
        script = replace(script, rates=rates)
    script = _with_spares(script, round(script.spares * v["spares_times"]))
    more = 2.0 - v["blame"]  # starts for each stop: a wrong blame costs one more
    site = replace(
        script.site,
        requeue_s=2 * v["cycle_s"] * more + own.stays_s,
        hang_timeout_s=v["hang_s"],
        check_s=v["cycle_s"],
        check_recall=v["blame"],
        restart_s=script.site.restart_s * more,
        restart_s_per_gpu=script.site.restart_s_per_gpu * more,
        repair_scale=script.site.repair_scale * v["repair_times"],
    )
    if own.goes_on_s > 0:
        # All others wait in a collective until the failure is said: a process that has gone is seen
        # within a cycle, one that hangs later. Then the plan's one cycle.
        said_s = v["cycle_s"] + v["hang_share"] * (v["hang_s"] - v["cycle_s"])
        missing_s = (v["standby_s"] if standby else own.without_s) * more
        site = replace(
            site,
            requeue_s=said_s + v["cycle_s"],
            restart_s=own.goes_on_s + missing_s / own.replicas,
        )
    elif standby:
        site = replace(
            site,
            restart_s=max(v["standby_s"] - _FRESH_S, 0.0) * more,
            restart_s_per_gpu=0.0,
            fresh_node_s=_FRESH_S,
        )
    arm = replace(
        base,
        script=replace(script, site=site),
        transient_times=base.transient_times * v["transient_times"],
    )
    return _saved(arm, v, own, standby=standby)


def _saved(arm: Arm, v: Mapping[str, float], own: Own, *, standby: bool) -> Arm:
    """Return the arm with checkpoints at Young's interval, never closer than a save takes.

    A standby starts from the memory of the job's other machines: that is where they are kept then.
    """
    kept = "memory_" if standby else ""
    stall_s = v[f"{kept}stall_s"] if own.stall_s is None else own.stall_s
    save_s = v[f"{kept}save_s"] if own.save_s is None else own.save_s
    jobs = []
    for job in arm.script.jobs:
        young_s = v["interval_times"] * best_interval_s(arm.faults_a_s(job.nodes), stall_s)
        jobs.append(
            replace(
                job,
                checkpoint_interval_s=max(young_s, save_s + job.ideal_step_s, _LEAST_S),
                checkpoint_stall_s=stall_s,
                checkpoint_save_s=save_s,
            )
        )
    return replace(arm, script=replace(arm.script, jobs=tuple(jobs)))


def _with_spares(script: Scenario, spares: int) -> Scenario:
    nodes = script.nodes - script.spares + spares
    return replace(script, nodes=nodes, spares=spares, racks=min(script.racks, nodes))
