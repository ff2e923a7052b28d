"""What may be behind an incident, drawn from what is said of it and what is seen of its job."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.situation import Fact, Remedy
from core.types import Cause, Floats
from remediation.deciding.remedies import of_cause, staying
from remediation.twin.kinds import NAMES, ODD, SOUND, Kinds, kinds
from remediation.twin.laying import DATA_SHARE, NET_SHARE, STEP_S
from remediation.twin.supposing import GUESS
from sim.catalogue import CAUSES
from sim.engine.tables import Table, Tables
from sim.engine.words import NONE, Effect, Hold, Scope

_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_AGAIN = 0.1  # what a restart in vain leaves of the chance that one ends it
_SOON_S, _BLUR_S = 1800.0, 600.0  # a warning is of half an hour, give or take
_REPLACE_S = 14 * 86_400.0  # nobody comes for what is by itself over, where it is not
_MILD = 1.2  # times slower, where the job is not seen at work: assumed
_DRAWS = 32  # a longer time than the past one is tried for so often
_NOTHING = 0.3  # of unknown faults, the share that leave a job at its speed: assumed
_Row = tuple[float, int, int, int]  # weight, class or NONE, remedy, node or NONE


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What guesses are about: the twin, the causes with the node of each (NONE: a job's)."""

    tables: Tables
    facts: Floats
    causes: Sequence[Cause]
    nodes: Sequence[int]


def guesses_of(scene: Scene, count: int, seed: int) -> Table:
    """Return (count,) rows of GUESS; any first few of them are spread over what is said.

    What is said of a cause counts by what its faults would show: one that stops jobs is unlikely
    where the job runs, and where a node is down, what takes nodes down is behind it. A restart or
    reboot in vain speaks against what it ends, and time against what would have passed by now.
    """
    rows = _rows(scene)
    total = np.cumsum([row[0] for row in rows])
    random = np.random.default_rng(seed)
    start = random.random()
    found = np.zeros(count, dtype=GUESS)
    found["seed"] = random.integers(1, 2**62, size=count)
    for at in range(count):
        place = (start + at * _GOLDEN) % 1.0 * total[-1]
        _, kind, remedy, node = rows[int(np.searchsorted(total, place, side="right"))]
        found[at]["hung"] = scene.facts[Fact.JOB_RUNS] > 0 and scene.facts[Fact.PACE] <= 0
        found[at]["kind"] = NONE
        if kind != NONE:
            _fill(found[at], scene, (kind, remedy, node), random)
    return found


def _rows(scene: Scene) -> list[_Row]:
    """Return all that may be so with its weight, which need not sum to 1."""
    known, facts = kinds(), scene.facts
    seen, tried, down = known.likelihood(facts), _tried(facts), _down_nodes(scene)
    calm = max(float(facts[Fact.NO_FAULT]), 1e-6)
    rows: list[_Row] = [(calm * ODD if down else calm, NONE, 0, NONE)]
    for cause, node in zip(scene.causes, scene.nodes, strict=True):
        index = CAUSES.index(cause.fault) if cause.fault in CAUSES else NONE
        among = np.flatnonzero(known.cause == index)
        remedies = _remedies_of(cause, among) * tried
        if node != NONE and _has_booted(scene, node):
            remedies[[Remedy.REBOOT, Remedy.RESTART]] *= _AGAIN
        fits = seen * known.of_nodes(node in down, bool(down))
        rows += _of_cause(cause.probability, remedies, among, (known, fits, node))
    rows += _of_unknown(scene, seen, tried, down)
    return _by_age(rows, facts)


def _of_unknown(scene: Scene, seen: Floats, tried: Floats, down: list[int]) -> list[_Row]:
    """Return the unknown share over all classes and remedies: on a node that is down, or any."""
    known, facts = kinds(), scene.facts
    runs = facts[Fact.JOB_RUNS] > 0 and facts[Fact.PACE] >= SOUND
    left = float(facts[Fact.UNKNOWN]) * (_NOTHING if runs else 1.0)
    by = known.share / known.share.sum() * seen * known.of_nodes(bool(down), bool(down))
    rows: list[_Row] = []
    for at in range(len(NAMES)):
        for remedy in np.flatnonzero(known.remedy[at]).tolist():
            weight = left * float(by[at] * known.remedy[at, remedy] * tried[remedy])
            rows.append((weight, at, remedy, down[0] if down else NONE))
    return rows


