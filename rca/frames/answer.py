"""What the plain-data front answers: suspects with their evidence, or why none is named."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Suspect:
    """A component, or a column, that may be the root cause.

    score: the higher the more suspect, comparable within one answer only
    probability: that it is the root cause, [0, 1]
    evidence: sentences that speak for it, the weightiest first
    columns: its columns that speak for it, the weightiest first
    path: components from it to the target's, both included; empty where no path is known
    """

    name: str
    score: float
    probability: float
    evidence: tuple[str, ...]
    columns: tuple[str, ...]
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Suspects, most suspect first; empty where there is no root cause or it is not known.

    no_fault: probability that nothing is wrong, [0, 1]
    why: a sentence: what makes the first suspect the first, or why there is none
    """

    suspects: tuple[Suspect, ...]
    no_fault: float
    why: str
