"""When the newest valid checkpoint of each job was finished, as its folder shows it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from agent.act.paths import Paths
from agent.checkpoints.catalogue import Catalogue, Look
from core.clock import Clock
from core.errors import InputError

log = structlog.get_logger()


@dataclass(slots=True)
class Saved:
    """Looks into the folders that jobs declare."""

    clock: Clock
    _folders: Paths[float | None] = field(init=False)

    def __post_init__(self) -> None:
        self._folders = Paths(self._look)

    async def within(self, folders: Iterable[str]) -> Callable[[str], float | None]:
        """Return what says when a folder's newest valid checkpoint was finished."""
        return (await self._folders.known(filter(None, folders))).get

    def _look(self, folder: str) -> float | None:
        try:
            listing = Catalogue(Path(folder), Look(read_bytes=0), self.clock.now_s()).listing()
        except InputError as error:
            log.info("no checkpoints seen", folder=folder, problem=str(error))
            return None
        return max((each.saved_s for each in listing.checkpoints if each.valid), default=None)