def _by_age(rows: list[_Row], facts: Floats) -> list[_Row]:
    """Return the rows, less likely where the fault would have ended by itself by now.

    What has ended leaves a job that stands without a fault, and an incident about one that runs
    would be over.
    """
    known, age_s = kinds(), float(facts[Fact.AGE_S])
    stands = facts[Fact.JOB_STOPPED] > 0
    tried_s = age_s - float(facts[Fact.SINCE_TRIED_S])
    then = known.lasting(tried_s) if stands and tried_s > 0 else np.ones(len(NAMES))
    now = known.lasting(age_s)
    found: list[_Row] = []
    for weight, kind, remedy, node in rows:
        if kind == NONE:
            found.append((weight, kind, remedy, node))
            continue
        there = float(now[kind])
        found.append((weight * there, kind, remedy, node))
        over = max(float(then[kind]) - there, 0.0)
        if stands and over > 0:
            found.append((weight * over, NONE, 0, NONE))
    return found


def _remedies_of(cause: Cause, among: Any) -> Floats:
    """Return (len(Remedy),) what ends a cause: by what is said of it, and by its classes here."""
    if cause.fault not in CAUSES:
        return np.full(len(Remedy), 1 / len(Remedy))
    said = of_cause(cause)
    if len(among) == 0 or not said.any():
        return said
    known = kinds()
    shown = known.share[among] @ known.remedy[among] / known.share[among].sum()
    both = np.sqrt(said * (staying(shown, cause.persistent) + 1e-3))
    found: Floats = both * (said.sum() / both.sum())
    return found


def _tried(facts: Floats) -> Floats:
    """Return (len(Remedy),) what tries in vain leave of each remedy's probability."""
    left = np.ones(len(Remedy))
    left[Remedy.RESTART] = _AGAIN ** float(facts[Fact.RESTARTS_TRIED])
    return left


def _has_booted(scene: Scene, node: int) -> bool:
    """Say whether a node has come up since the incident was opened."""
    row, now_s = scene.tables.nodes[node], float(scene.tables.core[0]["now_s"])
    sound = bool(row["up"]) and int(row["hold"]) == Hold.NOBODY
    return sound and float(row["since_s"]) > now_s - float(scene.facts[Fact.AGE_S])


def _down_nodes(scene: Scene) -> list[int]:
    """Return the nodes of the incident's job that are down."""
    tables = scene.tables
    job = tables.jobs[int(tables.troubles[0]["job"])]
    node, found = int(job["first"]), []
    for _ in range(int(job["nodes"])):
        if not tables.nodes[node]["up"]:
            found.append(node)
        node = int(tables.nodes[node]["next"])
    return found


def _of_cause(
    probability: float, remedies: Floats, among: Any, by: tuple[Kinds, Floats, int]
) -> list[_Row]:
    """Return a named cause's share over its classes and remedies."""
    known, fits, node = by
    if len(among) == 0:
        return [
            (probability * float(remedies[remedy]), _plain(known, remedy), remedy, node)
            for remedy in range(len(Remedy))
        ]
    rows: list[_Row] = []
    for remedy in range(len(Remedy)):
        likely = known.share[among] * (known.remedy[among, remedy] + 1e-3)
        likely = likely / likely.sum() * fits[among] * probability * remedies[remedy]
        rows += [
            (float(weight), at, remedy, node)
            for weight, at in zip(likely.tolist(), among.tolist(), strict=True)
        ]
    return rows


def _plain(known: Kinds, remedy: int) -> int:
    """Return the class that a fault without one of its own is taken for: the usual of a remedy."""
    return int(np.argmax(known.share * known.remedy[:, remedy]))


