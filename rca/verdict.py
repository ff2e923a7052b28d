"""What kind of answer a diagnosis is: a name, several, a guess, nothing wrong, or not known."""

from enum import StrEnum

from core.types import Cause, Diagnosis

_LIKELY = 0.5  # below this no cause is called the root cause
# Two rivals would each explain all of the symptom; two causes at once share it between them.
_SHARED_IMPACT = 1.1
_OWN_IMPACT = 0.1
_OWN_PROBABILITY = 0.2


class Verdict(StrEnum):
    """What kind of answer a diagnosis is."""

    NAMED = "named"
    SEVERAL = "several"
    UNCERTAIN = "uncertain"
    UNKNOWN = "unknown"
    NO_FAULT = "no_fault"


def verdict_of(diagnosis: Diagnosis) -> Verdict:
    """Say what kind of answer a diagnosis is: its largest share decides."""
    first = diagnosis.likeliest
    if first is None:
        calm = diagnosis.no_fault > diagnosis.unknown
        return Verdict.NO_FAULT if calm else Verdict.UNKNOWN
    if len(together(diagnosis)) > 1:
        return Verdict.SEVERAL
    return Verdict.NAMED if first.probability >= _LIKELY else Verdict.UNCERTAIN


def together(diagnosis: Diagnosis) -> tuple[Cause, ...]:
    """Return the leading causes that are at work at once: each has a part of the symptom."""
    found: list[Cause] = []
    left = _SHARED_IMPACT
    for cause in diagnosis.causes:
        share = cause.impact if cause.impact is not None else left
        if cause.probability < _OWN_PROBABILITY or not _OWN_IMPACT <= share < left:
            break
        found.append(cause)
        left -= share
    return tuple(found)


def blamed(diagnosis: Diagnosis) -> tuple[Cause, ...]:
    """Return the causes that the answer is about: none where nothing is broken."""
    verdict = verdict_of(diagnosis)
    if verdict is Verdict.NO_FAULT:
        return ()
    return together(diagnosis) if verdict is Verdict.SEVERAL else diagnosis.causes[:1]
