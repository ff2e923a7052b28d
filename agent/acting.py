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
from remediation.policies.learned import SHIPPED, LearnedChooser
from remediation.policies.rulebook import Runbook
from remediation.policies.trained import load

SOURCE = "policy"


# These look ahead, which takes long: they are asked in a process of their own (agent.thinking).
APART = ("twin",)


@dataclass(frozen=True, slots=True)
class Acting:
    """Who chooses and who is asked beside; problems: why it is not who the settings name.

    chooser: in this process: who acts, or decides where ``apart`` gives no answer in time
    apart, shadow_apart: who acts and who looks on in a process of their own; "" for nobody
    """

    chooser: Chooser
    shadow: Chooser | None
    problems: tuple[Problem, ...]
    apart: str = ""
    shadow_apart: str = ""

    @property
    def thinking(self) -> tuple[str, ...]:
        """Return the policies that a process of their own is for."""
        return tuple(sorted({name for name in (self.apart, self.shadow_apart) if name}))


def acting(settings: Settings) -> Acting:
    """Return who acts. A policy that cannot be read is a problem to show, never one to stop for."""
    problems: list[Problem] = []
    wanted, folder = settings.policy, settings.state_dir
    apart, shadow_apart = (name if name in APART else "" for name in (wanted.use, wanted.shadow))
    chooser = _tried(wanted.use, folder, problems) or Runbook.tuned(name="runbook")
    shadow = None
    if wanted.shadow and not shadow_apart:
        shadow = _tried(wanted.shadow, folder, problems)
    if wanted.explore > 0:
        chooser = Exploring(chooser, share=wanted.explore)
    return Acting(chooser, shadow, tuple(problems), apart, shadow_apart)


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
        case "greedy" | "twin":  # this one stands in where the twin gives no answer in time
            return Greedy.tuned(name="greedy")
        case "rl":
            return LearnedChooser(load(SHIPPED), fallback=Runbook.tuned(name="runbook"))
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
