"""Detect, group and diagnose: from the history to incidents with a named cause."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from agent.answer import class_of, in_short, name_of
from agent.gather import World
from agent.history import History
from agent.mechanics import EVERY_S, GUARD_S, Mechanics
from agent.metrics import Metrics
from agent.outcomes import Outcomes
from agent.senses import Senses
from agent.tell import Teller
from core.cluster import ClusterState
from core.errors import InputError
from core.ports import Announcement, Store
from core.target import Target
from core.types import (
    Breach,
    Diagnosis,
    Event,
    Incident,
    IncidentState,
    PlanRecord,
    Severity,
    Window,
)
from detectors.detect import DetectSettings
from detectors.detector import Symptoms
from detectors.group import GroupSettings, group
from rca.diagnose import DiagnoseSettings, case_of, diagnose
from rca.graph.links import TEMPLATES
from rca.graph.templates import Template
from rca.hops import HopSeries, hop_series
from rca.knowledge import Knowledge
from rca.reference.questions import Questions, questions
from remediation.running.upkeep import is_need

log = structlog.get_logger()

# Of so many nodes a diagnosis may look at every series; of more at those that touch the incident.
FEW_NODES = 128
# When a thousand nodes fail at once the worst are diagnosed now, the others in the next cycles.
MAX_DIAGNOSES = 100
# What was said and is no symptom explains one for so long; of a flood the newest count.
TOLD_S, MAX_TOLD = 3600.0, 10_000
# A plot of a path shows as long before its onset as after, but at least and at most this long.
PATH_BEFORE_S = (900.0, 3600.0)
# What happened this long after a resolved incident's last symptom is no part of its plot.
PATH_AFTER_S = 600.0


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How far back the detectors look, in seconds, and what each part goes by.

    links: of the causal graph, a user's own among them
    """

    detect_span_s: float
    detect: DetectSettings
    group: GroupSettings
    diagnose: DiagnoseSettings
    links: tuple[Template, ...] = TEMPLATES


