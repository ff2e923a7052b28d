"""The evaluation that decides on adoption: a policy and the runbook on lives kept for this."""

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from agent.adoption import FORMAT, Adopted, digest_of
from agent.evaluations.policies.evaluation import LIVES
from agent.evaluations.policies.work import Asked, measured, trained_of
from core.clock import RealClock
from remediation.evaluation.gate import LEAST_LIVES, verdict
from remediation.evaluation.policies import ACTS, TUNED, Entrant
from remediation.evaluation.suites import GATE
from remediation.policies.trained import Trained


def adopted_of(
    file: Path,
    *,
    by: str,
    acts: Trained | None = None,
    lives: int | None = None,
    quick: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Adopted:
    """Evaluate a policy's file and return what it is adopted on, or refused on.

    It is held against the tuned runbook, which acts where nothing is adopted, and against what was
    adopted before it. InputError says why a file cannot be used.
    """
    digest, ((name, trained),) = digest_of(file), trained_of([file]).items()
    count = lives or (LEAST_LIVES if quick else LIVES)
    others = [Entrant(TUNED)] + ([] if acts is None else [Entrant(ACTS, acts)])
    found = measured(Asked((*others, Entrant(name, trained)), GATE, count), progress=progress)
    return Adopted(
        format=FORMAT,
        digest=digest,
        at_s=RealClock().now_s(),
        by=by,
        version=version("gpumedic"),
        command=" ".join(["gpumedic", *sys.argv[1:]]),
        seeds=GATE.all_seeds(count),
        verdict=verdict(
            found,
            name,
            rule=TUNED,
            version=trained.training.version,
            acting="" if acts is None else ACTS,
        ),
    )
