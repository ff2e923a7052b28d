"""The controller: one cycle reads the world, decides, acts once and says one sentence."""

import asyncio
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version

import structlog

from agent.answer import in_short
from agent.deep import ask
from agent.demand import GpusWanted
from agent.energy.watch import EnergyWatch
from agent.forecasting import Forecasting
from agent.gather import Gatherer, World
from agent.heal import Heal
from agent.metrics import Metrics
from agent.notify.alertmanager import Alertmanager
from agent.pause import PauseSwitch
from agent.standing_alerts import StandingAlerts
from agent.tell import Teller
from agent.upkeep import Seen, Upkeep
from agent.view import DemandView, Pause, View
from agent.watch import Watch
from core.clock import Clock
from core.cluster import OWNER
from core.errors import GpumedicError, InputError, StoreError
from core.ports import Announcement, DeliveryStatus, Store
from core.types import Diagnosis, Event, Incident, JournalEntry, PlanRecord
from rca.hops import HopSeries
from rca.reference.questions import Answers
from rca.words import say_short
from remediation.guards import GuardSettings, nodes_out_limit

log = structlog.get_logger()

LOOP = "cycle"
MOST_OF_A_TITLE = 100
# Open incidents whose history the page shows beside them; the others have it on their own page.
MOST_TIMELINES = 20
# A wall clock that moves this much more or less than the monotonic one between two cycles was set.
CLOCK_STEP_S = 30.0
# A cycle that has not ended after this many intervals means the loop is stuck: no more watchdog.
STUCK_AFTER_CYCLES = 8
# A source gives each event once: of a cycle that failed they wait for the next, so many at most.
MAX_UNSEEN = 10_000
# Events that a look breaks on are given up after so many cycles, or nothing else is ever seen.
MAX_FAILED_LOOKS = 8
# The first cycle waits so long, real time, for the history: a diagnosis needs what was normal.
FIRST_FILL_S = 30.0


