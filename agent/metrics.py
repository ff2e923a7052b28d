"""Our own metrics, all in one file so that their names can be read at once.

Names follow Prometheus' conventions: base units, plural unit suffix, ``_total`` for counters,
ratios 0 to 1. They are stable: dashboards and rules outside this repository stand on them.
"""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder, generate_latest

from agent.checkpoints.found import State
from agent.energy.used import JOULES_PER_KWH
from agent.view import DemandView
from core.faults import FaultClass
from core.ports import Problem
from core.target import Target
from core.types import Anomaly, Diagnosis, Forecast, Incident, OutcomeStatus, Severity
from rca.graph.mechanisms import Mechanisms

if TYPE_CHECKING:
    from agent.checkpoints.audit import Standing
    from agent.energy.used import Bill

# A ``_created`` series beside every counter doubles the page, and nobody reads them.
disable_created_metrics()  # type: ignore[no-untyped-call]

PREFIX = "gpumedic"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"
# A cycle should take a tenth of its 15 s; a fit or a diagnosis in a worker may take a minute.
_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0)
NO_FAULT = "no_fault"
_RELOADS = ("applied", "unchanged", "refused")
_RECEIVED = ("accepted", "duplicate", "malformed", "unsigned", "too_large", "rate_limited")
_SCORED = ("right", "late", "false")
_FORECAST_LABELS = ("metric", "node", "target", "bound", "horizon")


