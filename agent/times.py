"""Times at the edge: RFC 3339 UTC text to and from seconds since the epoch."""

import math
from datetime import UTC, datetime, timedelta

from core.errors import InputError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOT_ENDED = "0001-01-01T00:00:00Z"  # Go's zero time: how Alertmanager writes "still firing"
_FIRST_YEAR_END_S = (datetime(2, 1, 1, tzinfo=UTC) - EPOCH).total_seconds()


def rfc3339(time_s: float | None) -> str | None:
    """Write seconds as ``2026-11-20T14:02:11.250Z``, milliseconds where there are any.

    None for None, and for what no calendar holds: NaN, infinities, years beyond 9999.
    """
    if time_s is None or not math.isfinite(time_s):
        return None
    try:
        moment = EPOCH + timedelta(milliseconds=round(time_s * 1000))
    except OverflowError:
        return None
    spec = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=spec).replace("+00:00", "Z")


def from_rfc3339(text: object) -> float:
    """Read a time with its zone into seconds; InputError shows what was found."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        if moment is not None and moment.tzinfo is not None:
            return (moment - EPOCH).total_seconds()
    except (ValueError, OverflowError):
        pass
    raise InputError(f"found {text!r:.60}, needs a time like 2026-11-20T14:02:11Z")


def still_firing(ends_s: float) -> bool:
    """Say whether an end lies in year 1: Alertmanager's word for "not ended"."""
    return ends_s < _FIRST_YEAR_END_S
