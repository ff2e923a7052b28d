"""What counters did of late, and when a link that comes and goes is no longer to be trusted."""

import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

HOUR_S = 3600.0
# A flap weighs 1 and half as much 12 h later. Three within 12 h, however spread, weigh 2.2 (1 +
# 0.71 + 0.5) to 3 and make a link unstable, two never do; gpud counts the same three in 12 h.
# Stable again at half of three, which is 12 h without a flap: in and out at one limit would flap.
FLAP_HALF_LIFE_S = 12 * HOUR_S
UNSTABLE, STABLE = 2.2, 1.5
_KEPT = 256  # changes of one counter; more often than that, the oldest are taken together


@dataclass(frozen=True, slots=True)
class Flaps:
    """How often a link went down, the longer ago the less it counts."""

    weight: float = 0.0
    at_s: float = 0.0
    unstable: bool = False


def after(flaps: Flaps, downs: float, now_s: float) -> Flaps:
    """Return the flaps after ``downs`` more of them until now.

    Penalties that decay, with a limit to hold back and a lower one to let go, as routers damp
    flapping routes (RFC 2439).

    >>> (many := after(Flaps(), 3, 0.0)).unstable, after(many, 0, 11 * 3600.0).unstable
    (True, True)
    >>> after(many, 0, 12 * 3600.0).unstable, after(Flaps(), 2, 0.0).unstable
    (False, False)
    """
    age_s = max(0.0, now_s - flaps.at_s)
    weight = flaps.weight * math.exp2(-age_s / FLAP_HALF_LIFE_S) + downs
    return Flaps(weight, now_s, weight > STABLE if flaps.unstable else weight >= UNSTABLE)


@dataclass(slots=True)
class Growth:
    """By how much counters grew in the last ``span_s``; one that fell began anew."""

    span_s: float = HOUR_S
    _seen: dict[Hashable, deque[tuple[float, float]]] = field(default_factory=dict)

    def of(self, key: Hashable, count: float, now_s: float) -> float:
        """Take a reading and return the growth; 0 at the first one."""
        seen = self._seen.setdefault(key, deque(maxlen=_KEPT))
        if seen and count < seen[-1][1]:
            seen.clear()
        if not seen or count > seen[-1][1]:
            seen.append((now_s, count))
        # The last one before the span is where the growth in it began.
        while len(seen) > 1 and seen[1][0] <= now_s - self.span_s:
            seen.popleft()
        return count - seen[0][1]
