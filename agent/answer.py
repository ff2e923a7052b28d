"""A diagnosis in a few words, for a line of the log, a message's title and a label."""

from core.types import Cause, Diagnosis
from rca.verdict import Verdict, together, verdict_of
from rca.words import say_target


def in_short(diagnosis: Diagnosis) -> str:
    """Say what is to blame with its probability, or that nothing is, or that it is not known."""
    match verdict_of(diagnosis):
        case Verdict.NAMED | Verdict.UNCERTAIN:
            return _say(diagnosis.causes[0])
        case Verdict.SEVERAL:
            both = together(diagnosis)
            return f"{len(both)} independent causes: {', '.join(map(_say, both))}"
        case Verdict.NO_FAULT:
            calm = f": {diagnosis.calm}" if diagnosis.calm else ""
            return f"No fault (p = {diagnosis.no_fault:.2f}){calm}"
        case Verdict.UNKNOWN if diagnosis.causes:
            likeliest = _say(diagnosis.causes[0])
            return f"Cause not known (p = {diagnosis.unknown:.2f}), likeliest {likeliest}"
        case Verdict.UNKNOWN:
            return "No cause found with what is measured"


def name_of(diagnosis: Diagnosis) -> str:
    """Return the likeliest fault's name; ``no_fault`` or ``unknown`` where that outweighs it."""
    cause = diagnosis.likeliest
    return cause.fault if cause else str(verdict_of(diagnosis))


def class_of(diagnosis: Diagnosis) -> str:
    """Return the likeliest fault's class; ``no_fault`` or ``unknown`` where that outweighs it."""
    cause = diagnosis.likeliest
    return str(cause.kind if cause else verdict_of(diagnosis))


def _say(cause: Cause) -> str:
    fault = cause.fault.replace("_", " ")
    return f"{say_target(cause.target)}: {fault} (p = {cause.probability:.2f})"