@dataclass(slots=True)
class Controller:
    """Owns the cycle and answers the page; all work is done by the parts it holds.

    cycle_s: seconds from one cycle to the next, on the clock
    _stands: the sentence without what was done in its cycle
    _said:   to a person: what stands, and the last in which something was done
    """

    cluster: str
    clock: Clock
    gatherer: Gatherer
    forecasting: Forecasting
    demand: GpusWanted
    energy: EnergyWatch
    watch: Watch
    heal: Heal
    upkeep: Upkeep
    teller: Teller
    store: Store
    pause_switch: PauseSwitch
    alerts: StandingAlerts
    metrics: Metrics
    guards: GuardSettings
    cycle_s: float
    alertmanager: Alertmanager | None = None
    tell_person: Callable[[str], None] = lambda line: None
    sentence: str = "Starting: no cycle has run yet."
    _world: World | None = None
    _unseen: tuple[Event, ...] = ()
    _stands: str = ""
    _said: tuple[str, str] = ("", "")
    _timelines: Mapping[str, tuple[JournalEntry, ...]] = field(default_factory=dict)
    _wanted: DemandView | None = None
    _cycles: int = 0
    _failed_looks: int = 0
    _store_error: str = ""
    _ended_s: float = -math.inf
    _clock_gap_s: float | None = None
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def start(self) -> None:
        """Take up what an earlier process left; fill the history's gaps while time allows."""
        await self.pause_switch.load()
        await self.watch.load(self.clock.now_s())
        await self.heal.load()
        await self.upkeep.load()
        try:
            async with asyncio.timeout(FIRST_FILL_S):
                await self._fill()
        except TimeoutError:
            log.info("back-fill goes on beside the cycle")
        self._ended_s = self.clock.monotonic_s()

    async def cycle(self) -> str:
        """Run one cycle; an error is logged and becomes the sentence, and the next cycle runs."""
        async with self._one_at_a_time:
            with self.metrics.cycle_duration_seconds.labels(LOOP).time():
                try:
                    self.sentence = await self._cycle()
                except Exception as error:
                    self._failed(error)
                else:
                    self.metrics.cycle_last_success_timestamp_seconds.labels(LOOP).set(
                        self.clock.now_s()
                    )
            self._cycles += 1
            self._ended_s = self.clock.monotonic_s()
            log.info("cycle", sentence=self.sentence, cycle=self._cycles)
            self._tell_person()
            return self.sentence

    async def refit(self) -> None:
        """Fill the history's gaps and refit: breaches are symptoms of the cycles that follow."""
        await self._fill()
        await self.forecasting.refit(self.clock.now_s())
        self._wanted = self.demand.ahead()
        self.metrics.wants(self._wanted)
        if self._world is not None:
            await self.watch.refit(self._world)

    async def _fill(self) -> None:
        for problem in await self.gatherer.fill():
            log.warning("back-fill incomplete", source=problem.source, problem=problem.text)

    def healthy(self) -> bool:
        """Say whether cycles still end."""
        return self.clock.monotonic_s() - self._ended_s < STUCK_AFTER_CYCLES * self.cycle_s

    def ready(self) -> tuple[str, ...]:
        """Return what is missing before this controller is of use; empty when it is ready."""
        missing = [] if self._cycles else ["no cycle has run yet"]
        if self._world and self._world.lag_s and all(map(math.isnan, self._world.lag_s.values())):
            missing.append("no source of readings answers")
        if self._store_error:
            missing.append(self._store_error)
        return tuple(missing)

    async def _cycle(self) -> str:
        self._note_clock()
        world = await self.gatherer.gather()
        self._unseen = (*self._unseen, *world.events)[-MAX_UNSEEN:]
        alerts = await self.alerts.standing(world.now_s)
        world = replace(world, events=(*self._unseen, *alerts.values()))
        self._world = world
        self.demand.note(world.state)
        self.energy.note(world.state, world.now_s)
        self.metrics.used(each.bill for each in self.energy.jobs)
        self.metrics.heard(world.lag_s, world.problems)
        broke = await self._look(world)
        given_up = self._failed_looks >= MAX_FAILED_LOOKS
        if broke is None or given_up:
            self._failed_looks, self._unseen = 0, ()
        if given_up:
            await self.alerts.drop(alerts)
        done = await self.heal.step(
            world,
            self.watch.incidents,
            self.watch.diagnoses,
            paused=lambda: self._pause() is not None,
        )
        done = (*done, *await self._keep_up(world))
        self.watch.learn(self.heal.recent(), world.now_s)
        if broke is not None:
            raise broke
        newest = self.watch.live()[-MOST_TIMELINES:]
        self._timelines = {each.id: await self.store.entries(each.id) for each in newest}
        await self._tell_alertmanager()
        self._count()
        return self._say(world, done, self._pause())

    async def _keep_up(self, world: World) -> tuple[str, ...]:
        """Propose what would be better though nothing is broken."""
        if world.state is None:
            return ()
        memory, given, now_s = self.heal.memory, self.heal.site, world.now_s
        seen = Seen(
            state=world.state,
            now_s=now_s,
            demand=self._wanted,
            site=memory.figures(given),
            faults_a_day=memory.faults_a_day(given, len(world.state.topology.gpus), now_s),
            watched_days=memory.watched_days(now_s),
            plans=self.heal.plans,
        )
        return await self.upkeep.step(seen)

    async def _look(self, world: World) -> Exception | None:
        """Look for trouble; return what broke the look, with which live plans still move.

        Its events are looked at again; after so many failures they are what breaks it, most likely.
        """
        try:
            await self.watch.look(
                world.as_of_its_moment(self.clock.now_s()),
                breaches=self.forecasting.breaches(world.now_s),
                settled=self.heal.acted_on(world.now_s),
            )
        except StoreError:
            raise
        except Exception as error:
            self._failed_looks += 1
            if self._failed_looks >= MAX_FAILED_LOOKS and world.events:
                log.exception("events given up", events=[repr(event) for event in world.events])
            return error
        return None

    def _pause(self) -> Pause | None:
        return self.pause_switch.current(self.clock.now_s())

    def view(self) -> View:
        """Return the newest snapshot."""
        world, now_s = self._world, self.clock.now_s()
        kept = self.gatherer.history.stats()
        return View(
            made_at_s=now_s,
            version=version("gpumedic"),
            cluster=self.cluster,
            sentence=self.sentence,
            pause=self.pause_switch.current(now_s),
            state=world.state if world else None,
            incidents=(*self.watch.recent(), *self.upkeep.incidents.values()),
            diagnoses=self.watch.diagnoses,
            plans=self.heal.recent(),
            forecasts=self.forecasting.views,
            problems=(*(world.problems if world else ()), *self.heal.all_problems()),
            sources=world.lag_s if world else {},
            series=kept.series,
            learning=kept.learning,
            nodes_out=self._nodes_out(),
            nodes_out_limit=self._nodes_out_limit(),
            timelines=self._timelines,
            demand=self._wanted,
            learned=self.watch.outcomes.learned(now_s),
            energy={each.bill.job: each for each in self.energy.jobs},
        )

    async def timeline(self, incident_id: str) -> tuple[JournalEntry, ...]:
        """Return an incident's journal, oldest first."""
        return await self.store.entries(incident_id)

    async def deep(self, incident_id: str) -> Answers:
        """Ask DoWhy about an incident, in workers, each question within forecast.time_limit."""
        if self._world is None:
            raise InputError(f"Attributing incident {incident_id}: no cycle has run yet. Wait one.")
        asked = self.watch.questions(incident_id, self._world)
        return await ask(self.forecasting.pool, asked)

    async def path(self, incident_id: str) -> tuple[HopSeries, ...]:
        """Return the readings along the likeliest cause's path to the symptom."""
        return self.watch.path(incident_id, self.clock.now_s())

    async def approve(self, plan_id: str, *, by: str) -> PlanRecord:
        """Let a proposed plan run; its first step is taken in the next cycle."""
        return await self.heal.approve(plan_id, by=by)

    async def deny(self, plan_id: str, *, by: str, because: str) -> PlanRecord:
        """Turn a proposed plan down."""
        return await self.heal.deny(plan_id, by=by, because=because)

    async def acknowledge(self, plan_id: str, *, by: str) -> PlanRecord:
        """Note that a person who was called has taken over; nothing more is done about it."""
        return await self.heal.acknowledge(plan_id, by=by)

    async def pause(self, *, by: str, because: str, for_s: float | None) -> None:
        """Stop acting; watching, forecasting and telling go on."""
        if not because.strip():
            raise InputError("Pausing: no reason was given. Say why with --because.")
        now_s = self.clock.now_s()
        until_s = None if for_s is None else now_s + for_s
        await self.pause_switch.set(Pause(by=by, because=because, since_s=now_s, until_s=until_s))
        await self.teller.tell(Announcement.PAUSED, f"Paused by {by}: {because}")

    async def resume(self, *, by: str) -> None:
        """Act again."""
        await self.pause_switch.set(None)
        log.info("resumed", by=by)

    async def take_alerts(self, firing: Mapping[str, Event], resolved: Sequence[str]) -> None:
        """Keep what other systems say; it is on disk when this returns."""
        await self.alerts.put(firing, resolved, now_s=self.clock.now_s())

    def _tell_person(self) -> None:
        """Say what is new to whoever watches the terminal: something was done, or stands anew."""
        if self.sentence not in self._said:
            self.tell_person(say_short(self.sentence))
        done = self._said[1] if self.sentence == self._stands else self.sentence
        self._said = (self._stands, done)

    def _note_clock(self) -> None:
        """Notice that the wall clock was set: durations go on, and the step is told and counted."""
        gap_s = self.clock.now_s() - self.clock.monotonic_s()
        if self._clock_gap_s is not None and abs(gap_s - self._clock_gap_s) > CLOCK_STEP_S:
            step_s = gap_s - self._clock_gap_s
            self.metrics.clock_steps_total.inc()
            log.warning("the clock was set", step_s=round(step_s, 1))
        self._clock_gap_s = gap_s

    def _failed(self, error: Exception) -> None:
        self._stands = f"The cycle failed and runs again: {str(error) or type(error).__name__}"
        self.sentence = self._stands
        if isinstance(error, StoreError):
            self.metrics.store_errors_total.inc()
            self._store_error = str(error)
        foreseen = isinstance(error, GpumedicError)
        log.error("cycle failed", error=str(error), exc_info=None if foreseen else error)

    def _count(self) -> None:
        kept = self.gatherer.history.stats()
        self._store_error = ""
        self.metrics.series.set(kept.series)
        self.metrics.series_learning.set(kept.learning)
        self.metrics.paused.set(self._pause() is not None)
        self.metrics.nodes_out.set(self._nodes_out())
        self.metrics.nodes_out_limit.set(self._nodes_out_limit())

    def _nodes_out(self) -> int:
        if self._world is None or self._world.state is None:
            return 0
        return len(self._world.state.out_by(OWNER))

    def _nodes_out_limit(self) -> int:
        if self._world is None or self._world.state is None:
            return 0
        return nodes_out_limit(self._world.state, self.guards)

    async def _tell_alertmanager(self) -> None:
        if self.alertmanager is None:
            return
        said = await self.alertmanager.push(self.watch.recent(), self.watch.diagnoses)
        self.metrics.webhook_deliveries_total.labels("alertmanager", said.status).inc()
        if said.status is not DeliveryStatus.DELIVERED:
            log.warning("Alertmanager did not take the incidents", answer=said.text)

    def _say(self, world: World, done: tuple[str, ...], pause: Pause | None) -> str:
        prefix = f"PAUSE ({pause.because}): " if pause else ""
        live = _open(self.watch.live(), self.watch.diagnoses)
        down = sorted(name for name, lag in world.lag_s.items() if math.isnan(lag))
        silent = [f"no answer from {', '.join(down)}"] if down else []
        self._stands = f"{prefix}{'; '.join([live, *silent])}."
        return f"{prefix}{'; '.join([live, *done, *silent])}."


def _open(live: Sequence[Incident], diagnoses: Mapping[str, Diagnosis]) -> str:
    """Say how many incidents are open, and the worst and newest of them by its cause."""
    if not live:
        return "all quiet"
    worst = max(live, key=lambda incident: (incident.severity.rank, incident.opened_s))
    found = diagnoses.get(worst.id)
    title = textwrap.shorten(worst.title.rstrip("."), MOST_OF_A_TITLE, placeholder=" ...")
    named = in_short(found) if found and found.causes else title
    return (
        f"1 open incident ({named})" if len(live) == 1 else f"{len(live)} open incidents ({named})"
    )
