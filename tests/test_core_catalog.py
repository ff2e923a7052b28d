"""The metric catalogue: names say their unit, limits lie in range, and exporters know the names."""

import math
import re
import subprocess

import pytest

from core.details import DETAILS
from core.exporters import EXPRESSIONS, LABELS, OWN_PREFIX, expressions
from core.target import Target, TargetKind
from core.units import CATALOG, Bad, Metric
from tests.real import program

METRICS = sorted(CATALOG.values(), key=lambda metric: metric.name)
BARE_COUNTS = {
    "gpu_rows_remap_failed",
    "gpu_rows_remap_pending",
    "gpu_xid_code",
    "job_grad_norm",
    "job_loss",
    "job_queue_depth",
    "job_replicas",
    "node_up",
    "port_up",
    "volume_readonly",
}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_says_its_scope_and_unit_by_its_name(metric: Metric) -> None:
    assert metric.name.startswith(f"{metric.scope}_")
    assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
    assert metric.unit or metric.counter or metric.name in BARE_COUNTS


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_limit_can_be_reached_from_the_good_side(metric: Metric) -> None:
    assert metric.low < metric.high
    if not math.isnan(metric.limit):
        assert metric.bad is not Bad.NEITHER
        assert metric.low < metric.limit < metric.high


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_no_reading_is_plausible_that_is_not_a_number(metric: Metric) -> None:
    assert not metric.plausible(math.nan)
    assert not metric.plausible(-math.inf)
    assert metric.plausible(metric.low)
    assert not metric.plausible(metric.low - 1.0)
    assert metric.plausible(math.inf) == metric.counter


def test_ratios_end_at_one_and_counters_have_no_end() -> None:
    for metric in METRICS:
        if metric.unit == "ratio":
            assert (metric.low, metric.high) == (0, 1)
        if metric.counter:
            assert (metric.low, metric.high) == (0, math.inf)


def test_every_metric_an_exporter_gives_is_in_the_catalogue() -> None:
    assert EXPRESSIONS.keys() <= CATALOG.keys() | DETAILS.keys()


def test_our_own_exporters_name_is_asked_for_first() -> None:
    for name in CATALOG:
        assert expressions(name)[0] == OWN_PREFIX + name
        assert expressions(name)[1:] == EXPRESSIONS.get(name, ())


def test_a_label_names_each_part_a_series_can_have() -> None:
    scopes = {metric.scope for metric in METRICS}

    assert {str(scope) for scope in scopes} <= LABELS.keys()
    assert {Target(**{part: "x"}).kind for part in LABELS} == {TargetKind(part) for part in LABELS}
    assert "job" not in LABELS["job"]  # Prometheus' own label names a scrape job


def test_prometheus_can_parse_every_expression() -> None:
    rules = [
        f"  - record: x:{name}:{number}\n    expr: >-\n      {expression}\n"
        for name in CATALOG
        for number, expression in enumerate(expressions(name))
    ]
    text = "groups:\n- name: catalogue\n  rules:\n" + "".join(rules)

    checked = subprocess.run(
        [program("promtool"), "check", "rules", "/dev/stdin"],
        input=text.encode(),
        capture_output=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr.decode()
    assert f"{len(rules)} rules found" in checked.stdout.decode()
