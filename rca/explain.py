"""A diagnosis in sentences for people: what broke, why we think so, and what would tell more."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from core.cluster import ClusterState
from core.types import (
    Cause,
    Check,
    Diagnosis,
    Evidence,
    Hop,
    Incident,
    RuledOut,
)
from core.units import CATALOG
from rca.faults.catalogue import FAULTS
from rca.incident_words import say_failure, say_jobs
from rca.verdict import Verdict, blamed, together, verdict_of
from rca.words import (
    metric_words,
    say_change,
    say_clock,
    say_kind,
    say_metric,
    say_short,
    say_target,
)

_SHOWN = 6
NO_EXPERIENCE: Mapping[str, str] = MappingProxyType({})
_NAME = re.compile(r"\w+")
_CALM = "the load changed, the work was planned, or a reading was a fluke"
_WORTH_NAMING = 0.01
_LASTS, _PASSES = 0.75, 0.25  # probabilities from which "persistent" and "transient" are said


@dataclass(frozen=True, slots=True)
class Explanation:
    """What to tell a person; every entry is a sentence or a clause of one, never empty.

    verdict:    the kind of answer; ``root_cause`` puts it into a sentence
    path:    one clause a hop, the cause first; of several causes one path after the other
    speaks_for, speaks_against: the answer, with their weights in nats
    experience: what came of acting on these faults on this fleet
    """

    verdict: Verdict
    root_cause: str
    critical_failure: str
    impact: str
    path: tuple[str, ...]
    speaks_for: tuple[str, ...]
    speaks_against: tuple[str, ...]
    other_causes: tuple[str, ...]
    ruled_out: tuple[str, ...]
    checks: tuple[str, ...]
    missing: tuple[str, ...]
    method: str
    experience: tuple[str, ...] = ()

    def lines(self) -> tuple[str, ...]:
        """Return it as text, a heading before the first line of each part."""
        rows: tuple[tuple[str, Sequence[str]], ...] = (
            ("Root cause", (self.root_cause,)),
            ("Critical failure", (self.critical_failure,)),
            ("Impact", (self.impact,)),
            ("Path", self.path),
            ("For (nats)", self.speaks_for),
            ("Against (nats)", self.speaks_against),
            ("Experience", self.experience),
            ("Other causes", self.other_causes or ("none worth naming",)),
            ("Ruled out", self.ruled_out),
            ("Would decide it", self.checks),
            ("Missing", self.missing or ("nothing that would decide it",)),
            ("Method", (self.method,)),
        )
        return tuple(
            f"{'' if number else heading:<17} {text}"
            for heading, texts in rows
            for number, text in enumerate(texts)
        )


def explain(
    incident: Incident,
    diagnosis: Diagnosis,
    state: ClusterState | None = None,
    *,
    experience: Mapping[str, str] = NO_EXPERIENCE,
) -> Explanation:
    """Put an incident and its diagnosis into words; needs nothing but these values.

    experience: fault -> what came of acting on it on this fleet
    """
    verdict = verdict_of(diagnosis)
    shown = blamed(diagnosis)
    return Explanation(
        verdict=verdict,
        root_cause=say_root(diagnosis),
        critical_failure=say_failure(incident),
        impact=_say_impact(incident, diagnosis, state),
        path=tuple(text for cause in shown for text in say_path(cause.path)),
        speaks_for=_weighed(diagnosis, shown, sign=1),
        speaks_against=_weighed(diagnosis, shown, sign=-1),
        other_causes=tuple(
            say_short(say_cause(cause))
            for cause in diagnosis.causes
            if cause not in shown and cause.probability >= _WORTH_NAMING
        )[:_SHOWN],
        ruled_out=tuple(map(_say_ruled_out, diagnosis.ruled_out[:_SHOWN])),
        checks=tuple(map(say_check, diagnosis.checks[:_SHOWN])),
        missing=tuple(map(say_plain, diagnosis.missing)),
        method=_say_method(diagnosis),
        experience=_say_experience(shown, experience),
    )


def _say_experience(causes: Sequence[Cause], experience: Mapping[str, str]) -> tuple[str, ...]:
    """Return of each fault once what came of acting on it; nothing of what nobody has tried."""
    faults = dict.fromkeys(cause.fault for cause in causes)
    known = [fault for fault in faults if experience.get(fault)]
    about = len(faults) > 1
    return tuple(f"{say_plain(f)}: {experience[f]}" if about else experience[f] for f in known)


def say_root(diagnosis: Diagnosis) -> str:
    """Say the answer in a sentence, with its probability."""
    causes = diagnosis.causes
    match verdict_of(diagnosis):
        case Verdict.NAMED:
            return f"{say_cause(causes[0])}{_say_nature(causes[0])}"
        case Verdict.SEVERAL:
            both = together(diagnosis)
            return f"{len(both)} independent causes: " + "; ".join(
                f"{say_cause(cause)}{_say_part(cause)}" for cause in both
            )
        case Verdict.UNCERTAIN:
            return f"not certain; likeliest {say_cause(causes[0])}{_say_nature(causes[0])}"
        case Verdict.NO_FAULT:
            return f"nothing is broken (p = {diagnosis.no_fault:.2f}): {diagnosis.calm or _CALM}"
        case Verdict.UNKNOWN:
            return _say_unknown(diagnosis)


def _say_part(cause: Cause) -> str:
    return "" if cause.impact is None else f", {100 * cause.impact:.0f} % of the symptom"


def _say_unknown(diagnosis: Diagnosis) -> str:
    if not diagnosis.causes and not diagnosis.missing:
        return "not known: no reading is out of order and no event names a fault"
    missing = (
        f", missing {say_plain('; '.join(diagnosis.missing[:2]))}" if diagnosis.missing else ""
    )
    head = f"not known (p = {diagnosis.unknown:.2f}): not enough evidence{missing}"
    return f"{head}; likeliest {say_cause(diagnosis.causes[0])}" if diagnosis.causes else head


def say_cause(cause: Cause) -> str:
    """Return where and what, with the probability."""
    known = FAULTS.get(cause.fault)
    text = known.text if known else cause.fault.replace("_", " ")
    return f"{say_target(cause.target)}: {text} (p = {cause.probability:.2f})"


def _say_nature(cause: Cause) -> str:
    """Say the class of a fault, and whether it stays."""
    stays = cause.persistent
    if stays is None or _PASSES < stays < _LASTS:
        lasting = ""
    elif stays >= _LASTS:
        lasting = f", persistent (p = {stays:.2f}): it stays until something is done"
    else:
        lasting = f", transient (p = {1 - stays:.2f}): it passes by itself or with a restart"
    return f"; {say_kind(cause.kind)}{lasting}"


def say_path(path: Sequence[Hop]) -> tuple[str, ...]:
    """Return one clause a hop, the later ones with an arrow: what moved where, and when."""
    return tuple(("-> " if number else "") + _say_hop(hop) for number, hop in enumerate(path))


def _say_hop(hop: Hop) -> str:
    what = f"{say_short(say_target(hop.target))}: {say_metric(hop.metric)}"
    guess = " (only readings suggest this link)" if hop.learned else ""
    if hop.moved is None and hop.level is None:
        return f"{what}, which nobody measures{guess}"
    change = say_moved(hop)
    began = say_clock(hop.began_s) if hop.began_s is not None else ""
    return f"{what} {change}" + (f", from {began} on" if began else "") + guess


def say_plain(text: str) -> str:
    """Return the text with names of metrics and faults as words, and GPUs' UUIDs cut."""
    return say_short(_NAME.sub(_in_words, text))


