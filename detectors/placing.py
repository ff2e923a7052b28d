"""Where symptoms that no incident has had before belong: to one that is open, or together to a new.

Trouble of a node's own goes by node and by shared place. What a job shows goes to the trouble of
one of its nodes, and stays with the job when it moves. Mere information only joins.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from core.types import Anomaly, Breach, Event, Incident, Severity
from detectors.places import Places
from detectors.related import (
    LOSS,
    SHARED_JOBS,
    SLOW,
    STORAGE,
    Role,
    Symptom,
    Tie,
    clusters,
    family_of,
    jobs_of,
    role_of,
    shared_places,
    ties,
)

# So many jobs that fail with the same error in one look have one cause (assumed).
FAILING_JOBS = 3
CLOCK = "gpu_sm_clock_hz"
_WIDE = frozenset({STORAGE, LOSS})


@dataclass(slots=True)
class Home:
    """An open incident, or one to be: its symptoms, and of them what was placed now.

    index: of the incident; None for a new one
    young: it opened so lately that a job that has left its nodes may still be meant
    jobs, shown: that it touches, and that show it themselves
    is_over: it is resolved; only what its job shows opens it again
    """

    index: int | None
    incident: Incident | None = None
    young: bool = True
    is_over: bool = False
    own: list[Symptom] = field(default_factory=list)
    following: list[Symptom] = field(default_factory=list)
    placed: list[Symptom] = field(default_factory=list)
    absorbed_by: "Home | None" = None
    nodes: set[str] = field(default_factory=set)
    jobs: set[str] = field(default_factory=set)
    shown: set[str] = field(default_factory=set)

    @property
    def hard(self) -> bool:
        """Say whether it has critical trouble of its own."""
        return any(symptom.severity is Severity.CRITICAL for symptom in self.own)

    @property
    def is_wide(self) -> bool:
        """Say whether it is about what all share."""
        return any(
            family_of(symptom) in _WIDE and not (symptom.target.node or symptom.target.job)
            for symptom in self.own
        )

    def worst(self) -> tuple[int, int, float]:
        """Return what orders homes by how likely they hold a job's cause, the likeliest least."""
        return min(
            ((-s.severity.rank, not isinstance(s, Event), since_s(s)) for s in self.own),
            default=(0, 1, 0.0),
        )


def placed(
    incidents: Sequence[Incident],
    homeless: Sequence[Symptom],
    places: Places,
    *,
    near: Sequence[int],
    over: Sequence[int],
    now_s: float,
    window_s: float,
) -> tuple[Home, ...]:
    """Return the homes that got a symptom or were absorbed; the order of symptoms does not matter.

    homeless: sorted; near: indices of the incidents that may be joined, oldest first
    over: of those that are resolved, the newest last
    window_s: how long a job that has left its nodes is meant by what it shows
    """
    if not homeless:
        return ()
    homes = [_home(i, incidents[i], places, now_s - window_s) for i in near]
    loud = [symptom for symptom in homeless if symptom.severity is not Severity.INFO]
    own, following = _split(homes, loud, places)
    own, idle = _parted(own, _idling(homes, own, places))
    following += idle
    tied = _tied(homes, own, following, places)
    following, wide = _parted(following, tied.is_wide)
    own += wide
    for home in homes:
        home.following, slow = _parted(home.following, tied.is_slow_place)
        home.own += slow
        home.nodes |= {places.node_of(symptom.target) for symptom in slow}
    _place_own(homes, own, tied)
    ended = [_home(i, incidents[i], places, now_s) for i in over]
    homes += [replace(home, is_over=True) for home in ended if home.is_wide or not home.own]
    _place_following(homes, following, places, window_s)
    _place_evidence(homes, [s for s in homeless if s.severity is Severity.INFO], places)
    return tuple(home for home in homes if home.placed or home.absorbed_by)


def since_s(symptom: Symptom) -> float:
    """Return when a symptom began; of a breach, when it was foreseen."""
    match symptom:
        case Anomaly():
            return symptom.start_s
        case Event():
            return symptom.time_s
        case Breach():
            return symptom.made_at_s


def _home(index: int, incident: Incident, places: Places, lately_s: float) -> Home:
    home = Home(index, incident, young=incident.opened_s >= lately_s)
    loud = [symptom for symptom in _all_of(incident) if symptom.severity is not Severity.INFO]
    home.own, home.following = _split([], loud, places)
    home.nodes = {places.node_of(symptom.target) for symptom in home.own} - {""}
    home.jobs = set(incident.jobs)
    # Of a slow node that its job has left, it is the job that is slow.
    home.shown = {
        job for symptom in home.following for job in jobs_of(symptom, places) or incident.jobs
    }
    return home


