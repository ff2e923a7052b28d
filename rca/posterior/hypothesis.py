"""A fault on a target, and what speaks for and against it by kind of evidence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from core.target import Target
from core.types import Evidence, Ints


class Kind(StrEnum):
    """Kinds of evidence; each has one weight, so that what is known of a kind is used alike."""

    RESIDUAL = "residual"
    PEERS = "peers"
    ONSET = "onset"
    GROUP = "group"
    EVENT = "event"
    DETECTOR = "detector"
    SILENCE = "silence"
    FORECAST = "forecast"
    PATH = "path"
    EXPLAINED = "explained"
    AFTERMATH = "aftermath"
    CONTEXT = "context"
    EXPECTED = "expected"
    PRIOR = "prior"
    SECOND = "second"
    CALM = "calm"


KINDS = tuple(Kind)


@dataclass(frozen=True, slots=True)
class Note:
    """One observation: ``value`` in nats before the weight of its kind.

    stays: probability that the fault lasts, where the observation says so
    of:    what was said, where several hypotheses read the same words differently; "" for none
    """

    kind: Kind
    text: str
    value: float
    stays: float | None = None
    of: str = ""


@dataclass(slots=True)
class Hypothesis:
    """A fault on a target, or "no fault" of some kind; grows while a case is read.

    variables: the readings that it is accused of
    began_s:   when the first of its evidence was seen; NaN where that is not known
    """

    target: Target
    fault: str
    variables: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    notes: list[Note] = field(default_factory=list)
    began_s: float = float("nan")

    @property
    def key(self) -> tuple[Target, str]:
        """Return what makes two hypotheses one."""
        return (self.target, self.fault)

    @property
    def beside(self) -> bool:
        """Say whether it stands beside the best one: no other cause explains what it shows."""
        return any(note.kind is Kind.SECOND for note in self.notes)

    def add(
        self, kind: Kind, text: str, value: float, *, stays: float | None = None, of: str = ""
    ) -> None:
        """Note one observation."""
        self.notes.append(Note(kind, text, float(value), stays, of))

    def value(self, *kinds: Kind) -> float:
        """Return the sum of its unweighted evidence, of these kinds or of all."""
        return sum(note.value for note in self.notes if not kinds or note.kind in kinds)

    def score(self, weights: Mapping[Kind, float]) -> float:
        """Return the sum of its weighted evidence, in nats."""
        return sum(weights[note.kind] * note.value for note in self.notes)

    def evidence(self, weights: Mapping[Kind, float]) -> tuple[Evidence, ...]:
        """Return the evidence, the weightiest first; what weighs nothing is left out."""
        said = [Evidence(note.text, weights[note.kind] * note.value) for note in self.notes]
        kept = [item for item in said if abs(item.weight) > _NOTHING]
        return tuple(sorted(kept, key=lambda item: (-abs(item.weight), item.text)))

    def seen(self, moment_s: float) -> None:
        """Note a moment at which it showed; the first one counts."""
        if not moment_s >= self.began_s:
            self.began_s = moment_s


_NOTHING = 1e-9