def _fill(row: Any, scene: Scene, what: tuple[int, int, int], random: np.random.Generator) -> None:
    """Write a guess of a class, what ends it and the node that it is on."""
    known, facts, tables = kinds(), scene.facts, scene.tables
    kind, remedy, node = what
    job = tables.jobs[int(tables.troubles[0]["job"])]
    seen = kind + len(NAMES)
    row["kind"] = seen
    about = known.table[seen]
    scope = int(about["scope"])
    if node == NONE or scope == Scope.JOB:
        node = int(job["first"]) if scope == Scope.JOB else _any_node(tables, random)
    row["home"], row["entity"], row["gpu"] = node, node, _gpu_of(tables, node)
    if scope not in (Scope.GPU, Scope.NODE, Scope.JOB):
        row["home"], row["entity"] = _domain(tables, scope, node)
    row["restart_mends"] = remedy == Remedy.RESTART
    row["reboot_mends"] = remedy == Remedy.REBOOT
    row["size"] = _size(about, facts, random)
    row["lasts_s"] = _lasts_s(about, remedy, scene, random)


def _lasts_s(about: Any, remedy: int, scene: Scene, random: np.random.Generator) -> float:
    """Return for how long a fault goes on from now; of a crew's, how long its work takes."""
    mu, sigma = float(about["lasts_mu"]), float(about["lasts_sigma"])
    own = int(about["scope"]) in (Scope.GPU, Scope.NODE, Scope.JOB)
    if own and not about["lasts_alone"]:
        return math.exp(mu + sigma * random.normal()) * float(scene.tables.site[0]["repair_scale"])
    if own and remedy in (Remedy.REPLACE, Remedy.PEOPLE):
        return _REPLACE_S
    passed_s = float(scene.facts[Fact.AGE_S])
    for _ in range(_DRAWS):
        lasts_s = math.exp(mu + sigma * random.normal())
        if lasts_s > passed_s:
            return lasts_s - passed_s
    return 0.5 * passed_s


def _size(about: Any, facts: Floats, random: np.random.Generator) -> float:
    """Return the size at which a class does to the job what is seen of it."""
    pace = float(facts[Fact.PACE]) if facts[Fact.JOB_RUNS] > 0 else 0.0
    low, high = float(about["size_lo"]), float(about["size_hi"])
    longer = 1.0 / pace if 0.0 < pace < 1.0 else (1.0 if pace >= 1.0 else _MILD)
    effect = int(about["effect"])
    if effect == Effect.SLOW_GPU:
        return max(1.0 + (longer - 1.0) / (STEP_S - DATA_SHARE - NET_SHARE), 1.0)
    if effect == Effect.SLOW_NETWORK:
        return min(max(NET_SHARE / (longer - 1.0 + NET_SHARE), 1e-3), 1.0)
    if effect == Effect.LOADER_STARVED:
        return 1.0 - min((longer - 1.0) / (3 * DATA_SHARE), 1.0)
    if effect in (Effect.MEMORY_LEAK, Effect.VOLUME_FILLING):
        chance = min(max(float(facts[Fact.BREACH]), 0.01), 0.99)
        return max(_SOON_S + _BLUR_S * math.log((1.0 - chance) / chance), 60.0)
    if effect == Effect.ECC_GROWTH:
        return random.uniform(0.2, 0.8) * high
    return random.uniform(low, high) if high > low else low


def _any_node(tables: Tables, random: np.random.Generator) -> int:
    """Return a node of the job that the incident is about, any as likely."""
    job = tables.jobs[int(tables.troubles[0]["job"])]
    node = int(job["first"])
    for _ in range(int(random.integers(max(int(job["nodes"]), 1)))):
        node = int(tables.nodes[node]["next"])
    return node


def _gpu_of(tables: Tables, node: int) -> int:
    """Return the first GPU of a node that the job has, or 0."""
    own = np.flatnonzero(tables.nodes[node]["job"] == int(tables.troubles[0]["job"]))
    return int(own[0]) if len(own) else 0


def _domain(tables: Tables, scope: int, node: int) -> tuple[int, int]:
    """Return a node's domain of a scope: its row, and its index in the scope."""
    names = {Scope.LEAF: "leaf", Scope.RACK: "rack", Scope.POWER: "power", Scope.COOLING: "cooling"}
    name = names.get(Scope(scope))
    index = int(tables.nodes[node][name]) if name else 0
    first = int(np.argmax(tables.domains["scope"] == scope))
    return first + index, index