def _all_of(incident: Incident) -> tuple[Symptom, ...]:
    return (*incident.anomalies, *incident.events, *incident.breaches)


def _split(
    homes: Sequence[Home], symptoms: Sequence[Symptom], places: Places
) -> tuple[list[Symptom], list[Symptom]]:
    """Split symptoms into trouble of nodes and places, and what jobs show.

    A rank's own time is its node's trouble where the node has other trouble, else its job's.
    """
    roles = [role_of(symptom, places) for symptom in symptoms]
    troubled = {node for home in homes for node in home.nodes}
    for symptom, role in zip(symptoms, roles, strict=True):
        if role is Role.OWN:
            troubled.add(places.node_of(symptom.target))
    own: list[Symptom] = []
    following: list[Symptom] = []
    for symptom, role in zip(symptoms, roles, strict=True):
        explained = role is Role.RANK and places.node_of(symptom.target) in troubled - {""}
        (own if role is Role.OWN or explained else following).append(symptom)
    return own, following


def _idling(
    homes: Sequence[Home], own: Sequence[Symptom], places: Places
) -> Callable[[Symptom], bool]:
    """Return what says of clocks whether they are low as their job has been hit hard elsewhere."""
    hit = {job for home in homes if home.young and home.hard for job in home.jobs}
    troubled = {node for home in homes for node in home.nodes}
    troubled |= {places.node_of(s.target) for s in own if family_of(s) != CLOCK}

    def idles(symptom: Symptom) -> bool:
        node = places.node_of(symptom.target)
        is_of_job = bool(hit.intersection(places.jobs_of(node)))
        return family_of(symptom) == CLOCK and is_of_job and node not in troubled

    return idles


def _parted(
    symptoms: Sequence[Symptom], is_apart: Callable[[Symptom], bool]
) -> tuple[list[Symptom], list[Symptom]]:
    """Return the symptoms that stay, and those set apart."""
    parts: tuple[list[Symptom], list[Symptom]] = ([], [])
    for symptom in symptoms:
        parts[is_apart(symptom)].append(symptom)
    return parts


@dataclass(frozen=True, slots=True)
class _Tied:
    """What symptoms are tied to in one look.

    shared: the places of ``shared_places``; a rank that its node's own trouble makes slow neither
            counts for them nor is tied to them
    troubled: the nodes with trouble of their own
    """

    places: Places
    shared: frozenset[Tie]
    troubled: frozenset[str]

    def of(self, symptom: Symptom) -> tuple[Tie, ...]:
        node = self.places.node_of(symptom.target)
        if family_of(symptom) == SLOW and node in self.troubled:
            return (("node", node),)
        return ties(symptom, self.places, self.shared)

    def is_wide(self, symptom: Symptom) -> bool:
        """Say whether what a job shows is all jobs' trouble, or that of a place of slow nodes."""
        return any(tie[0] == "cluster" or tie[-1] == SLOW for tie in self.of(symptom))

    def is_slow_place(self, symptom: Symptom) -> bool:
        """Say whether a slow node turned out to be slow as others of its place are."""
        return family_of(symptom) == SLOW and self.is_wide(symptom)


def _tied(
    homes: Sequence[Home], own: Sequence[Symptom], following: Sequence[Symptom], places: Places
) -> _Tied:
    every = [*own, *following, *(s for home in homes for s in (*home.own, *home.following))]
    troubled = {places.node_of(s.target) for s in every if role_of(s, places) is Role.OWN} - {""}
    known = (s for s in every if family_of(s) != SLOW or places.node_of(s.target) not in troubled)
    return _Tied(places, shared_places(known, places), frozenset(troubled))


