"""Faults in the engine: each is undone without a trace, and they come as often as they should."""

import math

import numpy as np
import pytest

from sim.catalogue import CLASSES
from sim.engine import effects
from sim.engine.arrivals import WINDOW_S
from sim.engine.tables import Tables
from sim.engine.words import NONE, Hold, Phase, Reason, Scope, Stage
from tests.fault_world import (
    DAY_S,
    Plan,
    advanced,
    begin,
    fault_world,
    known_faults,
    runs,
)
from tests.small_world import BEGAN_S, Size

_MANY = Size(nodes=256, per_leaf=32)
# What a fault that has ended may leave: what has been counted, and where a node was warm.
_PASSING = {"moved_s", "version", "since_s", "celsius", "inlet", "goal", "ecc_count", "heeded"}
_PASSING |= {"replay_count", "link_count", "oom_kills", "boots", "memory", "clock"}
_PASSING |= {"bucket_next", "bucket_prev"}


def one_of_each_effect() -> list[str]:
    """Return a class of the catalogue for each effect that one has."""
    return list({fault.effect: name for name, fault in CLASSES.items()}.values())


def condition(w: Tables) -> dict[str, object]:
    """Return what of the nodes, domains and the storage faults change."""
    names = [name for name in w.nodes.dtype.names or () if name not in _PASSING]
    held: dict[str, object] = {name: w.nodes[name].tolist() for name in names}
    held["domains"] = w.domains.tolist()
    held["storage"] = float(w.core[0]["storage_factor"])
    return held


@pytest.mark.parametrize("name", one_of_each_effect())
def test_a_fault_struck_and_mended_leaves_nodes_as_they_were(name: str) -> None:
    # Planned work moves the jobs that it meets, so it comes where none is.
    w = fault_world([Plan(name, int(name == "planned_maintenance"), lasts_s=20_000.0)])
    runs(w, 0, 2)
    begin(w)
    before = condition(w)

    w = advanced(w, 61.0)
    struck = known_faults(w).copy()
    w = advanced(w, 40_000.0)
    effects.mend(w, 0)
    w = advanced(w, 50_000.0)

    assert len(struck) == 1
    assert len(known_faults(w)) == 1
    assert not math.isnan(known_faults(w)[0]["mended_s"])
    after = condition(w)
    for field, value in before.items():
        if field not in {"load", "slowest", "watts"}:
            assert after[field] == value, field


def test_two_faults_of_one_gpu_end_one_after_the_other() -> None:
    slow = Plan("gpu_thermal_interface", entity=1, gpu=2, at_s=0.0, lasts_s=40_000.0)
    w = fault_world([slow, Plan("gpu_fail_slow", entity=1, gpu=2, at_s=0.0, lasts_s=50_000.0)])
    begin(w)

    w = advanced(w, 30_000.0)
    both = float(w.nodes[1]["slow"][2])
    w = advanced(w, 45_000.0)
    one = float(w.nodes[1]["slow"][2])

    sizes = [float(fault["size"]) for fault in known_faults(w)]
    assert both == pytest.approx(sizes[0] * sizes[1], rel=1e-6)
    assert one == pytest.approx(sizes[1], rel=1e-6)
    assert advanced(w, 55_000.0).nodes[1]["slow"][2] == 1.0


def test_a_lost_gpu_hangs_its_job_which_fails_within_a_minute() -> None:
    w = fault_world([Plan("gpu_fallen_off_bus", entity=2, gpu=3)])
    job, other = runs(w, 0, 3), runs(w, 4, 1)
    begin(w)

    w = advanced(w, 61.0)
    hung = int(w.jobs[job]["stage"])
    w = advanced(w, 125.0)

    fault = known_faults(w)[0]
    assert hung == Stage.HUNG
    assert (fault["node"], fault["gpu"], fault["job"], fault["interrupted"]) == (2, 3, job, 1)
    assert (w.jobs[job]["phase"], w.jobs[job]["reason"]) == (Phase.STOPPED, Reason.CUDA_ERROR)
    assert w.jobs[job]["interruptions"] == w.core[0]["interruptions"] == 1
    assert w.jobs[other]["phase"] == Phase.RUNNING
    assert w.nodes[2]["alive"].tolist() == [1, 1, 1, 0, 1, 1, 1, 1]


