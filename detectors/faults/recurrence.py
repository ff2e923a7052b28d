"""A fault that comes again is worse than one: what is said from which repeat on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from core.types import Event, Severity
from detectors.faults.catalogue import xid, xids
from detectors.faults.ladder import of_program
from detectors.faults.memory import DAY_S, SAME_S, FaultMemory, Row
from detectors.faults.xids import KIND, code_of
from detectors.words import duration

HOUR_S = 3600.0
SUSPECT = "gpu_suspect"
# NVSentinel's burst rule: the program's Xid on the same GPU again within a day, not on others. That
# it met two programs says more than that one program met it often, which may do wrong each time.
SUSPECT_TIMES, SUSPECT_JOBS = 3, 2


@dataclass(frozen=True, slots=True)
class Recurrence:
    """From ``times`` occurrences within ``span_s`` on, a fault is of this severity and called so.

    kind, codes: which fault; no codes: any
    as_code:     the code it then has, "" for its own
    """

    kind: str
    codes: frozenset[str]
    times: int
    span_s: float
    severity: Severity
    as_code: str
    text: str


_FATAL = frozenset(
    str(code) for code, known in xids().items() if known.severity is Severity.CRITICAL
)
RULES = (
    # gpud: a link that was down three times within twelve hours flaps.
    Recurrence(
        "link_down", frozenset(), 3, 12 * HOUR_S, Severity.CRITICAL, "flapping", "the link flaps"
    ),
    # A contained error ends its program and no more. Assumed: thrice a day is the memory's wear.
    Recurrence(
        KIND,
        frozenset({"94"}),
        3,
        DAY_S,
        Severity.CRITICAL,
        "",
        "contained errors recur: run the vendor's field diagnostics",
    ),
    # Assumed: the driver itself calls the rate high each time.
    Recurrence(
        KIND, frozenset({"92"}), 3, DAY_S, Severity.WARNING, "", "a storm of single-bit errors"
    ),
    # Of nodes with more than ten remapped rows 83 % fail again (SuperBench, arXiv:2402.06194).
    # Assumed: three in a day are on the way there.
    Recurrence(
        KIND, frozenset({"63"}), 3, DAY_S, Severity.WARNING, "", "row after row is remapped"
    ),
    # NVSentinel: a fatal Xid five times within a day on one GPU.
    Recurrence(KIND, _FATAL, 5, DAY_S, Severity.WARNING, "", "take the GPU out of service"),
    # Assumed: what is killed starts again and fills the memory again.
    Recurrence(
        "oom_kill", frozenset(), 3, HOUR_S, Severity.CRITICAL, "", "memory runs out again and again"
    ),
    Recurrence("ecc_uncorrected", frozenset(), 3, DAY_S, Severity.CRITICAL, "", "replace the GPU"),
)


def escalated(event: Event, row: Row) -> Event:
    """Return the event with what its repeats make of it; the first rule that fits counts."""
    for rule in RULES:
        since_s = event.time_s - rule.span_s - SAME_S
        fits = rule.kind == event.kind and (not rule.codes or event.code in rule.codes)
        if fits and (times := row.count(since_s)) >= rule.times:
            return replace(
                event,
                code=rule.as_code or event.code,
                severity=max((event.severity, rule.severity), key=lambda each: each.rank),
                text=f"{event.text}; {times} times in {duration(rule.span_s)}: {rule.text}",
            )
    return event


def suspected(event: Event, row: Row, memory: FaultMemory) -> Iterator[Event]:
    """Yield the suspicion that a GPU is broken on which programs fail again and again.

    Not for what the vendor ignores, which a program can do all day; nor where another GPU of the
    node has half as many of the code: then it goes where the program goes.
    """
    code = code_of(event)
    if event.kind != KIND or code is None or not (of_program(code) and event.target.gpu):
        return
    since_s = event.time_s - DAY_S - SAME_S
    times, jobs = row.count(since_s), len(row.jobs_since(since_s))
    often = jobs >= SUSPECT_JOBS or times >= SUSPECT_TIMES
    if often and not _goes_with_program(event, times, memory.most_beside(event, since_s)):
        by = f"in {jobs} jobs" if jobs >= SUSPECT_JOBS else f"{times} times"
        text = (
            f"Xid {code} on {event.target} {by} within a day and not on its peers: "
            "suspect the GPU, run the vendor's field diagnostics"
        )
        severity = Severity.CRITICAL if jobs >= SUSPECT_JOBS else Severity.WARNING
        yield Event(event.target, event.time_s, SUSPECT, event.code, text, severity)


def _goes_with_program(event: Event, times: int, beside: int) -> bool:
    return xid(int(event.code)).severity is Severity.INFO or 2 * beside >= times
