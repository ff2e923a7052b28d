"""Give the controller readings from a source of your own: here, how full a disk is."""

import asyncio
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from agent.assembly import Inputs, assemble
from agent.config import Settings
from core.clock import RealClock
from core.ports import Collected, Query
from core.target import Target
from core.types import Window


class Disk:
    """A MetricSource: a name, and ``read``, which gives a window a metric, NaN for no reading."""

    name = "disk"

    async def read(self, query: Query) -> Collected:
        """Return how full it is, at the newest point of the query's grid."""
        usage, disk = shutil.disk_usage("/"), Target(node="here", volume="/")
        time_s = np.array([query.end_s // query.step_s * query.step_s])
        full = np.array([[usage.used / usage.total]])
        return Collected((Window("volume_used_ratio", (disk,), time_s, full),))


async def main() -> None:
    """Run one cycle; ``app.service().run()`` would go on, with the page."""
    with TemporaryDirectory() as folder:
        app = await assemble(Settings(state_dir=Path(folder)), Inputs((Disk(),)), clock=RealClock())
        sys.stdout.write(await app.controller.cycle() + "\n")
        await app.close()


asyncio.run(main())