def test_a_switch_that_is_down_stops_what_spans_nodes_and_only_that() -> None:
    w = fault_world([Plan("leaf_switch", entity=0, lasts_s=1000.0)])
    wide, across, alone = runs(w, 0, 2), runs(w, 3, 2), runs(w, 2, 1)
    begin(w)

    w = advanced(w, 300.0)

    assert w.nodes["network"].tolist() == [0.0] * 4 + [1.0] * 4
    assert [int(w.jobs[job]["phase"]) for job in (wide, across, alone)] == [3, 3, 2]
    assert known_faults(w)[0]["interrupted"] == 2
    assert advanced(w, 1100.0).nodes["network"].tolist() == [1.0] * 8


def test_a_rack_without_power_goes_down_and_boots_when_it_is_back() -> None:
    w = fault_world([Plan("rack_power", entity=1, lasts_s=600.0)])
    job = runs(w, 4, 3)
    begin(w)

    w = advanced(w, 100.0)
    assert w.nodes["up"].tolist() == [True] * 4 + [False] * 4
    assert w.jobs[job]["stage"] == Stage.HUNG or w.jobs[job]["phase"] == Phase.STOPPED
    w = advanced(w, 660.0 + 470.0)
    assert not w.nodes["up"][4:].any()
    assert advanced(w, 660.0 + 901.0).nodes["up"].all()


def test_a_hot_gpu_slows_down_and_at_last_shuts_down() -> None:
    warm = advanced_world("cooling_degraded", severity=1.0)
    hot = advanced_world("cooling_degraded", severity=5.0)

    assert (warm.nodes[0]["clock"] < 1).all()
    assert (warm.nodes[0]["alive"] == 1).all()
    assert (hot.nodes[0]["alive"] == 0).all()


def advanced_world(name: str, *, severity: float) -> Tables:
    w = fault_world([Plan(name, severity=severity)])
    runs(w, 0, 2)
    begin(w)
    return advanced(w, 3600.0)


def test_memory_that_leaks_is_full_when_it_should_be_and_a_restart_ends_it() -> None:
    w = fault_world([Plan("loader_memory_leak", entity=1, at_s=0.0)])
    job = runs(w, 0, 2)
    begin(w)

    w = advanced(w, 4499.0)
    assert w.jobs[job]["phase"] == Phase.RUNNING
    w = advanced(w, 4501.0)

    assert (w.jobs[job]["phase"], w.jobs[job]["reason"]) == (Phase.STOPPED, Reason.OUT_OF_MEMORY)
    assert w.nodes[1]["oom_kills"] == 1
    assert w.nodes[1]["memory"] == pytest.approx(0.07)


def test_corrected_errors_grow_until_one_cannot_be_corrected() -> None:
    w = fault_world([Plan("gpu_ecc_growth", entity=0, gpu=5, at_s=0.0)])
    job = runs(w, 0, 1)
    begin(w)

    w = advanced(w, 60.0)
    until_s = float(known_faults(w)[0]["size"])
    rates = []
    for part in range(1, 8):
        w = advanced(w, until_s * (part + 0.1) / 8)
        rates.append(float(w.nodes[0]["ecc_rate"][5]))
    assert w.jobs[job]["phase"] == Phase.RUNNING
    w = advanced(w, until_s + 61.0)

    assert rates == sorted(set(rates))
    assert w.nodes[0]["uncorrected"].tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert w.nodes[0]["remap_pending"][5] == 1
    assert (w.jobs[job]["phase"], w.jobs[job]["reason"]) == (Phase.STOPPED, Reason.ECC)


