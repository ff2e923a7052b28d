"""What kind of answer a diagnosis is: a name, several, a guess, nothing wrong, or not known."""

from enum import StrEnum

from core.types import Cause, Diagnosis

_LIKELY = 0.5  # below this no cause is called the root cause
_OWN_IMPACT = 0.1  # less of the symptom is no part worth naming


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
    """Return the causes that are at work at once: the first, and those beside it with a part.

    A rival is none of them: it would explain what the first does.
    """
    found = diagnosis.causes[:1]
    for cause in diagnosis.causes[1:]:
        if cause.beside and cause.impact is not None and cause.impact >= _OWN_IMPACT:
            found += (cause,)
    return found


def blamed(diagnosis: Diagnosis) -> tuple[Cause, ...]:
    """Return the causes that the answer is about: none where nothing is broken."""
    verdict = verdict_of(diagnosis)
    if verdict is Verdict.NO_FAULT:
        return ()
    return together(diagnosis) if verdict is Verdict.SEVERAL else diagnosis.causes[:1]