@dataclass(slots=True)
class Watch:
    """Keeps the live incidents and their diagnoses; the store has them all.

    What is found is known here first: while the store cannot be written it waits in ``_unsaved``
    for the next look, and is neither forgotten, found anew nor told twice.
    """

    history: History
    store: Store
    teller: Teller
    metrics: Metrics
    senses: Senses
    settings: WatchSettings
    mechanics: Mechanics
    outcomes: Outcomes = field(default_factory=Outcomes)
    incidents: dict[str, Incident] = field(default_factory=dict)
    diagnoses: dict[str, Diagnosis] = field(default_factory=dict)
    _seen: dict[str, frozenset[object]] = field(default_factory=dict)
    _told: tuple[Event, ...] = ()
    _unsaved: dict[tuple[type, str], Incident | Diagnosis] = field(default_factory=dict)

    def change(self, settings: WatchSettings) -> None:
        """Go by other settings from now on."""
        self.settings = settings
        self.senses.change(settings.detect)

    async def load(self, now_s: float) -> None:
        """Take up the incidents an earlier process left open, or resolved a moment ago."""
        since_s = now_s - self.settings.group.damping_s
        lately = await self.store.find(Incident, since_s=since_s)
        for incident in (*lately, *await self.store.find(Incident, live=True)):
            if is_need(incident):  # no symptom made it, and none may join it
                continue
            self.incidents[incident.id] = incident
            if known := await self.store.get(Diagnosis, incident.id):
                self.diagnoses[incident.id] = known
                self._seen[incident.id] = _symptoms_of(incident)

    async def look(
        self, world: World, *, breaches: Sequence[Breach], settled: frozenset[str]
    ) -> None:
        """Find symptoms, group them, and diagnose the incidents whose symptoms changed.

        settled: incidents a plan has acted on: what shows afterwards is the plan's own trace, and
        their diagnosis stays the one that was acted on
        """
        topology = world.state.topology if world.state else None
        windows = self._windows(world.now_s - self.settings.detect_span_s, world.now_s)
        found = self.senses.look(windows, topology=topology, now_s=world.now_s)
        told = self.senses.hear(tuple(world.events), topology=topology, now_s=world.now_s)
        self.metrics.saw(found.anomalies)
        events = (*found.events, *told)
        self._hear(events, world.now_s)
        symptoms = Symptoms(
            anomalies=found.anomalies,
            events=tuple(event for event in events if _is_trouble(event)),
            breaches=tuple(breaches),
        )
        await self._group(symptoms, world)
        news = [i for i in self.live() if _symptoms_of(i) - self._seen.get(i.id, frozenset())]
        for incident in news:
            if incident.id in settled:
                self._saw(incident)
        due = [incident for incident in news if incident.id not in settled]
        worst_first = sorted(due, key=lambda incident: -incident.severity.rank)
        for incident in worst_first[:MAX_DIAGNOSES]:
            self._saw(incident)
            await self._try_to_diagnose(incident, world)
        await self._save()

    def learn(self, plans: Iterable[PlanRecord], now_s: float) -> None:
        """Learn what came of the diagnoses that were acted on."""
        self.outcomes.note(plans, self.diagnoses, now_s=now_s)

    async def refit(self, world: World) -> None:
        """Learn what is usual from the readings that no incident touches."""
        if world.state is None:
            return
        since_s = world.now_s - EVERY_S - GUARD_S
        lately = await self.store.find(Incident, since_s=since_s)
        incidents = {each.id: each for each in (*lately, *self.incidents.values())}.values()
        topology, links = world.state.topology, self.settings.links
        await self.mechanics.refit(world.now_s, topology, incidents, links)

    def _hear(self, events: Sequence[Event], now_s: float) -> None:
        """Keep what is no symptom and may explain one: planned work, a new driver."""
        news = {*self._told, *(event for event in events if not _is_trouble(event))}
        kept = sorted((e for e in news if now_s - e.time_s < TOLD_S), key=lambda e: e.time_s)
        self._told = tuple(kept[-MAX_TOLD:])

    def knowledge(self, now_s: float) -> Knowledge:
        """Return what the next diagnosis knows beforehand."""
        return Knowledge(
            self.settings.links, self.outcomes.shifts(now_s), self.mechanics.mechanisms
        )

    def _saw(self, incident: Incident) -> None:
        """Note an incident's symptoms; one that goes and comes back is no news."""
        seen = self._seen.get(incident.id, frozenset())
        self._seen[incident.id] = seen | _symptoms_of(incident)

    def live(self) -> tuple[Incident, ...]:
        """Return the open incidents, oldest first."""
        open_ones = (i for i in self.incidents.values() if i.state is IncidentState.OPEN)
        return tuple(sorted(open_ones, key=lambda incident: incident.opened_s))

    def recent(self) -> tuple[Incident, ...]:
        """Return the newest incidents, open or not, newest first."""
        return tuple(sorted(self.incidents.values(), key=lambda incident: -incident.opened_s))

    async def _group(self, symptoms: Symptoms, world: World) -> None:
        before = dict(self.incidents)
        after = group(
            tuple(before.values()),
            symptoms,
            topology=world.state.topology if world.state else None,
            now_s=world.now_s,
            settings=self.settings.group,
            new_id=lambda: uuid.uuid4().hex[:8],
        )
        changed = [incident for incident in after if before.get(incident.id) != incident]
        self.incidents = {incident.id: incident for incident in after}
        self.metrics.opened(self.live())
        for incident in changed:
            self._unsaved[Incident, incident.id] = incident
            await self._announce(before.get(incident.id), incident)
        for known in (self.diagnoses, self._seen):
            for gone in known.keys() - self.incidents.keys():
                del known[gone]

    async def _announce(self, before: Incident | None, incident: Incident) -> None:
        if what := _announcement(before, incident):
            await self.teller.tell(what, incident.title, incident=incident)
        if _breaches_of(incident) - _breaches_of(before):
            await self.teller.tell(Announcement.BREACH_EXPECTED, incident.title, incident=incident)

    def questions(self, incident_id: str, world: World) -> Questions:
        """Return what to ask DoWhy about an incident; InputError where that cannot be."""
        incident, diagnosis = self.incidents.get(incident_id), self.diagnoses.get(incident_id)
        if incident is None or diagnosis is None:
            raise InputError(
                f"Attributing incident {incident_id}: it has no diagnosis yet, or is too old to be "
                "kept at hand. Ask again after the next cycle."
            )
        case = case_of(
            incident,
            self._around(incident, world),
            world.state,
            now_s=world.now_s,
            settings=self.settings.diagnose,
            knowledge=self.knowledge(world.now_s),
        )
        return questions(case, diagnosis)

    def path(self, incident_id: str, now_s: float) -> tuple[HopSeries, ...]:
        """Return the readings along the likeliest cause's path; InputError where it has none."""
        incident, diagnosis = self.incidents.get(incident_id), self.diagnoses.get(incident_id)
        path = diagnosis.causes[0].path if diagnosis and diagnosis.causes else ()
        if incident is None or not path:
            raise InputError(
                f"Following incident {incident_id} from cause to symptom: no path through the "
                "causal graph is known. A diagnosis that names a cause by its readings has one."
            )
        spans = self.settings.diagnose
        onset_s = min((h.began_s for h in path if h.began_s is not None), default=incident.opened_s)
        resolved_s = incident.resolved_s
        end_s = now_s if resolved_s is None else min(now_s, resolved_s + PATH_AFTER_S)
        before_s = min(max(end_s - onset_s, PATH_BEFORE_S[0]), PATH_BEFORE_S[1])
        start_s = onset_s - spans.guard_s - spans.normal_span_s
        return tuple(
            hop_series(
                hop,
                self.history.window(hop.metric, start_s=start_s, end_s=end_s, targets=[hop.target]),
                normal_until_s=onset_s - spans.guard_s / 5,
                shown_from_s=onset_s - before_s,
            )
            for hop in path
        )

    def _around(self, incident: Incident, world: World) -> Mapping[str, Window]:
        """Return the readings a diagnosis needs, from its normal time on."""
        spans = self.settings.diagnose
        start_s = incident.opened_s - spans.normal_span_s - spans.guard_s
        return self._windows(start_s, world.now_s, near=_neighbourhood(incident, world.state))

    async def _try_to_diagnose(self, incident: Incident, world: World) -> None:
        """Diagnose; one incident that breaks it must not keep the others from their diagnosis."""
        try:
            await self._diagnose(incident, world)
        except Exception as error:
            log.exception("diagnosis broke", incident=incident.id, error=repr(error))

    async def _diagnose(self, incident: Incident, world: World) -> None:
        windows = self._around(incident, world)
        found = diagnose(
            incident,
            windows,
            world.state,
            now_s=world.now_s,
            settings=self.settings.diagnose,
            knowledge=self.knowledge(world.now_s),
            told=self._told,
        )
        self.metrics.diagnosed(class_of(found), found)
        before = self.diagnoses.get(incident.id)
        self.diagnoses[incident.id] = found
        if before is None:
            self.metrics.incidents_total.labels(name_of(found)).inc()
        if before is None or _named(before) != _named(found):
            await self.teller.tell(
                Announcement.INCIDENT_DIAGNOSED, in_short(found), incident=incident, diagnosis=found
            )
        self._unsaved[Diagnosis, incident.id] = found

    async def _save(self) -> None:
        """Write what changed; StoreError leaves it to be written with the next look."""
        if self._unsaved:
            await self.store.put(*self._unsaved.values())
            self._unsaved.clear()

    def _windows(
        self, start_s: float, end_s: float, *, near: frozenset[str] | None = None
    ) -> Mapping[str, Window]:
        windows = {}
        for metric in self.history.metrics():
            targets = self.history.targets(metric)
            if near is not None:
                targets = tuple(
                    target for target in targets if not target.node or target.node in near
                )
            windows[metric] = self.history.window(
                metric, start_s=start_s, end_s=end_s, targets=targets
            )
        return windows