def test_a_nan_makes_the_steps_after_it_worthless() -> None:
    w = fault_world([Plan("nan_loss", entity=0)])
    job = runs(w, 0, 1)
    begin(w)

    w = advanced(w, 61.0)
    corrupt = float(w.jobs[job]["corrupt_step"])
    w = advanced(w, 60.0 + 601.0)

    assert corrupt == pytest.approx(60.0)
    assert (w.jobs[job]["phase"], w.jobs[job]["reason"]) == (Phase.STOPPED, Reason.NAN)
    assert w.jobs[job]["best_step"] <= corrupt


def test_a_fault_that_finds_nothing_to_break_is_over_at_once() -> None:
    w = fault_world([Plan("loader_memory_leak"), Plan("nan_loss", entity=0), Plan("request_surge")])
    w.jobs["number"] = NONE
    begin(w)

    w = advanced(w, 61.0)

    assert known_faults(w)["mended_s"].tolist() == [BEGAN_S + 60.0] * 3
    assert w.nodes["faults"].tolist() == [0] * 8


def test_what_is_drawn_comes_as_often_as_its_rate() -> None:
    w = arrived({"cooling_degraded": 0.01, "leaf_switch": 0.1}, days=90)

    counts = np.bincount(w.faults["class"][: w.core[0]["faults_n"]], minlength=2)
    within_poisson(int(counts[0]), 256 * 90 * 0.01)
    within_poisson(int(counts[1]), 8 * 90 * 0.1)


def test_weibull_clocks_give_no_more_faults_at_first_than_later() -> None:
    w = arrived({"cooling_degraded": 0.02}, days=90, shape=0.7)

    days = (known_faults(w)["onset_s"] - BEGAN_S) / DAY_S
    for month in range(3):
        count = int(((days >= 30 * month) & (days < 30 * month + 30)).sum())
        within_poisson(count, 256 * 30 * 0.02, times=1.6)


def test_frail_nodes_have_more_than_their_share() -> None:
    frail = arrived({"cooling_degraded": 0.02}, days=120, frailty=1.1)
    alike = arrived({"cooling_degraded": 0.02}, days=120)

    assert dispersion(alike) == pytest.approx(1.0, abs=0.3)
    # A gamma mixture of Poisson counts of mean m has the variance m + 1.1 m^2.
    assert dispersion(frail) == pytest.approx(1 + 1.1 * 2.4, rel=0.35)


def test_a_fifth_of_repairs_is_followed_by_the_same_fault() -> None:
    w = arrived({"gpu_nvlink_errors": 0.02}, days=120, lasts_s=3600.0)

    faults = known_faults(w)
    again = faults["parent"] != NONE
    share = float(again.sum()) / len(faults)
    assert share == pytest.approx(0.22, abs=0.05)
    parents = faults[faults["parent"][again]]
    assert (parents["entity"] == faults["entity"][again]).all()
    assert (parents["gpu"] == faults["gpu"][again]).all()
    assert (faults["onset_s"][again] >= parents["onset_s"] + parents["lasts_s"]).all()


def test_company_comes_soon_and_near() -> None:
    w = arrived({"cooling_degraded": 0.02}, days=90, spreads=0.2)

    faults = known_faults(w)
    others = faults[faults["parent"] != NONE]
    parents = faults[others["parent"]]
    # 0.2 of the first ones start 1 or 2 others: 0.3 for each.
    assert len(others) / (len(faults) - len(others)) == pytest.approx(0.3, abs=0.07)
    assert (others["onset_s"] - parents["onset_s"] <= 300.0).all()
    assert (w.nodes["rack"][others["entity"]] == w.nodes["rack"][parents["entity"]]).all()
    assert (others["entity"] != parents["entity"]).all()


