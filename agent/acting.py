"""Which policy acts and which looks on, by the settings; the runbook where one cannot be had."""

from dataclasses import dataclass
from pathlib import Path

from agent.adoption import Adoption
from agent.config import Settings
from core.errors import GpumedicError, InputError
from core.ports import Problem
from remediation.deciding.chooser import Chooser
from remediation.evaluation.exploring import Exploring
from remediation.policies.greedy import Greedy
from remediation.policies.learned import LearnedChooser
from remediation.policies.rulebook import Runbook
from remediation.policies.trained import load

SOURCE = "policy"


@dataclass(frozen=True, slots=True)
class Acting:
    """Who chooses and who is asked beside; problems: why it is not who the settings name."""

    chooser: Chooser
    shadow: Chooser | None
    problems: tuple[Problem, ...]


def acting(settings: Settings) -> Acting:
    """Return who acts. A policy that cannot be read is a problem to show, never one to stop for."""
    problems: list[Problem] = []
    wanted = settings.policy
    chooser = _tried(wanted.use, settings.state_dir, problems) or Runbook.tuned(name="runbook")
    shadow = _tried(wanted.shadow, settings.state_dir, problems) if wanted.shadow else None
    if wanted.explore > 0:
        chooser = Exploring(chooser, share=wanted.explore)
    return Acting(chooser, shadow, tuple(problems))


def _tried(name: str, state_dir: Path, problems: list[Problem]) -> Chooser | None:
    try:
        return _chooser(name, state_dir)
    except GpumedicError as error:
        problems.append(Problem(SOURCE, error.code, f"policy {name}: {error}"))
        return None


def _chooser(name: str, state_dir: Path) -> Chooser:
    match name:
        case "runbook":
            return Runbook.tuned(name="runbook")
        case "greedy":
            return Greedy.tuned(name="greedy")
        case "twin":
            # Compiles the simulator's engine: only where it is wanted.
            from remediation.evaluation.policies import looking_ahead  # noqa: PLC0415
            from remediation.twin.lookahead import TwinSettings  # noqa: PLC0415

            return looking_ahead(Greedy.tuned(), TwinSettings())
        case "adopted":
            return _adopted(state_dir)
        case path:
            return LearnedChooser(load(Path(path)), fallback=Runbook.tuned(name="runbook"))


def _adopted(state_dir: Path) -> Chooser:
    trained = Adoption(state_dir).policy()
    if trained is None:
        raise InputError(
            f"none is adopted in {state_dir}. Let one in with `gpumedic policy promote FILE`; "
            "until then the runbook acts."
        )
    return LearnedChooser(trained, fallback=Runbook.tuned(name="runbook"))