def _is_trouble(event: Event) -> bool:
    """Say whether an event is a symptom: a job that starts is news, and no incident."""
    return event.severity is not Severity.INFO


def _announcement(before: Incident | None, now: Incident) -> Announcement | None:
    if before is None:
        return Announcement.INCIDENT_OPENED
    if now.state is not before.state:
        opened = now.state is IncidentState.OPEN
        return Announcement.INCIDENT_OPENED if opened else Announcement.INCIDENT_RESOLVED
    worse = now.severity is not before.severity or now.targets != before.targets
    return Announcement.INCIDENT_UPDATED if worse else None


def _breaches_of(incident: Incident | None) -> frozenset[object]:
    """Name the breaches an incident expects; one that joins later is told like the first."""
    return frozenset((b.target, b.metric) for b in incident.breaches) if incident else frozenset()


def _symptoms_of(incident: Incident) -> frozenset[object]:
    """Name an incident's symptoms without their readings: a new one calls for a new diagnosis."""
    return frozenset(
        [
            *((a.target, a.metric, a.detector) for a in incident.anomalies),
            *((e.target, e.kind, e.code) for e in incident.events),
            *((b.target, b.metric, "breach") for b in incident.breaches),
        ]
    )


def _neighbourhood(incident: Incident, state: ClusterState | None) -> frozenset[str] | None:
    """Return the nodes a diagnosis may need: the incident's, their jobs' and their racks'.

    None, for all, where the scheduler is not known or the cluster is small.
    """
    if state is None or len(state.nodes) <= FEW_NODES:
        return None
    topology = state.topology
    nodes = {node for target in incident.targets for node in topology.nodes_in(target)}
    for job in incident.jobs:
        nodes.update(topology.nodes_of_job(job))
    racks = {topology.rack_of(node) for node in nodes} - {""}
    for rack in racks:
        nodes.update(topology.nodes_in(Target(rack=rack)))
    return frozenset(nodes)


def _named(diagnosis: Diagnosis) -> tuple[object, ...]:
    """Return what is told anew when it changes: who is to blame for what, or that nobody is."""
    cause = diagnosis.likeliest
    return (cause.target, cause.fault) if cause else (class_of(diagnosis),)
