"""From the settings, in the words of operators, to what each part goes by, in seconds."""

from agent.config import Settings
from agent.config.own_links import known_and_own
from agent.energy.used import Rates
from agent.forecasting import ForecastSettings
from agent.times import from_rfc3339
from agent.watch import WatchSettings
from core.site import SiteFigures
from detectors.detect import DetectSettings
from detectors.forecast.task import Model
from detectors.group import GroupSettings
from rca.diagnose import DiagnoseSettings
from remediation.capacity.look import Wishes
from remediation.capacity.provision import Prices
from remediation.guards import HOUR_S, GuardSettings, Maintenance
from remediation.running.run import RunSettings
from remediation.running.verify import VerifySettings

# What the detectors see of the history; longer than any of their own spans.
DETECT_SPAN_S = 600.0
# A forecast looks back twelve times as far as ahead, where the history reaches: two hours ahead
# rest on a day, so that a daily wave is not taken for a trend.
LOOK_BACK = 12.0


def watch_settings(settings: Settings) -> WatchSettings:
    """Return what detecting, grouping and diagnosing go by."""
    return WatchSettings(
        detect_span_s=max(DETECT_SPAN_S, 2 * settings.detect.silence_after),
        detect=DetectSettings(
            limits=dict(settings.forecast.limits),
            silence_after_s=settings.detect.silence_after,
            false_alarms_per_day=settings.detect.false_alarms_per_day,
        ),
        group=GroupSettings(
            group_window_s=settings.detect.group_window,
            resolve_after_s=settings.detect.resolve_after,
        ),
        diagnose=DiagnoseSettings(normal_span_s=settings.diagnose.normal_span),
        links=known_and_own(settings),
    )


def forecast_settings(settings: Settings) -> ForecastSettings:
    """Return what is forecast and how much work it may be."""
    wanted = settings.forecast
    return ForecastSettings(
        horizon_s=wanted.horizon,
        coverage=wanted.coverage,
        min_probability=wanted.min_probability,
        sustain_s=wanted.sustain,
        false_alarms_per_day=wanted.false_alarms_per_day,
        cluster_false_alarms_per_day=wanted.cluster_false_alarms_per_day,
        model=Model(wanted.model),
        at_once=wanted.workers,
        span_s=min(settings.history.span, LOOK_BACK * wanted.horizon),
        limits=dict(wanted.limits),
    )


def site_figures(settings: Settings) -> SiteFigures:
    """Return how long things take at this site, before anything was seen of it."""
    wanted = settings.site
    return SiteFigures(
        repair_s=wanted.repair,
        validate_s=wanted.validate_node,
        reboot_s=wanted.reboot,
        people_s=wanted.people,
        page_gpu_s=wanted.page_gpu_hours * HOUR_S,
        faults_a_day=wanted.faults_a_day,
        false_share=wanted.false_share,
    )


def wishes(settings: Settings) -> Wishes:
    """Return what is to be had ready, and what may be done for it."""
    wanted = settings.capacity
    return Wishes(
        prices=Prices(
            waiting=wanted.waiting_price, spares_kept=wanted.spares_kept, spares=wanted.spares
        ),
        use_spares=wanted.room in ("spares", "priority"),
        stop_others=wanted.room == "priority",
        most_slowdown=wanted.most_slowdown,
        windows=run_settings(settings).guards.maintenance,
    )


def run_settings(settings: Settings) -> RunSettings:
    """Return the bounds no plan may cross."""
    wanted = settings.guards
    return RunSettings(
        guards=GuardSettings(
            max_nodes_out=wanted.max_nodes_out,
            max_ratio_out=wanted.max_ratio_out,
            max_nodes_out_per_rack=wanted.max_nodes_out_per_rack,
            max_nodes_out_per_switch=wanted.max_nodes_out_per_switch,
            min_spares_left=wanted.min_spares_left,
            priority_spares=wanted.priority_spares,
            max_job_gpus=wanted.max_job_gpus,
            max_job_share=wanted.max_job_share,
            max_unsaved_gpu_s=wanted.max_unsaved_gpu_hours * HOUR_S,
            cooldown_s=wanted.cooldown,
            evidence_max_age_s=wanted.evidence_max_age,
            min_probability=wanted.min_probability,
            max_actions_per_hour=wanted.max_actions_per_hour,
            probation_s=wanted.probation,
            lemon_after=wanted.lemon_after,
            page_pause_s=wanted.page_pause,
            taken_over_s=wanted.taken_over,
            quiet_s=wanted.quiet,
            owners_agree=wanted.owners_agree,
            automation=wanted.automation,
            maintenance=tuple(
                Maintenance(
                    frozenset(window.nodes),
                    from_rfc3339(window.start),
                    from_rfc3339(window.end),
                    window.by,
                )
                for window in wanted.maintenance
            ),
        ),
        verify=VerifySettings(
            settle_s=settings.verify.settle,
            sustain_s=settings.verify.sustain,
            deadline_s=settings.verify.deadline,
        ),
    )


def rates(settings: Settings) -> Rates:
    """Return what energy costs."""
    wanted = settings.energy
    return Rates(
        price_per_kwh=wanted.price_per_kwh,
        currency=wanted.currency,
        co2_g_per_kwh=wanted.carbon_g_per_kwh,
        host_watts=wanted.host_watts,
        overhead=wanted.overhead,
    )