def test_what_comes_does_not_depend_on_jobs_or_repairs() -> None:
    rates = {"gpu_fallen_off_bus": 0.5, "kernel_panic": 0.5, "loader_memory_leak": 0.5}

    idle = arrived(rates, days=6, size=Size())
    busy = arrived(rates, days=6, size=Size(), jobs=3)
    drained = arrived(rates, days=6, size=Size(), jobs=3, drain=True)

    assert came(idle) == came(busy) == came(drained)
    assert float(busy.core[0]["interruptions"]) > 0


def test_drawn_faults_begin_after_the_start_and_go_on_for_longer_than_a_window() -> None:
    w = fault_world(rates=[("cooling_degraded", 0.1)])
    w.core[0]["start_s"] = BEGAN_S + DAY_S
    begin(w)

    w = advanced(w, 3 * WINDOW_S)

    onsets = known_faults(w)["onset_s"] - BEGAN_S
    assert onsets.min() >= DAY_S
    assert onsets.max() > 2 * WINDOW_S
    assert (np.diff(onsets) >= 0).all()


def test_half_of_the_memory_faults_show_before_and_the_share_is_kept_in_the_truth() -> None:
    w = fault_world(rates=[("gpu_hbm", 0.05)], size=_MANY)
    w.classes["relapses"] = 0.0
    begin(w)

    w = advanced(w, 30 * DAY_S)

    faults = known_faults(w)
    warned = ~np.isnan(faults["warned_s"])
    assert warned.mean() == pytest.approx(0.5, abs=0.1)
    leads = (faults["onset_s"] - faults["warned_s"])[warned]
    assert float(np.median(leads)) == pytest.approx(7200.0, rel=0.35)


def test_the_site_drains_repairs_and_returns_a_node_whose_fault_it_knows() -> None:
    w = fault_world([Plan("network_cable", entity=0, lasts_s=7200.0)])
    w.site[0]["drain"] = True
    w.classes["seen"] = 1.0
    begin(w)

    w = advanced(w, 61.0)
    assert (w.nodes[0]["hold"], w.nodes[0]["repair"]) == (Hold.SITE, True)
    assert w.core[0]["use_gpus"].tolist() == [56, 0, 0, 8]
    w = advanced(w, 7261.0)
    assert (w.nodes[0]["hold"], w.nodes[0]["repair"]) == (Hold.NOBODY, False)
    assert w.core[0]["use_gpus"].tolist() == [64, 0, 0, 0]


def test_a_crew_mends_each_fault_in_its_own_time_and_the_node_returns_with_the_last() -> None:
    long = Plan("network_cable", entity=0, at_s=60.0, lasts_s=7200.0)
    w = fault_world([long, Plan("gpu_fallen_off_bus", 0, 2, at_s=600.0, lasts_s=1000.0)])
    w.site[0]["drain"] = True
    w.classes["seen"] = 1.0
    begin(w)

    w = advanced(w, 1601.0)
    assert np.isnan(known_faults(w)["mended_s"]).tolist() == [True, False]
    assert (w.nodes[0]["hold"], w.nodes[0]["repair"]) == (Hold.SITE, True)
    w = advanced(w, 7261.0)
    assert (known_faults(w)["mended_s"] - BEGAN_S).tolist() == [7260.0, 1600.0]
    assert (w.nodes[0]["hold"], w.nodes[0]["repair"]) == (Hold.NOBODY, False)


def test_a_node_on_which_jobs_die_stays_out_until_that_ends_by_itself() -> None:
    w = fault_world([Plan("infiniband_error", entity=0, lasts_s=3600.0)])
    w.site[0]["drain"], w.site[0]["requeue"], w.site[0]["requeue_s"] = True, True, 60.0
    w.classes["seen"], w.classes["restart_mends"] = 1.0, 0.0
    job = runs(w, 0, 1)
    begin(w)

    w = advanced(w, 600.0)
    assert (w.nodes[0]["hold"], w.nodes[0]["repair"]) == (Hold.SITE, False)
    assert (w.jobs[job]["first"] != 0, w.jobs[job]["interruptions"]) == (True, 1)
    assert advanced(w, 3661.0).nodes[0]["hold"] == Hold.NOBODY


