"""Objects of one kind: listed once, in pages, and followed from there on.

A cycle reads what is here, so it costs what has changed and not what there is. Where the API server
has forgotten the version that was seen last, all is listed again.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx2
import msgspec
import structlog
from lightkube import ApiError, AsyncClient

from core.clock import Clock
from core.errors import SourceUnavailable

log = structlog.get_logger()
T = TypeVar("T")

PAGE = 500
LIST_S = 120.0  # the longest that listing all of a kind may take
# The server ends a connection after so long; one that says nothing for longer is dead.
FOLLOW_S, GRACE_S = 60, 15.0
FIRST_PAUSE_S, PAUSE_S = 0.1, 3.0
ABSENT_S = 300.0  # a kind that is not installed is asked for again so often
_ABSENT, _FORGOTTEN = 404, 410


@dataclass(slots=True)
class Watched(Generic[T]):
    """What is there of a kind in a namespace; "*": in all, "": it has none.

    read: what is kept of an object, None: nothing
    problem: why it may be out of date, "" where it is not
    """

    client: AsyncClient
    kind: type[Any]
    namespace: str
    read: Callable[[Any], T | None]
    clock: Clock
    problem: str = ""
    lists: int = 0
    _found: dict[tuple[str, str], T] = field(default_factory=dict)
    _versions: dict[tuple[str, str], str] = field(default_factory=dict)
    _version: str = ""
    _listed: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    async def up_to_date(self, *, within_s: float) -> None:
        """Return once all is known; SourceUnavailable where it is not, or may be out of date."""
        if self._task is None:
            self._task = asyncio.create_task(self._follow())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not self._listed.is_set():  # it may be forgotten again before we are told
                    await self._listed.wait()
        if self.problem or not self._listed.is_set():
            raise SourceUnavailable(
                f"following {self.kind.__name__}: {self.problem or 'still listing them'}."
            )

    @property
    def _where(self) -> Any:
        return {"namespace": self.namespace} if self.namespace else {}

    def all(self) -> tuple[T, ...]:
        """Return what is there."""
        return tuple(self._found.values())

    def put(self, thing: Any) -> None:
        """Take in an object that was read or written just now."""
        key, version = _key(thing), thing.metadata.resourceVersion or ""
        if _is_older(version, self._versions.get(key, "")):
            return
        self._versions[key] = version
        kept = self.read(thing)
        if kept is None:
            self._found.pop(key, None)
        else:
            self._found[key] = kept

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _follow(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                if not self._version:
                    await self._list()
                    pause_s = FIRST_PAUSE_S
                elif self.problem:
                    await self._answered()
                await self._watch()
                continue
            except httpx2.HTTPStatusError as error:
                wait_s = self._refused(error)
            except (httpx2.HTTPError, OSError, msgspec.MsgspecError, TimeoutError) as error:
                wait_s = self._lost(error)
            except Exception as error:  # an object of a form that nobody thought of
                log.exception("an object is not understood", kind=self.kind.__name__)
                wait_s = self._lost(error)
                self._version = ""  # what came with it is listed again
            pause_s = min(2 * pause_s, PAUSE_S)
            await self.clock.sleep(wait_s or pause_s)

    def _refused(self, error: httpx2.HTTPStatusError) -> float:
        """Say how long to wait at the least after the server has said no."""
        code = error.status.code if isinstance(error, ApiError) else error.response.status_code
        if code == _ABSENT:
            self._found, self._versions, self._version = {}, {}, ""
            self.problem = ""
            self._listed.set()
            return ABSENT_S
        if code == _FORGOTTEN:
            self._version = ""
            self._listed.clear()  # who asks waits for the new list
            return FIRST_PAUSE_S
        return self._lost(error)

    def _lost(self, error: Exception) -> float:
        if isinstance(error, httpx2.HTTPStatusError) and not isinstance(error, ApiError):
            self.problem = f"the API server said {error.response.status_code}"
        else:
            self.problem = " ".join(str(error).split())[:300] or type(error).__name__
        log.info("not following", kind=self.kind.__name__, problem=self.problem)
        return 0.0

    async def _answered(self) -> None:
        """Ask for one of them: once that is answered, changes are told from the last one on.

        A watch says nothing before there is a change, so it cannot tell that it was taken up.
        """
        async with asyncio.timeout(LIST_S):
            async for _ in self.client.list(self.kind, chunk_size=1, **self._where):
                break
        self.problem = ""

    async def _list(self) -> None:
        listing = self.client.list(self.kind, chunk_size=PAGE, **self._where)
        found: dict[tuple[str, str], T] = {}
        versions: dict[tuple[str, str], str] = {}
        async with asyncio.timeout(LIST_S):
            async for thing in listing:
                versions[_key(thing)] = thing.metadata.resourceVersion or ""
                if (kept := self.read(thing)) is not None:
                    found[_key(thing)] = kept
        self._found, self._versions = found, versions
        self._version = _version_of(listing)
        self.problem = ""
        self.lists += 1
        self._listed.set()

    async def _watch(self) -> None:
        """Take in changes until the server ends the connection, or for as long as it should."""
        changes = self.client.watch(
            self.kind, resource_version=self._version, server_timeout=FOLLOW_S, **self._where
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FOLLOW_S + GRACE_S):
                async for change, thing in changes:
                    self._version = thing.metadata.resourceVersion or self._version
                    if change == "DELETED":
                        self._found.pop(_key(thing), None)
                        self._versions.pop(_key(thing), None)
                    elif change in ("ADDED", "MODIFIED"):
                        self.put(thing)


def _version_of(listing: Any) -> str:
    """Return the version of a list that was read to its end; "" of one that says none."""
    return str(listing.resourceVersion)


def _key(thing: Any) -> tuple[str, str]:
    return thing.metadata.namespace or "", thing.metadata.name or ""


def _is_older(version: str, than: str) -> bool:
    """Say whether a version comes before another, where they are numbers, as etcd's are."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)
