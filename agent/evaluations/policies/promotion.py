"""The evaluation that decides on adoption: a policy and the runbook on lives kept for this."""

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from agent.adoption import FORMAT, Adopted, digest_of
from agent.evaluations.policies.evaluation import LIVES, QUICK_LIVES
from agent.evaluations.policies.work import Asked, measured
from core.clock import RealClock
from remediation.evaluation.gate import verdict
from remediation.evaluation.policies import TUNED, Entrant
from remediation.evaluation.suites import GATE
from remediation.policies.trained import load


def adopted_of(
    file: Path,
    *,
    by: str,
    lives: int | None = None,
    quick: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Adopted:
    """Evaluate a policy's file and return what it is adopted on, or refused on.

    It is held against the tuned runbook, which acts where nothing is adopted. InputError says why
    a file cannot be used.
    """
    digest, trained = digest_of(file), load(file)
    count = lives or (QUICK_LIVES if quick else LIVES)
    who = Entrant(file.stem, trained)
    found = measured(Asked((Entrant(TUNED), who), GATE, count), progress=progress)
    return Adopted(
        format=FORMAT,
        digest=digest,
        at_s=RealClock().now_s(),
        by=by,
        version=version("gpumedic"),
        command=" ".join(["gpumedic", *sys.argv[1:]]),
        seeds=GATE.all_seeds(count),
        verdict=verdict(found, who.name, rule=TUNED, version=trained.training.version),
    )
