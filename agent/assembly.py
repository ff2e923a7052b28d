"""Put the controller together from the settings: every wire of the process is in this file."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version

import structlog

from agent.access import ensure_token
from agent.acting import Acting, acting
from agent.checkpoints.audit import Audit
from agent.checkpoints.wiring import audit_of, known_to, work_of
from agent.config import Settings, read_secret
from agent.config.reload import Reloader
from agent.controller import Controller
from agent.database import Database
from agent.demand import GpusWanted
from agent.energy.used import EnergyUsed
from agent.energy.watch import EnergyWatch
from agent.forecasting import Forecasting
from agent.gather import Gatherer
from agent.heal import Heal
from agent.history import History
from agent.inbound import Inbound, InboundSettings
from agent.log import set_level
from agent.mechanics import Mechanics
from agent.memory import read_memory, write_memory
from agent.metrics import Metrics
from agent.notify.outbox import Outbox
from agent.notify.signing import read_secrets
from agent.observed_cluster import ObservedCluster
from agent.outcomes import Outcomes
from agent.pause import PauseSwitch
from agent.receivers import alertmanager_of, webhooks_of
from agent.senses import Senses
from agent.server import ServerSettings, build_app
from agent.service import Periodic, Service
from agent.serving import serve
from agent.site_memory import SiteMemory
from agent.standing_alerts import StandingAlerts
from agent.store import SqliteStore
from agent.systemd import Systemd
from agent.tell import Teller
from agent.thinking import Apart, Thinker
from agent.tuning import (
    forecast_settings,
    rates,
    run_settings,
    site_figures,
    watch_settings,
    wishes,
)
from agent.upkeep import Upkeep
from agent.watch import Watch
from agent.workers import WorkerPool
from core.clock import Clock
from core.errors import ConfigError, StoreError
from core.ports import Closing, Cluster, EventSource, MetricSource, Problem, SelfMending
from core.units import CATALOG
from detectors.detector import Array
from detectors.warm import warm
from remediation.deciding.choosing import ChoosingPolicy
from remediation.running.run import Runner

log = structlog.get_logger()

# The outbox looks for due messages this often; its own schedule says which are due.
PUMP_EVERY_S = 1.0
PRUNE_EVERY_S = 3600.0
LEARNED = "learned.npz"
DEMAND = "demand"
ENERGY = "energy"
OUTCOMES = "outcomes"
SITE = "site"
KEEP_LEARNED_EVERY_S = 3600.0  # a tenth of a gigabyte on a large fleet; it is kept at the end too
# Incidents, plans and their journal are looked at again for a quarter of a year.
KEEP_S = 90 * 86400.0


@dataclass(frozen=True, slots=True)
class Inputs:
    """Where readings, events and the scheduler's state come from.

    mending: the scheduler, where it mends some itself; closing: where it must be let go of
    """

    sources: Sequence[MetricSource] = ()
    event_sources: Sequence[EventSource] = ()
    cluster: Cluster | None = None
    mending: SelfMending | None = None
    closing: Closing | None = None


@dataclass(slots=True)
class Assembly:
    """A controller with everything it holds, ready to be served or driven step by step."""

    settings: Settings
    controller: Controller
    database: Database
    history: History
    pool: WorkerPool
    outbox: Outbox
    inbound: Inbound
    metrics: Metrics
    clock: Clock
    audit: Audit | None = None
    scheduler: Closing | None = None
    speed: float = 1.0
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    def service(self, reloader: Reloader | None = None, *, duration_s: float = 0.0) -> Service:
        """Return the process around the controller; intervals are divided by the clock's speed."""
        cycle = self.settings.cycle
        return Service(
            systemd=Systemd(os.environ, self.clock),
            periodic=(
                Periodic("cycle", cycle.interval / self.speed, self.controller.cycle),
                Periodic(
                    "refit", cycle.refit / self.speed, self.controller.refit, interruptible=True
                ),
                Periodic("outbox", PUMP_EVERY_S, self._pump),
                Periodic("prune", PRUNE_EVERY_S, self._prune),
                Periodic("learned", KEEP_LEARNED_EVERY_S, self._keep_learned),
                *work_of(self.audit, self.settings.checkpoints.audit / self.speed),
            ),
            servers=(self._serve,),
            status=lambda: self.controller.sentence,
            healthy=self.controller.healthy,
            reload=lambda: self._reload(reloader),
            close=self.close,
            duration_s=duration_s,
        )

    async def close(self) -> None:
        """Let go of everything; what is kept is on disk when this returns."""
        try:
            self._let_go(self.controller.heal.apart)
            await asyncio.gather(*self._closing)
            await self.pool.close()
            self.history.close()
            await self._keep_learned()
            if self.scheduler is not None:
                await self.scheduler.close()
        finally:
            self.database.close()

    async def _serve(self, stop: asyncio.Event) -> None:
        app = build_app(
            self.controller,
            metrics_page=self.metrics.exposition,
            ready=self.controller.ready,
            settings=ServerSettings(
                token=ensure_token(self.settings.state_dir), names=self.settings.server.names
            ),
            clock=self.clock,
            inbound=self.inbound,
            outbox=self.outbox,
        )
        await serve(app, self.settings.server.listen, stop)

    async def _pump(self) -> None:
        try:
            await self.outbox.pump()
            self.metrics.outbox_pending.set(await self.outbox.pending_count())
        except StoreError as error:
            self.metrics.store_errors_total.inc()
            log.error("messages not stored", problem=str(error))

    async def _prune(self) -> None:
        """Bound what months of running leave on disk; each table has its own rule."""
        await self.inbound.prune()
        await self.outbox.prune()
        await SqliteStore(self.database).prune(self.clock.now_s() - KEEP_S)

    async def _keep_learned(self) -> None:
        """Put away what the detectors know; a start without it is a start among strangers."""
        memory = {
            **self.controller.watch.senses.memory(),
            **self.controller.forecasting.memory(),
            DEMAND: self.controller.demand.state(),
            ENERGY: self.controller.energy.used.state(),
            OUTCOMES: self.controller.watch.outcomes.state(),
            SITE: self.controller.heal.memory.state(),
        }
        await asyncio.to_thread(write_memory, self.settings.state_dir / LEARNED, memory)

    async def _reload(self, reloader: Reloader | None) -> None:
        if reloader is None:
            return
        try:
            changed = reloader.reload()
        except ConfigError as error:
            self.metrics.config_reloads_total.labels("refused").inc()
            log.error("reload refused", problem=str(error))
            return
        self.metrics.config_reloads_total.labels("applied" if changed else "unchanged").inc()
        log.info("reloaded", changes=[str(change) for change in changed])

    def apply(self, settings: Settings) -> None:
        """Hand new settings to the running parts; all of them or, on an error, none."""
        watch, forecast = watch_settings(settings), forecast_settings(settings)
        run, chosen = run_settings(settings), acting(settings)
        set_level(settings.log.level)
        self.settings = settings
        self.controller.watch.change(watch)
        self.controller.forecasting.settings = forecast
        self.controller.heal.runner.settings = run
        heal = self.controller.heal
        heal.autonomy, heal.policy = settings.autonomy_of, ChoosingPolicy(chosen.chooser)
        heal.shadow, heal.problems = chosen.shadow, _said(chosen)
        heal.site = site_figures(settings)
        self.controller.upkeep.wishes = wishes(settings)
        before, heal.apart = heal.apart, _apart(chosen, settings, self.metrics, heal.apart)
        if before is not None and (heal.apart is None or heal.apart.thinker is not before.thinker):
            self._let_go(before)
        self.controller.guards = run.guards

    def _let_go(self, apart: Apart | None) -> None:
        """Have a process that thinks end, beside whatever else goes on."""
        if apart is not None:
            closing = asyncio.create_task(apart.thinker.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


async def assemble(
    settings: Settings, inputs: Inputs, *, clock: Clock, speed: float = 1.0
) -> Assembly:
    """Open the store and the history and start the controller on them.

    StoreLocked while another controller holds the state folder; ConfigError where a secret or a
    receiver's address cannot be used. What was opened is closed again on the way out.
    """
    await asyncio.to_thread(warm, lambda line: log.info("starting", doing=line))
    database = Database.open(settings.state_dir, owner=f"gpumedic controller {settings.cluster}")
    try:
        parts = _parts(settings, inputs, database, clock=clock, speed=speed)
        await parts.controller.start()
    except BaseException:
        database.close()
        raise
    return parts


def _parts(
    settings: Settings, inputs: Inputs, database: Database, *, clock: Clock, speed: float
) -> Assembly:
    metrics = Metrics(version=version("gpumedic"), mode="controller")
    history = History(
        settings.state_dir / "history", step_s=settings.history.step, span_s=settings.history.span
    )
    pool = WorkerPool(
        settings.forecast.workers,
        time_limit_s=settings.forecast.time_limit,
        memory_bytes=settings.forecast.memory_limit,
    )
    outbox = Outbox(
        database,
        webhooks_of(settings, clock=clock),
        clock=clock,
        counted=lambda name, status: metrics.webhook_deliveries_total.labels(name, status).inc(),
    )
    held = _Held(settings, database, history, pool, outbox, metrics, clock)
    audit = audit_of(settings, inputs.cluster, clock, metrics.saved)
    if audit is not None:
        hears = (*inputs.event_sources, audit)
        inputs = replace(inputs, event_sources=hears, cluster=known_to(audit, inputs.cluster))
    controller = _controller(held, inputs)
    return Assembly(
        settings=settings,
        controller=controller,
        database=database,
        history=history,
        pool=pool,
        outbox=outbox,
        inbound=_inbound(held, controller),
        metrics=metrics,
        clock=clock,
        audit=audit,
        scheduler=inputs.closing,
        speed=speed,
    )


@dataclass(frozen=True, slots=True)
class _Held:
    """What every part of the controller is made of."""

    settings: Settings
    database: Database
    history: History
    pool: WorkerPool
    outbox: Outbox
    metrics: Metrics
    clock: Clock


def _controller(held: _Held, inputs: Inputs) -> Controller:
    settings, history, metrics, clock = held.settings, held.history, held.metrics, held.clock
    store, teller = SqliteStore(held.database), Teller(held.outbox, clock)
    cluster = inputs.cluster or ObservedCluster(history, clock)
    run = run_settings(settings)
    runner = Runner(store, cluster, clock=clock, settings=run, announce=teller.tell_plan)
    gatherer = Gatherer(
        metrics=settings.prometheus.metrics or tuple(CATALOG),
        history=history,
        sources=inputs.sources,
        event_sources=inputs.event_sources,
        cluster=cluster,
        clock=clock,
        step_s=settings.history.step,
        span_s=settings.history.span,
        mending=inputs.mending,
    )
    watch = watch_settings(settings)
    senses = Senses(metrics, watch.detect)
    memory = read_memory(settings.state_dir / LEARNED)
    senses.remember(memory)
    forecasting = Forecasting(
        history, held.pool, forecast_settings(settings), metrics, clock, senses.expect
    )
    forecasting.remember(memory)
    outcomes = Outcomes.remembering(memory.get(OUTCOMES, {}))
    heal = _heal(held, runner, store, memory.get(SITE, {}))
    return Controller(
        cluster=settings.cluster,
        clock=clock,
        gatherer=gatherer,
        forecasting=forecasting,
        demand=GpusWanted.remembering(memory.get(DEMAND, {})),
        energy=EnergyWatch(
            history,
            rates(settings),
            settings.energy.most_slowdown,
            EnergyUsed.remembering(memory.get(ENERGY, {})),
        ),
        watch=Watch(
            *(history, store, teller, metrics, senses, watch),
            mechanics=Mechanics(history, metrics),
            outcomes=outcomes,
        ),
        heal=heal,
        upkeep=Upkeep(store, heal.hand_in, wishes(settings)),
        teller=teller,
        store=store,
        pause_switch=PauseSwitch(held.database),
        alerts=StandingAlerts(held.database),
        alertmanager=alertmanager_of(settings, clock=clock),
        metrics=metrics,
        guards=run.guards,
        cycle_s=settings.cycle.interval,
    )


def _heal(held: _Held, runner: Runner, store: SqliteStore, site: Mapping[str, Array]) -> Heal:
    """Return what decides, with what was learned of the site before."""
    settings, metrics = held.settings, held.metrics
    chosen = acting(settings)
    return Heal(
        ChoosingPolicy(chosen.chooser),
        runner,
        store,
        metrics,
        settings.autonomy_of,
        shadow=chosen.shadow,
        problems=_said(chosen),
        apart=_apart(chosen, settings, metrics, None),
        site=site_figures(settings),
        memory=SiteMemory.remembering(site),
    )


def _apart(
    chosen: Acting, settings: Settings, metrics: Metrics, before: Apart | None
) -> Apart | None:
    """Return what decides in a process of its own, started; the process stays where it fits."""
    policies, limit_s = chosen.thinking, settings.policy.time_limit
    if not policies:
        return None
    kept = None if before is None else before.thinker
    if kept is None or (kept.policies, kept.limit_s) != (policies, limit_s):
        kept = Thinker(
            policies,
            limit_s=limit_s,
            failed=lambda reason: metrics.workers_failed_total.labels(reason).inc(),
        )
        kept.start()
    return Apart(kept, chosen.apart, chosen.shadow_apart, settings.policy.explore)


def _said(chosen: Acting) -> tuple[Problem, ...]:
    """Log why a policy does not act that should; return it for the page."""
    for problem in chosen.problems:
        log.error("policy not used", problem=problem.text)
    return chosen.problems


def _inbound(held: _Held, controller: Controller) -> Inbound:
    reference = held.settings.server.alerts_secret_file
    secrets = read_secrets(read_secret(reference, environ=os.environ)) if reference else ()
    return Inbound(
        held.database,
        controller.take_alerts,
        clock=held.clock,
        settings=InboundSettings(secrets=secrets, max_body=held.settings.server.max_body),
        counted=lambda outcome: held.metrics.webhooks_received_total.labels(outcome).inc(),
    )
