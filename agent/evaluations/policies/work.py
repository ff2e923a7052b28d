"""The lives of an evaluation, each computed wherever there is room, in any order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.experiments.engines import compute
from agent.experiments.results import RunFailed
from core.errors import ActionFailed, GpumedicError, InputError
from remediation.evaluation.comparison import Comparison, compared
from remediation.evaluation.life import LifeResult
from remediation.evaluation.play import play
from remediation.evaluation.policies import ORACLE, TAKEN, TWIN, TWIN_OVER, Entrant
from remediation.evaluation.suites import Suite
from remediation.learning.families import family_of
from remediation.policies.trained import Trained, load
from sim.warm import warm

Progress = Callable[[int, int], None]
Lived = tuple[LifeResult, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LifeSpec:
    """One life, lived by each of some policies in turn; trained ones are carried whole."""

    entrants: tuple[Entrant, ...]
    family: str
    seed: int

    @property
    def label(self) -> str:
        """Return the life in words."""
        return (
            f"{', '.join(each.name for each in self.entrants)} in {self.family}, seed {self.seed}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """An evaluation: who, on which lives, and where it is computed.

    lives: of each family; jobs: at one time, None: a core each
    static: rules of which the best in hindsight is shown too
    """

    entrants: tuple[Entrant, ...]
    suite: Suite
    lives: int
    static: tuple[str, ...] = ()
    engine: str = "local"
    jobs: int | None = None


def measured(asked: Asked, *, progress: Progress = lambda done, of: None) -> Comparison:
    """Live all lives and compare; ActionFailed names the first that could not be lived."""
    specs = _specs(asked)
    warm(lambda line: None)  # or each of the processes would compile the same
    found: list[LifeResult] = []
    for done, (_, outcome) in enumerate(
        compute(specs, live, engine=asked.engine, jobs=asked.jobs), 1
    ):
        if isinstance(outcome, RunFailed):
            raise ActionFailed(
                f"Evaluating {outcome.label}: {outcome.reason} Without it the policies would not "
                f"be held against each other on the same lives.\n{outcome.trace}".strip()
            )
        found += outcome
        progress(done, len(specs))
    return compared(found, static=asked.static)


def live(spec: LifeSpec) -> Lived | RunFailed:
    """Live a life under each policy; whatever goes wrong comes back as a value."""
    try:
        return play(family_of(spec.family), spec.seed, spec.entrants)
    except GpumedicError as error:
        return RunFailed(spec.label, str(error))
    except Exception as error:
        found = f"{type(error).__name__}: {error}".replace("\n", " ")
        return RunFailed(spec.label, found + ".")


def trained_of(files: Sequence[Path]) -> dict[str, Trained]:
    """Return the trained policies in files, by their names; InputError says what cannot be used."""
    found: dict[str, Trained] = {}
    for path in files:
        if path.stem in found:
            raise InputError(
                f"policy {path}: two files are called {path.stem}; rename one, so that their "
                "rows can be told apart."
            )
        if path.stem in TAKEN or path.stem.startswith(TWIN_OVER):
            raise InputError(
                f"policy {path}: {path.stem} is the name of another policy; rename the file, so "
                "that their rows can be told apart."
            )
        found[path.stem] = load(path)
    return found


def _specs(asked: Asked) -> list[LifeSpec]:
    """Return the lives, those first that take longest: so no core waits long at the end."""
    slow = [each for each in asked.entrants if _looks_ahead(each.name)]
    quick = tuple(each for each in asked.entrants if not _looks_ahead(each.name))
    groups = [*((each,) for each in slow), *([quick] if quick else [])]
    return [
        LifeSpec(group, family, seed)
        for group in groups
        for family in asked.suite.families
        for seed in asked.suite.seeds(family, asked.lives)
    ]


def _looks_ahead(name: str) -> bool:
    return name in (TWIN, ORACLE) or name.startswith(TWIN_OVER)
