"""Our own metrics: the names are right for Prometheus, and each shows what happened."""

import math
import re
import subprocess
from typing import Any

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from agent.metrics import Metrics
from core.exporters import OWN_PREFIX
from core.ports import Problem
from core.target import Target
from core.types import Anomaly, Forecast, Incident, IncidentState, OutcomeStatus, Severity
from core.units import CATALOG
from tests.real import program

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="0.1.0", mode="controller")


def page(metrics: Metrics) -> str:
    return metrics.exposition("")[0].decode()


def shown(metrics: Metrics, name: str) -> dict[str, float]:
    """Read a metric's series off the page: the labels as written -> value."""
    found = re.findall(rf"^gpumedic_{name}(\{{.*\}})? (\S+)$", page(metrics), re.MULTILINE)
    return {labels: float(value) for labels, value in found}


def touch_everything(metrics: Metrics) -> None:
    """Give every metric a series, as a busy day would."""
    for part in vars(metrics).values():
        names = getattr(part, "_labelnames", None)
        if names:
            part.labels(*("x" for _ in names))


def anomaly(node: str, start_s: float = 0.0) -> Anomaly:
    return Anomaly(
        target=Target(node=node),
        metric="node_memory_used_ratio",
        start_s=start_s,
        end_s=start_s + 60,
        value=0.99,
        lower=0.2,
        upper=0.9,
        score=0.9,
        detector="limit",
        severity=Severity.WARNING,
        text="",
    )


def incident(severity: Severity) -> Incident:
    return Incident("i", IncidentState.OPEN, severity, 0.0, 0.0, None, "", (), ())


def forecast(metric: str, skill: list[float]) -> Forecast:
    rows = len(skill)
    mean = np.array([[1.0, 2.0]] * rows)
    return Forecast(
        metric=metric,
        targets=tuple(Target(node=f"n{i}", gpu=f"GPU-{i}") for i in range(rows)),
        made_at_s=1000.0,
        time_s=np.array([4600.0, 8200.0]),
        mean=mean,
        lower=mean - 1,
        upper=mean + 1,
        coverage=0.8,
        model=("prophet",) * rows,
        skill=np.array(skill),
    )


def test_promtool_finds_nothing_to_say_about_the_page(metrics: Metrics) -> None:
    touch_everything(metrics)

    checked = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=metrics.exposition("")[0],
        capture_output=True,
        check=False,
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_names_are_one_word_base_units_and_never_the_exporters(metrics: Metrics) -> None:
    touch_everything(metrics)
    families = {family.name: family.type for family in metrics.registry.collect()}
    ours = {name: kind for name, kind in families.items() if not name.startswith("process_")}

    assert all(re.fullmatch(r"gpumedic_[a-z]+(_[a-z]+)*", name) for name in ours)
    assert not [name for name in ours if re.search(r"_(ms|percent|mb|minutes|count)$", name)]
    assert all(name.endswith("_seconds") for name, kind in ours.items() if kind == "histogram")
    assert not {f"{OWN_PREFIX}{name}" for name in CATALOG} & ours.keys()


def test_the_names_dashboards_stand_on_are_there(metrics: Metrics) -> None:
    touch_everything(metrics)
    found = set(re.findall(r"^# TYPE (\S+) (\S+)$", page(metrics), re.MULTILINE))

    assert {
        ("gpumedic_build_info", "gauge"),
        ("gpumedic_cycle_duration_seconds", "histogram"),
        ("gpumedic_cycle_last_success_timestamp_seconds", "gauge"),
        ("gpumedic_source_up", "gauge"),
        ("gpumedic_source_lag_seconds", "gauge"),
        ("gpumedic_source_problems_total", "counter"),
        ("gpumedic_series", "gauge"),
        ("gpumedic_series_learning", "gauge"),
        ("gpumedic_anomalies_total", "counter"),
        ("gpumedic_forecast_value", "gauge"),
        ("gpumedic_forecast_skill_ratio", "gauge"),
        ("gpumedic_gpus_wanted", "gauge"),
        ("gpumedic_gpus_to_add", "gauge"),
        ("gpumedic_forecasts_total", "counter"),
        ("gpumedic_incidents_open", "gauge"),
        ("gpumedic_incidents_total", "counter"),
        ("gpumedic_diagnosis_duration_seconds", "histogram"),
        ("gpumedic_actions_total", "counter"),
        ("gpumedic_guard_refusals_total", "counter"),
        ("gpumedic_nodes_out", "gauge"),
        ("gpumedic_nodes_out_limit", "gauge"),
        ("gpumedic_lost_gpu_seconds_total", "counter"),
        ("gpumedic_webhook_deliveries_total", "counter"),
        ("gpumedic_webhooks_received_total", "counter"),
        ("gpumedic_outbox_pending", "gauge"),
        ("gpumedic_config_reloads_total", "counter"),
        ("gpumedic_store_errors_total", "counter"),
        ("gpumedic_workers_failed_total", "counter"),
        ("gpumedic_clock_steps_total", "counter"),
        ("gpumedic_paused", "gauge"),
        ("process_resident_memory_bytes", "gauge"),
    } <= found