def _place_own(homes: list[Home], own: Sequence[Symptom], tied: _Tied) -> None:
    places = tied.places
    held_by: dict[Tie, list[int]] = {}
    for number, home in enumerate(homes):
        for tie in {tie for symptom in home.own for tie in tied.of(symptom)}:
            held_by.setdefault(tie, []).append(number)
    held = [tied.of(symptom) for symptom in own]
    found = sorted(clusters(held), key=lambda cluster: min((since_s(own[i]), i) for i in cluster))
    of_jobs = [_OfJobs(home, places) for home in homes if home.following]
    for cluster in found:
        theirs = {tie for member in cluster for tie in held[member]}
        symptoms = [own[member] for member in cluster]
        nodes = {places.node_of(symptom.target) for symptom in symptoms} - {""}
        numbers = {number for tie in theirs for number in held_by.get(tie, ())}
        owners = [homes[n] for n in sorted(numbers) if homes[n].absorbed_by is None]
        if owners:
            home = owners[0]
            _absorb(home, owners[1:], theirs & tied.shared, tied)
        else:
            explained = (each.home for each in of_jobs if each.explained_by(symptoms, nodes))
            home = next(explained, None) or _new(homes)
        home.own += symptoms
        home.placed += symptoms
        home.nodes |= nodes
        home.jobs |= {job for symptom in symptoms for job in places.jobs_on(symptom.target)}


class _OfJobs:
    """A home of what jobs show, and where the cause of that may be.

    near: nodes that show it; on: all nodes of its jobs
    """

    def __init__(self, home: Home, places: Places) -> None:
        self.home = home
        self.near = {places.node_of(symptom.target) for symptom in home.following} - {""}
        self.on = {node for job in home.shown for node in places.nodes_of(job)} | self.near
        self.mild = all(role_of(symptom, places) is Role.RANK for symptom in home.following)

    def explained_by(self, symptoms: Sequence[Symptom], nodes: set[str]) -> bool:
        """Say whether trouble of these nodes is what the jobs suffer from.

        Where only ranks are slow, it must be on a node of theirs, or critical. Where there is an
        explanation already, that of another slow node must be of the same kind.
        """
        if self.home.absorbed_by is not None:
            return False
        if self.home.own:
            kinds = {family_of(symptom) for symptom in self.home.own}
            alike = kinds.intersection(family_of(symptom) for symptom in symptoms)
            return bool(self.mild and alike and nodes & self.near)
        hard = any(symptom.severity is Severity.CRITICAL for symptom in symptoms)
        return bool(nodes & (self.near if self.mild and not hard else self.on))


def _absorb(home: Home, others: Sequence[Home], theirs: set[Tie], tied: _Tied) -> None:
    """Let the oldest incident take over those whose whole trouble is the shared place's."""
    for other in others:
        if all(theirs.intersection(tied.of(symptom)) for symptom in other.own):
            other.absorbed_by = home
            home.placed += _all_of(other.incident) if other.incident else ()
            home.own, home.following = home.own + other.own, home.following + other.following
            home.nodes |= other.nodes
            home.jobs |= other.jobs
            home.shown |= other.shown


def _place_following(
    homes: list[Home], following: Sequence[Symptom], places: Places, window_s: float
) -> None:
    """Place what jobs show, all of a job together."""
    candidates = _Candidates(homes, places, window_s)
    for symptoms in _together(following, places):
        jobs = {job for symptom in symptoms for job in jobs_of(symptom, places)}
        home = candidates.best(symptoms, jobs) or _new(homes)
        home.following += symptoms
        home.placed += symptoms
        home.jobs |= jobs
        home.shown |= jobs


def _together(following: Sequence[Symptom], places: Places) -> Iterator[list[Symptom]]:
    """Yield what each job shows; jobs that fail with the same error at once, if many, as one."""
    failing: dict[Tie, set[str]] = {}
    for symptom in following:
        if isinstance(symptom, Event):
            jobs = failing.setdefault(("error", symptom.kind, symptom.code), set())
            jobs.update(jobs_of(symptom, places))
    waiting = {symptom.target.job for symptom in following if _job_waits(symptom)}
    held: list[list[Tie]] = []
    for symptom in following:
        tied: list[Tie] = [("job", job) for job in jobs_of(symptom, places)]
        if role_of(symptom, places) is Role.RANK:
            tied.append(("node", places.node_of(symptom.target)))
        if isinstance(symptom, Event):
            error = ("error", symptom.kind, symptom.code)
            tied += [error] if len(failing[error]) >= FAILING_JOBS else []
        if _job_waits(symptom) and len(waiting) >= SHARED_JOBS:
            tied.append(("cluster", STORAGE))
        held.append(tied)
    for cluster in clusters(held):
        yield [following[member] for member in cluster]


def _job_waits(symptom: Symptom) -> bool:
    """Say whether a whole job waits for its data, as others do where the storage is slow."""
    return family_of(symptom) == STORAGE and not symptom.target.node and bool(symptom.target.job)


