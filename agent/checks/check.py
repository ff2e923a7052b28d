"""What a check is: it looks at one part of this machine and says how well, why, and what to do."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

# The kind of event that a check which becomes unhealthy is.
FAILED = "check_failed"
# A reason names this many findings of the worst kind; the rest is a number.
MOST_NAMED = 4


class Health(IntEnum):
    """How well a part is; the numbers are Nagios' exit codes.

    Degraded does not keep work from being done, unhealthy does or soon will.
    """

    HEALTHY = 0
    DEGRADED = 1
    UNHEALTHY = 2
    UNKNOWN = 3


_BY_WEIGHT = (Health.HEALTHY, Health.DEGRADED, Health.UNKNOWN, Health.UNHEALTHY)


def worst(codes: Iterable[int]) -> int:
    """Return Nagios' code that weighs most: unhealthy, then unknown, degraded, healthy.

    >>> worst([0, 3, 1]), worst([3, 2]), worst([])
    (3, 2, 0)
    """
    return int(max((Health(code) for code in codes), key=_BY_WEIGHT.index, default=Health.HEALTHY))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    health: Health
    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """What a check came to; ``remedy`` is empty where nothing needs to be done."""

    check: str
    health: Health
    reason: str
    remedy: str = ""


class Check(Protocol):
    """One component. It may remember what it saw, for what only shows over time.

    deadline_s: it is given up after so long, and not asked again before it is back
    """

    @property
    def name(self) -> str:
        """Return what it is called, in output and on ``/metrics``."""
        ...

    @property
    def deadline_s(self) -> float:
        """Return how long a run may take."""
        ...

    def run(self) -> State:
        """Look once; an exception becomes "unknown" with its text."""
        ...


def state_of(check: str, findings: Iterable[Finding], *, fine: str) -> State:
    """Return the worst findings as one state; with none it is healthy and the reason ``fine``."""
    found = tuple(findings)
    health = Health(worst(finding.health for finding in found))
    if health is Health.HEALTHY:
        return State(check, health, "; ".join([*(f.reason for f in found), fine]))
    weighty = [finding for finding in found if finding.health is health]
    named = [finding.reason for finding in weighty[:MOST_NAMED]]
    if more := len(weighty) - len(named):
        named.append(f"and {more} more")
    remedies = dict.fromkeys(finding.remedy for finding in weighty if finding.remedy)
    return State(check, health, "; ".join(named), " ".join(remedies))


def degraded(reason: str, remedy: str) -> Finding:
    """Return a finding that does not keep work from being done."""
    return Finding(Health.DEGRADED, reason, remedy)


def unhealthy(reason: str, remedy: str) -> Finding:
    """Return a finding that does, or soon will."""
    return Finding(Health.UNHEALTHY, reason, remedy)


def unknown(reason: str, remedy: str) -> Finding:
    """Return that something cannot be told."""
    return Finding(Health.UNKNOWN, reason, remedy)


def counted(number: int, what: str) -> str:
    """Write a number of things: ``1 port``, ``8 ports``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def each(findings: Iterable[Finding | None]) -> Iterator[Finding]:
    """Pass on those that were found."""
    return (finding for finding in findings if finding is not None)