class Metrics:
    """What gpumedic says about itself; one instance a process, and as many as tests like."""

    def __init__(self, *, version: str, mode: str) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        self._cycles()
        self._sources()
        self._findings()
        self._forecasts()
        self._actions()
        self._checkpoints()
        self._energy()
        self._messages()
        self._trouble()
        self._gauge("build_info", "Always 1.", "version", "mode").labels(version, mode).set(1)
        self._start_at_zero()
        self._seen: frozenset[tuple[Target, str, str]] = frozenset()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return the page and its content type; OpenMetrics where ``accept`` asks for it."""
        try:
            encode, content_type = choose_encoder(accept)
        except (ValueError, IndexError, TypeError):  # an Accept header that says version=nonsense
            encode, content_type = generate_latest, PLAIN
        return encode(self.registry), content_type

    def saw(self, anomalies: Iterable[Anomaly]) -> None:
        """Count the anomalies that were not there at the call before."""
        found = {(a.target, a.metric, a.detector): a for a in anomalies}
        for key in found.keys() - self._seen:
            anomaly = found[key]
            self.anomalies_total.labels(anomaly.detector, anomaly.metric, anomaly.severity).inc()
        self._seen = frozenset(found)

    def heard(self, lag_s: Mapping[str, float], problems: Iterable[Problem] = ()) -> None:
        """Show each source's lag in seconds, NaN for one that is down, and count its problems."""
        self.source_up.clear()
        self.source_lag_seconds.clear()
        for source, lag in lag_s.items():
            self.source_up.labels(source).set(0 if math.isnan(lag) else 1)
            self.source_lag_seconds.labels(source).set(lag)
        for problem in problems:
            self.source_problems_total.labels(problem.source, problem.code).inc()

    def act(self, kind: str, outcome: OutcomeStatus) -> None:
        """Count what came of one action."""
        self.actions_total.labels(kind, outcome).inc()

    def opened(self, incidents: Iterable[Incident]) -> None:
        """Show how many incidents are open, by severity."""
        severities = [incident.severity for incident in incidents]
        for severity in Severity:
            self.incidents_open.labels(severity).set(severities.count(severity))

    def diagnosed(self, answer: str, diagnosis: Diagnosis) -> None:
        """Count a diagnosis by its answer, a class of faults or ``no_fault``, and its time."""
        self.diagnoses_total.labels(answer).inc()
        if diagnosis.run_s is not None:
            self.diagnosis_duration_seconds.labels(diagnosis.method).observe(diagnosis.run_s)

    def fitted(self, known: Mechanisms, until_s: float) -> None:
        """Show how many mechanisms are straight and bent, and how late their readings are."""
        bent = sum(bool(gain[1:].any()) for gain in known.gain.values())
        self.mechanisms.labels("bent").set(bent)
        self.mechanisms.labels("straight").set(len(known.gain) - bent)
        self.mechanisms_fitted_timestamp_seconds.set(until_s)

    def foresaw(self, forecasts: Iterable[Forecast], skill: Mapping[str, float]) -> None:
        """Show the last step of some forecasts, and each metric's median skill over all of them.

        One value for each of 100,000 series would be more than the page should carry.
        """
        self.forecast_value.clear()
        self.forecast_skill_ratio.clear()
        for metric, ratio in skill.items():
            self.forecast_skill_ratio.labels(metric).set(ratio)
        for forecast in forecasts:
            if forecast.time_s.size:
                self._show_last_step(forecast)

    def saved(self, job: str, found: "Standing", now_s: float) -> None:
        """Show how old a job's newest valid checkpoint is, how many there are, what they cost."""
        newest, advised = found.newest, found.advice
        states = [each.state for each in found.listing.checkpoints]
        for state in State:
            self.checkpoints.labels(job, state).set(states.count(state))
        self.checkpoint_age_seconds.labels(job).set(
            max(0.0, now_s - newest.saved_s) if newest else math.nan
        )
        save_s = newest.save_s if newest else None
        self.checkpoint_save_seconds.labels(job).set(math.nan if save_s is None else save_s)
        if found.copied_s is not None:
            self.checkpoint_copy_age_seconds.labels(job).set(max(0.0, now_s - found.copied_s))
        if advised is not None:
            self.checkpoint_interval_seconds.labels(job, "best").set(advised.best_s)
            if advised.now_s is not None:
                self.checkpoint_interval_seconds.labels(job, "now").set(advised.now_s)

    def wants(self, demand: DemandView | None) -> None:
        """Show the GPUs that will be wanted and those that are lacking; nothing where unknown."""
        self.gpus_wanted.clear()
        self.gpus_to_add.clear()
        if demand is None:
            return
        for lead_s, gpus, to_add in zip(demand.lead_s, demand.gpus, demand.to_add, strict=True):
            lead = f"{lead_s / 60:.0f}m"
            self.gpus_to_add.labels(lead).set(to_add)
            for level, count in zip(demand.level, gpus, strict=True):
                self.gpus_wanted.labels(lead, f"{level:g}").set(count)

    def used(self, bills: Iterable["Bill"]) -> None:
        """Show each job's power, and count its energy, cost and CO2."""
        self.job_power_watts.clear()
        for bill in bills:
            before = self._billed.get(bill.job, 0.0)
            grown = bill.kwh - before
            if grown <= 0:
                continue
            share, self._billed[bill.job] = grown / bill.kwh, bill.kwh
            self.job_power_watts.labels(bill.job).set(bill.watts)
            self.job_energy_joules_total.labels(bill.job).inc(grown * JOULES_PER_KWH)
            if bill.cost is not None:
                self.job_cost_total.labels(bill.job, bill.currency).inc(bill.cost * share)
            if bill.co2_g is not None:
                self.job_carbon_grams_total.labels(bill.job).inc(bill.co2_g * share)

    def _show_last_step(self, forecast: Forecast) -> None:
        horizon = f"{forecast.time_s[-1] - forecast.made_at_s:.0f}s"
        bounds = {"lower": forecast.lower, "mean": forecast.mean, "upper": forecast.upper}
        for row, target in enumerate(forecast.targets):
            for bound, value in bounds.items():
                labels = (forecast.metric, target.node, str(target), bound, horizon)
                self.forecast_value.labels(*labels).set(float(value[row, -1]))

    def _cycles(self) -> None:
        self.cycle_duration_seconds = self._histogram(
            "cycle_duration_seconds", "Time one run of a periodic work took.", "loop"
        )
        self.cycle_last_success_timestamp_seconds = self._gauge(
            "cycle_last_success_timestamp_seconds", "When a periodic work last succeeded.", "loop"
        )
        self.paused = self._gauge("paused", "1 while nothing is acted on.")
        self.clock_steps_total = self._counter("clock_steps_total", "Times the clock was set.")

    def _sources(self) -> None:
        self.source_up = self._gauge("source_up", "1 while the source answers.", "source")
        self.source_lag_seconds = self._gauge(
            "source_lag_seconds", "Age of the source's newest reading.", "source"
        )
        self.source_problems_total = self._counter(
            "source_problems_total", "Parts a source could not give.", "source", "code"
        )
        self.series = self._gauge("series", "Series kept in the history.")
        self.series_learning = self._gauge("series_learning", "Series too short to forecast.")

    def _findings(self) -> None:
        self.anomalies_total = self._counter(
            "anomalies_total", "Anomalies that began.", "detector", "metric", "severity"
        )
        self.detectors_failed_total = self._counter(
            "detectors_failed_total", "Looks that a detector broke at.", "detector"
        )
        self.incidents_open = self._gauge("incidents_open", "Open incidents.", "severity")
        self.incidents_total = self._counter("incidents_total", "Incidents by cause.", "cause")
        self.diagnoses_total = self._counter(
            "diagnoses_total", "Diagnoses by class of the likeliest fault.", "class"
        )
        self.diagnosis_duration_seconds = self._histogram(
            "diagnosis_duration_seconds", "Time a diagnosis took.", "method"
        )

        self.mechanisms = self._gauge(
            "mechanisms", "Kinds of links fitted beside the cycle.", "law"
        )
        self.mechanisms_fitted_timestamp_seconds = self._gauge(
            "mechanisms_fitted_timestamp_seconds", "Newest reading that they were fitted to."
        )

    def _forecasts(self) -> None:
        self.forecasts_total = self._counter(
            "forecasts_total", "Forecasts that were asked for.", "model", "outcome"
        )
        self.warnings_scored_total = self._counter(
            "warnings_scored_total",
            "Warnings by what came of them: right, late (in under half an hour) or false.",
            "outcome",
        )
        self.forecast_value = self._gauge(
            "forecast_value", "Forecast at the horizon, in the metric's unit.", *_FORECAST_LABELS
        )
        self.forecast_skill_ratio = self._gauge(
            "forecast_skill_ratio", "1 - error / error of the better naive, median.", "metric"
        )

        self.gpus_wanted = self._gauge(
            "gpus_wanted", "GPUs that jobs will want at most, with a probability.", "lead", "level"
        )
        self.gpus_to_add = self._gauge(
            "gpus_to_add", "GPUs wanted beyond those in service, at the highest level.", "lead"
        )

    def _actions(self) -> None:
        self.actions_total = self._counter("actions_total", "Actions.", "kind", "outcome")
        self.guard_refusals_total = self._counter(
            "guard_refusals_total", "Actions a guard refused.", "guard"
        )
        self.nodes_out = self._gauge("nodes_out", "Nodes out of service by our hand.")
        self.nodes_out_limit = self._gauge("nodes_out_limit", "Most nodes we may take out.")
        self.lost_gpu_seconds_total = self._counter(
            "lost_gpu_seconds_total", "GPU time jobs lost to the stops that healed them.", "cause"
        )

    def _checkpoints(self) -> None:
        self.checkpoints = self._gauge("checkpoints", "Checkpoints of a job.", "job", "state")
        self.checkpoint_age_seconds = self._gauge(
            "checkpoint_age_seconds", "Age of a job's newest valid checkpoint.", "job"
        )
        self.checkpoint_save_seconds = self._gauge(
            "checkpoint_save_seconds", "Time a job stood for its newest valid checkpoint.", "job"
        )
        self.checkpoint_copy_age_seconds = self._gauge(
            "checkpoint_copy_age_seconds", "Age of the newest copy at the second place.", "job"
        )
        self.checkpoint_interval_seconds = self._gauge(
            "checkpoint_interval_seconds",
            "Time between a job's saves as it is (now), and that loses least (best).",
            *("job", "which"),
        )

    def _energy(self) -> None:
        self._billed: dict[str, float] = {}
        self.job_power_watts = self._gauge("job_power_watts", "What a job's GPUs draw.", "job")
        self.job_energy_joules_total = self._counter(
            "job_energy_joules_total", "Energy of a job, with its hosts' and overhead.", "job"
        )
        self.job_cost_total = self._counter(
            "job_cost_total", "Cost of a job's energy.", "job", "currency"
        )
        self.job_carbon_grams_total = self._counter(
            "job_carbon_grams_total", "CO2 that a job stands for.", "job"
        )

    def _messages(self) -> None:
        self.webhook_deliveries_total = self._counter(
            "webhook_deliveries_total", "Attempts to deliver a message.", "receiver", "outcome"
        )
        self.outbox_pending = self._gauge("outbox_pending", "Messages that wait for delivery.")
        self.webhooks_received_total = self._counter(
            "webhooks_received_total", "Webhooks that came in.", "outcome"
        )

    def _trouble(self) -> None:
        self.config_reloads_total = self._counter(
            "config_reloads_total", "Reloads of the settings.", "outcome"
        )
        self.store_errors_total = self._counter("store_errors_total", "Writes the store refused.")
        self.workers_failed_total = self._counter(
            "workers_failed_total", "Worker processes that failed.", "reason"
        )

    def _start_at_zero(self) -> None:
        """Show what can be counted before it happens, so that the first rise is a rise."""
        for answer in (*FaultClass, NO_FAULT):
            self.diagnoses_total.labels(answer)
        for outcome in _SCORED:
            self.warnings_scored_total.labels(outcome)
        for outcome in _RELOADS:
            self.config_reloads_total.labels(outcome)
        for outcome in _RECEIVED:
            self.webhooks_received_total.labels(outcome)
        self.opened(())

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", text, labels, registry=self.registry, buckets=_SECONDS)
