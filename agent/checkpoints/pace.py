"""How fast bytes may go: a limit that holds over any time longer than one piece."""

from core.clock import Clock


class Pace:
    """Waits so that no more than ``bytes_per_s`` are spent; None spends at once.

    ``spend`` before each piece: a piece is let go when the pieces before it have had their time.
    """

    def __init__(self, clock: Clock, bytes_per_s: float | None) -> None:
        self._clock, self._rate = clock, bytes_per_s
        self._free_s = clock.monotonic_s()

    def piece(self, most: int) -> int:
        """Return how many bytes to spend at once: at most what a second is for."""
        return most if self._rate is None else max(1, min(most, int(self._rate)))

    async def spend(self, size: int) -> None:
        """Wait for the turn of a piece of so many bytes."""
        if self._rate is None:
            return
        now_s = self._clock.monotonic_s()
        if self._free_s > now_s:
            await self._clock.sleep(self._free_s - now_s)
        self._free_s = max(self._free_s, now_s) + size / self._rate
