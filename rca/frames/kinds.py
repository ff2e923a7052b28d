"""What a metric measures, told from the words in its name, and which way it is bad.

Latency, errors and success travel from the component that is asked to the one that asks: they are
the trouble that is passed on. Requests and traffic travel the other way. The rest stays where it
is: it shows what a component itself is short of.
"""

import re
from enum import StrEnum


class Kind(StrEnum):
    """What a column measures."""

    LATENCY = "latency"
    ERROR = "errors"
    SUCCESS = "success"
    LOAD = "load"
    NETWORK = "traffic"
    RESOURCE = "resource"
    UNNAMED = "value"  # a column without a metric: whatever it is, neighbours measure it too


TROUBLE = (Kind.LATENCY, Kind.ERROR, Kind.SUCCESS, Kind.UNNAMED)
# Usual words of Prometheus exporters, OpenTelemetry conventions and cloud consoles. The first
# kind with a word in the name has it: "request latency" is a latency, "error count" is errors.
WORDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    (Kind.SUCCESS, ("avail", "success", "ok")),
    (
        Kind.ERROR,
        ("error", "err", "fail", "fault", "5xx", "4xx", "exception", "drop", "retrans", "timeout",
         "abort", "reject"),
    ),
    (
        Kind.LATENCY,
        ("latency", "lat", "duration", "delay", "time", "rtt", "response", "age", "lag"),
    ),
    (
        Kind.LOAD,
        ("request", "req", "rps", "qps", "ops", "workload", "throughput", "calls", "tps",
         "invocations", "messages", "msgs", "records"),
    ),
    (Kind.RESOURCE, ("cpu", "processor", "mem", "memory", "disk", "syscall")),
    (
        Kind.NETWORK,
        ("net", "network", "rx", "tx", "receive", "transmit", "bytes", "packets", "socket"),
    ),
)  # fmt: skip
LONGEST_WHOLE = 3  # letters: a word this short must stand alone, "ok" is not in "token"


def kind(metric: str, watched: str | None = None) -> Kind:
    """Return what a metric measures, by the words of its name; RESOURCE where none is known.

    watched: metric whose trouble was noticed. Where its name says nothing, it is passed on like
        any trouble, and may be bad on either side.
    """
    if not metric:
        return Kind.UNNAMED
    apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", metric)
    words = [word.lower() for word in re.split(r"[^A-Za-z0-9]+", apart) if word]
    for found, known in WORDS:
        if any(_is(word, each) for word in words for each in known):
            return found
    return Kind.UNNAMED if metric == watched else Kind.RESOURCE


def _is(word: str, known: str) -> bool:
    return word == known if len(known) <= LONGEST_WHOLE else word.startswith(known)
