"""How often the plain-data front names the component that was hit, on systems it was not made on.

Recorded injections of demo systems, where they lie beside the checkout, and the held-out families
of simulated topologies. Names are replaced and columns shuffled. The weights of the front come
from other, simulated systems, so every system here is left out; which evidence they weigh was
chosen with a look at these figures too, save for those of the families in others.UNSEEN.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.evaluations.services import recorded as recordings
from agent.evaluations.services.cases import Case, as_tables, disguised
from agent.evaluations.services.families import HELD_OUT, TUNING, Family
from agent.evaluations.services.others import LOOKED_AT, UNSEEN
from agent.evaluations.services.rivals import METHODS, ranked
from agent.evaluations.services.topologies import case
from core.figures import Row, at_least
from rca.frames.front import answer
from rca.frames.inputs import Tables

LEFT_OUT = (*HELD_OUT, *LOOKED_AT, *UNSEEN)
CASES, QUICK_CASES = 100, 40  # of each simulated family, and as many without a fault
SEED = 5
# Named in the issue.
TOP1, TOP3, QUIET = 0.60, 0.75, 0.80
OURS = "ours"

Rank = Callable[[Tables], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class System:
    """Cases of one system or family, and windows of it without a fault."""

    name: str
    cases: Sequence[Case]
    quiet: Sequence[Case]
    held_out: bool = True


@dataclass(frozen=True, slots=True)
class Score:
    """Shares, 0 to 1: truth among the first, among the first three, fault-free answered so."""

    top1: float
    top3: float
    quiet: float


def rows(
    recorded: Path | None, *, quick: bool, progress: Callable[[str, int, int], None]
) -> Sequence[Row]:
    """Return top-1, top-3 and quiet over all systems left out, for each, and of other methods.

    recorded: folder of shared data, with ``rca`` in it; None leaves the recordings out
    """
    todo = list(_systems(recorded, QUICK_CASES if quick else CASES, tuning=not quick))
    ranks: Mapping[str, Rank] = {OURS: _ours, **{name: ranked(name) for name in METHODS}}
    scores: dict[str, dict[str, Score]] = {}
    for number, system in enumerate(todo):
        scores[system.name] = {name: scored(system, rank) for name, rank in ranks.items()}
        progress("services", number + 1, len(todo))
    held_out = [system.name for system in todo if system.held_out]
    return (*_overall(scores, held_out), *_each(scores, todo))


def scored(system: System, rank: Rank) -> Score:
    """Return how often a method is right, each case and each window counting alike."""
    found = [(rank(as_tables(case)), case.truth) for case in system.cases]
    return Score(
        float(np.mean([hit_at(named, truth, 1) for named, truth in found])),
        float(np.mean([hit_at(named, truth, 3) for named, truth in found])),
        float(np.mean([not rank(as_tables(case)) for case in system.quiet])),
    )


def hit_at(named: Sequence[str], truth: Sequence[str], first: int) -> float:
    """Return the share of the true components among the first named, of as many as can be."""
    return len(set(named[:first]) & set(truth)) / min(first, len(truth))


def _ours(read: Tables) -> tuple[str, ...]:
    return answer(read).named


def _systems(recorded: Path | None, count: int, *, tuning: bool) -> Iterator[System]:
    rng = np.random.default_rng(SEED)
    if recorded is not None and (recorded / "rca").is_dir():
        for name, cases, quiet in recordings.systems(recorded / "rca"):
            shown, still = ([disguised(each, rng) for each in part] for part in (cases, quiet))
            yield System(name, shown, still)
    for family in (*LEFT_OUT, *(TUNING if tuning else ())):
        yield _simulated(family, count, held_out=family in LEFT_OUT)


def _simulated(family: Family, count: int, *, held_out: bool) -> System:
    def drawn(k: int, *, fault: bool) -> Case:
        rng = np.random.default_rng([SEED, int(fault), k])
        return disguised(case(family, rng, fault=fault), rng)

    return System(
        family.name,
        [drawn(k, fault=True) for k in range(count)],
        [drawn(k, fault=False) for k in range(count)],
        held_out,
    )


def _overall(scores: Mapping[str, Mapping[str, Score]], held_out: Sequence[str]) -> Iterator[Row]:
    """Yield the mean over systems left out, each system counting alike."""
    for figure, goal in (("top1", TOP1), ("top3", TOP3), ("quiet", QUIET)):
        for method in next(iter(scores.values())):
            value = float(np.mean([getattr(scores[name][method], figure) for name in held_out]))
            if method == OURS:
                yield at_least(figure, value, goal, unit="ratio", n=len(held_out))
            else:
                label = f'{figure}{{method="{method}"}}'
                yield Row(label, value, "ratio", n=len(held_out))


def _each(scores: Mapping[str, Mapping[str, Score]], todo: Sequence[System]) -> Iterator[Row]:
    for system in todo:
        note = "" if system.held_out else "its weights were tuned on this family, other systems"
        for method, score in scores[system.name].items():
            for figure in ("top1", "top3", "quiet"):
                label = f'{figure}{{system="{system.name}",method="{method}"}}'
                value = getattr(score, figure)
                count = len(system.quiet if figure == "quiet" else system.cases)
                yield Row(label, value, "ratio", n=count, note=note)