def test_openmetrics_is_given_to_who_asks_for_it(metrics: Metrics) -> None:
    touch_everything(metrics)
    body, content_type = metrics.exposition(OPENMETRICS)

    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    families: Any = text_string_to_metric_families(body.decode())  # type: ignore[no-untyped-call]
    assert {"gpumedic_build_info", "gpumedic_nodes_out"} <= {family.name for family in families}


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "text/html", "text/plain;version=x", "application/openmetrics-text;version=a.b",
     "application/openmetrics-text; version=", ";;;,,,", "text/plain;version=1.0.0;escaping=zz"],
)  # fmt: skip
def test_anybody_else_gets_plain_text(metrics: Metrics, accept: str) -> None:
    body, content_type = metrics.exposition(accept)

    assert content_type.startswith(("text/plain", "application/openmetrics-text"))
    assert b"gpumedic_build_info{" in body


def test_what_can_be_counted_starts_at_zero(metrics: Metrics) -> None:
    assert shown(metrics, "store_errors_total") == {"": 0.0}
    assert shown(metrics, "config_reloads_total")['{outcome="refused"}'] == 0.0
    assert set(shown(metrics, "incidents_open").values()) == {0.0}
    assert shown(metrics, "build_info") == {'{mode="controller",version="0.1.0"}': 1.0}


def test_an_anomaly_that_lasts_is_counted_once(metrics: Metrics) -> None:
    for cycle in range(5):
        metrics.saw([anomaly("n1"), anomaly("n2")] if cycle < 3 else [anomaly("n1")])
    metrics.saw([])
    metrics.saw([anomaly("n1", start_s=900.0)])

    assert sum(shown(metrics, "anomalies_total").values()) == 3.0


def test_a_source_that_is_down_is_down_and_its_problems_counted(metrics: Metrics) -> None:
    problems = [Problem("prometheus", "timeout", "")]
    metrics.heard({"prometheus": 3.5, "slurm": math.nan}, problems)
    assert shown(metrics, "source_up") == {'{source="prometheus"}': 1.0, '{source="slurm"}': 0.0}

    metrics.heard({"prometheus": math.nan}, problems)

    assert shown(metrics, "source_up") == {'{source="prometheus"}': 0.0}
    assert shown(metrics, "source_problems_total") == {'{code="timeout",source="prometheus"}': 2.0}


def test_open_incidents_fall_back_to_zero(metrics: Metrics) -> None:
    metrics.opened([incident(Severity.CRITICAL), incident(Severity.CRITICAL)])
    assert shown(metrics, "incidents_open")['{severity="critical"}'] == 2.0

    metrics.opened([])

    assert shown(metrics, "incidents_open")['{severity="critical"}'] == 0.0


def test_a_forecast_shows_its_last_step_and_its_metric_the_skill(metrics: Metrics) -> None:
    skill = {"gpu_power_watts": 0.4, "gpu_temperature_celsius": math.nan}

    metrics.foresaw([forecast("gpu_power_watts", [0.2, math.nan, 0.6])], skill)

    values = shown(metrics, "forecast_value")
    first = '{bound="%s",horizon="7200s",metric="gpu_power_watts",node="n0",target="n0/GPU-0"}'
    assert [values[first % bound] for bound in ("lower", "mean", "upper")] == [1.0, 2.0, 3.0]
    assert len(values) == 9
    skills = shown(metrics, "forecast_skill_ratio")
    assert skills['{metric="gpu_power_watts"}'] == 0.4
    assert math.isnan(skills['{metric="gpu_temperature_celsius"}'])


def test_a_forecast_that_is_gone_leaves_the_page(metrics: Metrics) -> None:
    metrics.foresaw([forecast("gpu_power_watts", [0.2])], {"gpu_power_watts": 0.2})
    metrics.foresaw([], {})

    assert shown(metrics, "forecast_value") == {}
    assert shown(metrics, "forecast_skill_ratio") == {}


def test_an_action_is_counted_by_what_came_of_it(metrics: Metrics) -> None:
    metrics.act("cordon", OutcomeStatus.WOULD_DO)

    assert shown(metrics, "actions_total") == {'{kind="cordon",outcome="would_do"}': 1.0}


def test_a_label_from_outside_cannot_break_the_page(metrics: Metrics) -> None:
    metrics.source_problems_total.labels('evil"} 1\nx 2', "\\").inc()

    assert "\nx 2" not in page(metrics)


def test_two_instances_share_nothing() -> None:
    one, other = (Metrics(version="1", mode=mode) for mode in ("node", "controller"))
    one.store_errors_total.inc()

    assert shown(other, "store_errors_total") == {"": 0.0}
