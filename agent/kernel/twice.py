"""One Xid that the driver tells twice, to NVML and to the log, is one."""

from collections import deque
from dataclasses import dataclass, field

from core.types import Event

# The driver tells both within this.
SAME_S = 5.0
_MOST = 16
_MOST_KEYS = 4096

_Key = tuple[str, str, str]  # by which way, GPU, code


@dataclass(slots=True)
class Twice:
    """Knows of which events the other way has not told yet."""

    _waiting: dict[_Key, deque[float]] = field(default_factory=dict)

    def is_new(self, event: Event, *, way: str, other: str) -> bool:
        """Say whether an event of one way is not the one that the other has told already."""
        told = self._waiting.get((other, event.target.gpu, event.code), deque())
        for time_s in told:
            if abs(time_s - event.time_s) <= SAME_S:
                told.remove(time_s)
                return False
        if len(self._waiting) >= _MOST_KEYS:
            self._waiting.clear()
        key = (way, event.target.gpu, event.code)
        self._waiting.setdefault(key, deque(maxlen=_MOST)).append(event.time_s)
        return True
