"""Hands orders to the cluster: each is waited for a while, and goes on where it takes longer."""

import asyncio

from core.clock import Clock
from core.ports import Cluster
from core.types import Action


class Orders:
    """The orders of plans that are not over, by key: under way, or taken.

    One that is slow is not cut off: of several parts, such as a reservation and a requeue at a slow
    scheduler, some would be done and some never, for the next try would be as slow. It goes on
    beside all else, and who gives it again is told what has come of it. It ends by itself, since
    a cluster's every call has a time limit, or with what it is a part of: ``drop`` it when nobody
    wants it any more.
    """

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster, self._clock = cluster, clock
        self._answers: dict[str, asyncio.Future[None]] = {}
        self._taken: set[str] = set()

    def was_given(self, key: str) -> bool:
        """Say whether the order is under way, or taken."""
        return key in self._answers or key in self._taken

    async def give(self, action: Action, *, within_s: float) -> bool:
        """Give an order where it is new, and say whether it is taken; raise what the cluster does.

        within_s: that a new one is waited for; after one that is under way it only looks
        """
        key = action.key
        if key in self._taken:
            return True
        if key not in self._answers:
            self._answers[key] = asyncio.ensure_future(self._cluster.perform(action))
            await self._wait(self._answers[key], within_s)
        if not self._answers[key].done():
            return False
        self._answers.pop(key).result()
        self._taken.add(key)
        return True

    def drop(self, key: str) -> None:
        """Forget an order; one that is under way ends here."""
        self._taken.discard(key)
        answer = self._answers.pop(key, None)
        if answer is not None and not answer.cancel():
            answer.exception()  # heard, so that nobody is told of it who cannot use it

    async def _wait(self, answer: asyncio.Future[None], within_s: float) -> None:
        timer = asyncio.ensure_future(self._clock.sleep(within_s))
        try:
            await asyncio.wait({answer, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