def test_a_check_cannot_miss_a_gpu_that_is_gone() -> None:
    w = fault_world([Plan("gpu_fallen_off_bus", 0), Plan("gpu_thermal_interface", 1)])
    w.site[0]["check_s"], w.site[0]["check_recall"] = 300.0, 0.0
    w.classes["seen"] = 0.0
    begin(w)

    assert known_faults(advanced(w, 301.0))["known"].tolist() == [True, False]


def test_a_start_gives_the_checks_another_chance_with_what_they_missed() -> None:
    w = fault_world([Plan("gpu_compute_fault", 0, 0)])
    w.site[0]["requeue"], w.site[0]["requeue_s"], w.site[0]["restart_s"] = True, 60.0, 50.0
    w.site[0]["check_s"], w.site[0]["check_recall"] = 300.0, 0.5
    w.classes["seen"], w.classes["restart_mends"] = 0.0, 0.0
    runs(w, 0, 2)
    begin(w)

    w = advanced(w, DAY_S)

    assert known_faults(w)[0]["known"]
    assert known_faults(w)[0]["interrupted"] > 1


def test_a_silent_hang_outlasts_the_collectives_timeout_and_a_watched_one_does_not() -> None:
    w = fault_world([Plan("silent_hang", entity=0), Plan("nccl_watchdog", entity=1)])
    silent, watched = runs(w, 0, 2), runs(w, 2, 2)
    begin(w)

    w = advanced(w, 60.0 + 1700.0)
    assert [int(w.jobs[job]["phase"]) for job in (silent, watched)] == [2, 3]
    w = advanced(w, 60.0 + 5401.0)
    assert (w.jobs[silent]["phase"], w.jobs[silent]["reason"]) == (Phase.STOPPED, Reason.HANG)


def test_a_flapping_link_kills_a_job_once_it_is_away_for_longer_than_the_transport_waits() -> None:
    w = fault_world([Plan("port_flap", node, lasts_s=DAY_S) for node in range(0, 8, 2)])
    wide = [runs(w, node, 2) for node in range(0, 8, 2)]
    begin(w)

    w = advanced(w, 61.0)
    assert [int(w.jobs[job]["phase"]) for job in wide] == [Phase.RUNNING] * 4
    w = advanced(w, DAY_S)

    assert [int(w.jobs[job]["reason"]) for job in wide] == [Reason.NETWORK] * 4


def test_planned_work_moves_jobs_in_order_after_a_grace() -> None:
    w = fault_world([Plan("planned_maintenance", entity=0, lasts_s=7200.0)])
    job, other = runs(w, 2, 2), runs(w, 6, 1)
    begin(w)

    w = advanced(w, 659.0)
    assert (w.jobs[job]["phase"], w.jobs[job]["first"]) == (Phase.RUNNING, 2)
    assert (w.nodes["hold"] == Hold.PLANNED).tolist() == [True] * 4 + [False] * 4
    w = advanced(w, 1200.0)

    row = w.jobs[job]
    assert (row["phase"], row["first"], row["interruptions"]) == (Phase.RUNNING, 4, 0)
    assert row["saved_step"] >= 659.0
    assert w.jobs[other]["restarts"] == 0
    assert advanced(w, 7261.0).nodes["hold"].tolist() == [Hold.NOBODY] * 8


def test_a_crew_waits_until_the_job_has_let_go() -> None:
    w = fault_world([Plan("gpu_thermal_interface", entity=0)])
    w.site[0]["drain"], w.site[0]["requeue"], w.site[0]["requeue_s"] = True, True, 60.0
    w.classes["seen"] = 1.0
    job = runs(w, 0, 2)
    begin(w)

    w = advanced(w, 600.0)
    assert (w.nodes[0]["hold"], w.nodes[0]["repair"]) == (Hold.SITE, False)
    assert w.jobs[job]["phase"] == Phase.RUNNING