def _in_words(found: re.Match[str]) -> str:
    """Return what is a metric's or a fault's name as words; a job may be called anything."""
    name = found[0]
    return metric_words(name) if name in CATALOG or name in FAULTS else name


def say_moved(hop: Hop) -> str:
    """Return from what to what a hop's reading moved; how far in sigmas where that is not known."""
    sigmas = "" if hop.moved is None else f"{hop.moved:+.1f} sigma"
    return say_change(hop.metric, hop.usual, hop.level) or sigmas


def _weighed(diagnosis: Diagnosis, causes: Sequence[Cause], *, sign: int) -> tuple[str, ...]:
    """Return what speaks for (+1) or against (-1) the answer with its weight, heaviest first."""
    if not causes:
        return _heaviest(diagnosis.calm_evidence, sign=sign)
    several = len(causes) > 1
    return tuple(
        text
        for cause in causes
        for text in _heaviest(
            cause.evidence,
            sign=sign,
            about=f"{say_short(say_target(cause.target))}: " if several else "",
        )
    )


def _heaviest(evidence: Sequence[Evidence], *, sign: int, about: str = "") -> tuple[str, ...]:
    items = sorted((e for e in evidence if sign * e.weight > 0), key=lambda e: -abs(e.weight))
    return tuple(f"{item.weight:+.1f}  {about}{say_plain(item.text)}" for item in items[:_SHOWN])


def _say_ruled_out(item: RuledOut) -> str:
    known = FAULTS.get(item.fault)
    text = known.text if known else item.fault.replace("_", " ")
    return f"{say_short(say_target(item.target))}: {text}, because {say_plain(item.why)}"


def say_check(check: Check) -> str:
    """Return a check with where it is to be made."""
    where = say_short(say_target(check.target))
    return check.text if where in check.text else f"{where}: {check.text}"


def _say_method(diagnosis: Diagnosis) -> str:
    if diagnosis.run_s is None:
        return diagnosis.method
    return f"{diagnosis.method}, in {1000 * diagnosis.run_s:.3g} ms"


def _say_impact(incident: Incident, diagnosis: Diagnosis, state: ClusterState | None) -> str:
    """Say whom it hurts, for how long, and how much of the symptom the cause accounts for."""
    hurt, first = say_jobs(incident, state), diagnosis.likeliest
    if first is None:
        return hurt
    both = together(diagnosis)
    if len(both) > 1:
        share = sum(cause.impact or 0.0 for cause in both)
        return f"{hurt}; together they account for {100 * min(share, 1):.0f} % of the symptom"
    if first.impact is None:
        return hurt
    return f"{hurt}; the cause accounts for {100 * first.impact:.0f} % of the symptom"
