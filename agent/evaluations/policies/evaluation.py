"""An evaluation as it was asked for on the command line: its rows, and the seeds of its lives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.evaluations.policies.work import Asked, measured, trained_of
from core.figures import Row
from remediation.evaluation.comparison import BEST_STATIC, Comparison
from remediation.evaluation.policies import (
    ALL,
    GREEDY,
    HEADLINE,
    RUNBOOK,
    STATIC,
    TUNED,
    entrants,
    shipped,
)
from remediation.evaluation.rows import best_honest, rows
from remediation.evaluation.suites import suite_of

LIVES, QUICK_LIVES = 100, 10  # of each family; a life with all policies takes some 5 CPU-s
# Who takes part where nobody is named: rules that cost next to nothing.
_USUAL = ("no_op", RUNBOOK, TUNED, GREEDY, BEST_STATIC)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for.

    policies: names with commas; "": the usual rules. Policies in ``files`` always take part
    lives: of each family; None: as many as is usual, fewer where it is to be quick
    """

    suite: str
    policies: str = ""
    files: tuple[Path, ...] = ()
    lives: int | None = None
    quick: bool = False
    engine: str = "local"
    jobs: int | None = None


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The rows, and the first seed of each family; its lives are those of every 16th from there."""

    rows: tuple[Row, ...]
    seeds: tuple[int, ...]


def evaluation(wanted: Wanted, *, progress: Callable[[int, int], None]) -> Evaluated:
    """Evaluate; InputError says which policy, file, suite or engine cannot be used."""
    suite, given = suite_of(wanted.suite), trained_of(wanted.files)
    words = [word.strip() for word in wanted.policies.split(",") if word.strip()] or _USUAL
    lives = wanted.lives or (QUICK_LIVES if wanted.quick else LIVES)
    asked = Asked(
        entrants=entrants([*words, *given], {**shipped(), **given}),
        suite=suite,
        lives=lives,
        static=STATIC if {BEST_STATIC, ALL} & set(words) else (),
        engine=wanted.engine,
        jobs=wanted.jobs,
    )
    found = measured(asked, progress=progress)
    firsts = tuple(suite.seeds(family, lives)[0] for family in suite.families)
    return Evaluated(tuple(rows(found, _subject(found, tuple(given)))), firsts)


def _subject(found: Comparison, trained: Sequence[str]) -> str:
    """Return whose figures head the table: the one file's, the twin's, or the best one's."""
    if len(trained) == 1:
        return trained[0]
    return HEADLINE if HEADLINE in found.policies else best_honest(found)


def in_short(found: Sequence[Row]) -> tuple[Row, ...]:
    """Return what fits a terminal: no rows of a single family or cause."""
    return tuple(row for row in found if '",' not in row.metric)