def test_a_health_check_finds_a_silent_fault_at_its_next_turn() -> None:
    w = fault_world([Plan("gpu_thermal_interface", entity=0)])
    w.site[0]["check_s"], w.site[0]["check_recall"] = 300.0, 1.0
    w.classes["seen"] = 0.0
    begin(w)

    assert not known_faults(advanced(w, 299.0))[0]["known"]
    assert known_faults(advanced(w, 301.0))[0]["known"]


def test_every_record_of_the_truth_is_complete() -> None:
    w = arrived(
        {name: 0.2 for name in CLASSES if name != "planned_maintenance"},
        days=3,
        size=Size(),
        jobs=2,
    )

    faults, now_s = known_faults(w), float(w.core[0]["now_s"])
    assert (np.diff(faults["onset_s"]) >= 0).all()
    mended = ~np.isnan(faults["mended_s"])
    assert (faults["mended_s"][mended] >= faults["onset_s"][mended]).all()
    assert (faults["mended_s"][mended] <= now_s).all()
    scope = w.classes["scope"][faults["class"]]
    on_node = (scope == Scope.GPU) | (scope == Scope.NODE)
    assert (faults["node"][on_node] == faults["entity"][on_node]).all()
    assert (faults["gpu"][scope == Scope.GPU] >= 0).all()
    assert (faults["number"][faults["interrupted"] > 0] != NONE).all()
    chained = [in_chain(w, node) for node in range(len(w.nodes))]
    assert chained == w.nodes["faults"].tolist()


def in_chain(w: Tables, node: int) -> int:
    count, fault = 0, int(w.nodes[node]["fault"])
    while fault != NONE:
        assert math.isnan(w.faults[fault]["mended_s"])
        count, fault = count + 1, int(w.faults[fault]["next"])
    return count


def arrived(
    rates: dict[str, float],
    *,
    days: float,
    size: Size = _MANY,
    jobs: int = 0,
    drain: bool = False,
    frailty: float = 0.0,
    **parameters: float,
) -> Tables:
    """Return a world in which so many days of drawn faults have come.

    parameters: of all classes: ``shape``, ``spreads``, ``lasts_s``; no relapses but with the last
    """
    w = fault_world(rates=list(rates.items()), size=size)
    w.site[0]["drain"], w.site[0]["requeue"] = drain, True
    if frailty:
        draws = np.random.default_rng(1).gamma(1 / frailty, frailty, len(w.nodes))
        w.nodes["frailty"] = draws / draws.mean()
    w.classes["shape"] = parameters.get("shape", 1.0)
    if "spreads" in parameters:
        w.classes["spreads"] = parameters["spreads"]
    if "lasts_s" in parameters:
        w.classes["lasts_mu"], w.classes["lasts_sigma"] = math.log(parameters["lasts_s"]), 0.0
    for turn in range(jobs):
        runs(w, 2 * turn, 2)
    begin(w)
    return advanced(w, days * DAY_S)


def came(w: Tables) -> list[tuple[object, ...]]:
    """Return what struck what when, as which of its kind."""
    fields = ["class", "entity", "gpu", "onset_s", "index", "size", "lasts_s", "restart_mends"]
    return list(map(tuple, known_faults(w)[fields].tolist()))


def within_poisson(count: int, mean: float, *, times: float = 1.0) -> None:
    """Assert that a count is within 3.3 deviations of its mean (1 in 1,000 by chance)."""
    assert abs(count - mean) <= 3.3 * times * math.sqrt(mean), (count, mean)


def dispersion(w: Tables) -> float:
    """Return the variance of the nodes' counts over their mean."""
    counts = np.bincount(known_faults(w)["entity"], minlength=len(w.nodes))
    return float(counts.var() / counts.mean())
