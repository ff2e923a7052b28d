"""The policies that may act here, with what each is, whether it acts, and how it was proven."""

from dataclasses import dataclass

from agent.adoption import Adopted, Adoption
from agent.config import Settings
from remediation.evaluation.policies import BUILT_IN
from remediation.policies.greedy import Greedy
from remediation.policies.learned import SHIPPED
from remediation.policies.rulebook import Runbook
from remediation.policies.trained import load
from remediation.twin.lookahead import TwinLookahead

PAGE = "docs/policies.md"
SHIPPED_HERE = "shipped"  # with its figures: no gate
ADOPTED_HERE, BEFORE = "adopted", "adopted before"


@dataclass(frozen=True, slots=True)
class Known:
    """One policy that a daemon may be told to use.

    kind: what it is, in words; comes: ``shipped``, ``adopted`` or ``adopted before``
    acts, looks_on: whether the settings name it
    evaluation: what it was proven on, one line
    """

    name: str
    version: str
    kind: str
    comes: str
    acts: bool
    looks_on: bool
    evaluation: str


_IN_LIFE = ("runbook", "tuned_runbook", "greedy", "tuned_greedy", "twin")
# Not to be had in a daemon: bounds and baselines of an evaluation.
FOR_STUDY = tuple(name for name in BUILT_IN if name not in _IN_LIFE)


def known_policies(settings: Settings) -> tuple[Known, ...]:
    """Return the shipped ones and those adopted here, the one that acts first."""
    adoption = Adoption(settings.state_dir)
    now, before = adoption.current(), adoption.before()
    use, shadow = settings.policy.use, settings.policy.shadow
    if use == ADOPTED_HERE and now is None:
        use = "runbook"  # until one is
    learned = load(SHIPPED).training
    shipped = (
        ("runbook", Runbook.version, "rules, tuned", "tuned_runbook"),
        ("greedy", Greedy.version, "least expected loss, tuned", "tuned_greedy"),
        ("rl", learned.version, "learned network", "rl"),
        ("twin", TwinLookahead.version, "look-ahead in a simulated twin", "twin"),
    )
    found = [
        Known(
            *(name, version, kind, SHIPPED_HERE, name == use, name == shadow),
            evaluation=f"{PAGE}, row {row}",
        )
        for name, version, kind, row in shipped
    ]
    if now is not None:
        found.append(_adopted(now, ADOPTED_HERE, acts=use == "adopted", on=shadow == "adopted"))
    found += [_adopted(each, BEFORE, acts=False, on=False) for each in before]
    return tuple(sorted(found, key=lambda each: (not each.acts, not each.looks_on)))


def _adopted(each: Adopted, comes: str, *, acts: bool, on: bool) -> Known:
    found = each.verdict
    return Known(
        found.policy,
        found.version,
        "learned network",
        comes,
        acts,
        on,
        f"{found.ratio:.3f} ({found.low:.3f} to {found.high:.3f}) of {found.rule}'s loss, "
        f"{found.lives} lives, file {each.digest[:12]}",
    )