class _Candidates:
    """The homes by node and job, to find the one that most likely holds the cause of a job's."""

    def __init__(self, homes: Sequence[Home], places: Places, window_s: float) -> None:
        self.places = places
        self.window_s = window_s
        self.homes = [home for home in homes if home.absorbed_by is None]
        self.by: dict[Tie, list[int]] = {}
        self._worst_of: dict[int, tuple[int, int, float]] = {}
        for age, home in enumerate(self.homes):
            slow = {places.node_of(symptom.target) for symptom in home.following} - {""}
            keys: set[Tie] = {("node", node) for node in home.nodes | slow}
            keys |= {("job", job) for job in home.jobs | home.shown}
            for key in keys | ({("wide",)} if home.is_wide else set()):
                self.by.setdefault(key, []).append(age)

    def best(self, symptoms: Sequence[Symptom], jobs: set[str]) -> Home | None:
        """Return the home of what these jobs show, None where there is no cause in sight.

        Where only ranks are slow, trouble elsewhere in the job must be critical to be the cause: a
        rank's own time is not spent on waiting for others. Ranks of one job that became slow at
        about the same time are slow for one reason, as far as anyone can tell.
        """
        mild = all(role_of(symptom, self.places) is Role.RANK for symptom in symptoms)
        waits = any(family_of(symptom) == STORAGE for symptom in symptoms)
        on = {node for job in jobs for node in self.places.nodes_of(job)}
        near = {self.places.node_of(symptom.target) for symptom in symptoms} - {""}
        keys: set[Tie] = {("node", node) for node in on | near} | {("job", job) for job in jobs}
        if waits or not mild:
            keys.add(("wide",))
        ranked = []
        for age in {age for key in keys for age in self.by.get(key, ())}:
            home = self.homes[age]
            if mild and not self._may_slow(home, symptoms, near):
                continue
            kind = _kinship(home, jobs, (on, near), waits=waits)
            if kind is not None:
                ranked.append((kind, *self._worst(age), age))
        return self.homes[min(ranked)[-1]] if ranked else None

    def _worst(self, age: int) -> tuple[int, int, float]:
        if age not in self._worst_of:
            self._worst_of[age] = self.homes[age].worst()
        return self._worst_of[age]

    def _may_slow(self, home: Home, symptoms: Sequence[Symptom], near: set[str]) -> bool:
        """Say whether these slow ranks may have the cause of a home."""
        slow = [s for s in home.following if role_of(s, self.places) is Role.RANK]
        if near & (home.nodes | {self.places.node_of(symptom.target) for symptom in slow}):
            return True
        if home.own:
            return home.hard or home.is_wide
        began_s = [since_s(symptom) for symptom in symptoms]
        return not slow or any(
            min(began_s) - self.window_s <= since_s(one) <= max(began_s) + self.window_s
            for one in slow
        )


def _kinship(
    home: Home, jobs: set[str], nodes: tuple[set[str], set[str]], *, waits: bool
) -> int | None:
    """Return how a home is related to what jobs show, 0 the closest; None: it is not.

    nodes: those of the jobs, and those that show it
    """
    if home.is_over:
        return 5 if home.shown & jobs or (home.is_wide and waits) else None
    if home.shown & jobs and home.young:
        return 0
    if home.nodes & (nodes[0] | nodes[1]):
        return 1 if home.nodes & nodes[1] else 2
    if (home.young and home.jobs & jobs) or home.shown & jobs:
        return 3
    return 4 if home.is_wide else None


def _place_evidence(homes: Sequence[Home], evidence: Sequence[Symptom], places: Places) -> None:
    """Let information join the oldest incident of its node, target or job; else it is let go."""
    first: dict[Tie, Home] = {}
    for home in sorted(homes, key=_age) if evidence else ():
        if home.absorbed_by is None and (home.placed or not home.is_over):
            keys = {("node", node) for node in home.nodes} | {("job", job) for job in home.jobs}
            for key in keys | {("target", str(symptom.target)) for symptom in home.own}:
                first.setdefault(key, home)
    for symptom in evidence:
        found: list[Tie] = [
            ("node", places.node_of(symptom.target)),
            ("target", str(symptom.target)),
            *(("job", job) for job in jobs_of(symptom, places)),
        ]
        home_of = next((first[key] for key in found if key in first), None)
        if home_of is not None:
            home_of.placed.append(symptom)


def _age(home: Home) -> tuple[float, str]:
    of = home.incident
    return (of.opened_s, of.id) if of else (math.inf, "")


def _new(homes: list[Home]) -> Home:
    homes.append(Home(index=None))
    return homes[-1]
