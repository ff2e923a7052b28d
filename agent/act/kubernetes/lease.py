"""Only one gpumedic orders things of a Kubernetes at a time: the one that holds a Lease.

The rules are those of Kubernetes' own leader election: the holder renews; another takes over once
it has seen no change for as long as the holder said, by its own clock and never by the other's; and
each change is made of the object as it was read, so that of two takers one loses.
"""

import asyncio
import math
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease

from agent.act.kubernetes.calls import Calls, Missing
from agent.times import rfc3339
from core.clock import Clock
from core.errors import ActionFailed, GpumedicError, NotLeader

log = structlog.get_logger()

# Kubernetes' own: client-go's LeaseDuration, RenewDeadline and RetryPeriod.
LASTS_S = 15  # others leave it to a holder for so long after they saw it renewed
RENEW_S = 10.0  # the holder counts on it for so long after it began to renew
RETRY_S = 2.0
ANSWER_S = RENEW_S / 2  # longest wait for one answer, so that there is time for another try


@dataclass(frozen=True, slots=True)
class Record:
    """What a Lease says; the times are by its holder's clock: for people, and to see a change.

    holder: "" nobody; lasts_s: how long it may be silent; transitions: how often it changed hands
    """

    holder: str = ""
    lasts_s: float = LASTS_S
    transitions: int = 0
    acquired: datetime | None = None
    renewed: datetime | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A record, and the monotonic second at which this process first saw it so."""

    record: Record
    at_s: float

    def then(self, record: Record, now_s: float) -> "Seen":
        """Return what is known after another look."""
        return self if record == self.record else Seen(record, now_s)


def is_free(seen: Seen, me: str, now_s: float) -> bool:
    """Say whether ``me`` may take a lease or renew it: nobody else has, or has been heard of."""
    record = seen.record
    return record.holder in ("", me) or now_s - seen.at_s >= record.lasts_s


@dataclass(slots=True)
class Leadership:
    """This process's part in a Lease; it is a candidate from the first order on, and so on.

    calls: that are not themselves bound to the lease
    """

    calls: Calls
    clock: Clock
    name: str
    namespace: str
    me: str = field(default_factory=lambda: f"{socket.gethostname()}_{uuid.uuid4()}")
    _seen: Seen = Seen(Record(), -math.inf)
    _until_s: float = -math.inf
    _task: asyncio.Task[None] | None = None
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def held(self) -> bool:
        """Say whether this process holds the lease now, and for longer than others wait."""
        return self.clock.monotonic_s() < self._until_s

    async def require(self, why: str) -> None:
        """Return while the lease is held, taken just now where it is free; NotLeader otherwise."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._keep())
        if not self.held:
            await self._claim()
        self.check(why)

    def check(self, why: str) -> None:
        """Raise NotLeader unless this process holds the lease at this moment."""
        if self.held:
            return
        holder = self._seen.record.holder
        if holder in ("", self.me):
            raise NotLeader(
                f"{why}: not done: this gpumedic could not renew {self._what} within "
                f"{RENEW_S:g} s. It goes on trying; see whether the API server is well."
            )
        raise NotLeader(
            f"{why}: not done: {self._held_by()}, and only who holds it acts. Where this one is to "
            "act, stop that one; one that ends without a word is followed by itself, "
            f"{self._seen.record.lasts_s:g} s later."
        )

    async def found(self) -> str:
        """Say who holds the lease without taking part; SourceUnavailable where none tells."""
        lease = await self.calls.get(Lease, self.name, self.namespace)
        self._note(record_of(lease))
        return self._held_by()

    async def close(self) -> None:
        """Take part no more; a lease that is held is given back, so that the next need not wait."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task, self._until_s = None, -math.inf
        try:
            await self._change(self._returned)
        except GpumedicError as error:
            log.warning("the lease was not given back", lease=self._what, problem=str(error))

    async def _keep(self) -> None:
        """Renew the lease, or wait for it; an order is told what stands in the way."""
        while True:
            held, problem = self.held, ""
            await self.clock.sleep(RETRY_S)
            try:
                await self._claim()
            except GpumedicError as error:
                problem = str(error)
            if held != self.held:
                log.info("the lease", held=self.held, found=self._held_by(), problem=problem)

    async def _claim(self) -> None:
        """Take or renew the lease if it is free; another try at the same time waits for this."""
        async with self._one_at_a_time:
            began_s = self.clock.monotonic_s()
            try:
                lease = await self._change(self._claimed)
            except Missing:
                await self._make()
                lease = await self._change(self._claimed)
            self._note(record_of(lease))
            ours = self._seen.record.holder == self.me
            self._until_s = began_s + RENEW_S if ours else -math.inf

    async def _change(self, change: Callable[[Any], Mapping[str, Any] | None]) -> Any:
        return await self.calls.change(
            Lease, self.name, change, why=f"holding {self._what}", namespace=self.namespace
        )

    async def _make(self) -> None:
        """Have the object that is held; whoever else makes it at the same moment does as well."""
        meta = ObjectMeta(name=self.name, namespace=self.namespace)
        try:
            await self.calls.create(Lease(metadata=meta), why=f"making {self._what}")
        except ActionFailed as error:
            raise ActionFailed(
                f"{error} deploy/kubernetes.yaml has its namespace and the rule for it; "
                "kubernetes.lease_namespace names another."
            ) from error

    def _claimed(self, lease: Any) -> Mapping[str, Any] | None:
        """Return what makes the lease ours, or ours for longer; None while another has it."""
        now_s, record = self.clock.monotonic_s(), record_of(lease)
        self._note(record)
        if not is_free(self._seen, self.me, now_s):
            return None
        now = self._now
        said = {"holderIdentity": self.me, "leaseDurationSeconds": LASTS_S, "renewTime": now}
        if record.holder != self.me:
            said |= {"acquireTime": now, "leaseTransitions": record.transitions + 1}
        return {"spec": said}

    def _returned(self, lease: Any) -> Mapping[str, Any] | None:
        ours = record_of(lease).holder == self.me
        return {"spec": {"holderIdentity": None, "renewTime": self._now}} if ours else None

    def _note(self, record: Record) -> None:
        self._seen = self._seen.then(record, self.clock.monotonic_s())

    @property
    def _now(self) -> str:
        """Return the time as a Lease has it, in microseconds."""
        return datetime.fromtimestamp(self.clock.now_s(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    @property
    def _what(self) -> str:
        return f"the lease {self.namespace}/{self.name}"

    def _held_by(self) -> str:
        record = self._seen.record
        if not record.holder:
            return f"nobody holds {self._what}"
        since = rfc3339(record.acquired.timestamp()) if record.acquired else "an unknown time"
        return f"{record.holder} holds {self._what} since {since}"


def record_of(lease: Lease | None) -> Record:
    """Read a Lease; one that is not there, or has nobody, is nobody's."""
    spec = lease.spec if lease else None
    if spec is None or not spec.holderIdentity:
        return Record(transitions=(spec.leaseTransitions if spec else None) or 0)
    return Record(
        holder=spec.holderIdentity,
        lasts_s=spec.leaseDurationSeconds or LASTS_S,
        transitions=spec.leaseTransitions or 0,
        acquired=spec.acquireTime,
        renewed=spec.renewTime,
    )
