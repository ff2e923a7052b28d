"""A source that hangs, a manifest that is nobody's: neither holds up or empties anything."""

import asyncio
import contextlib
import os
import threading
from pathlib import Path

import pytest

from agent.checkpoints.keeping import How, send_one
from agent.checkpoints.places import Place
from agent.launch.jobside.gpumedic_job.manifest import SUFFIX, Saved, manifest_path, seal
from core.clock import RealClock
from tests.checkpoint_files import looked_at, save


async def test_a_source_that_hangs_does_not_hang_the_loop(tmp_path: Path) -> None:
    """A pipe in its stead: opening one waits for a writer, as a dead file server would."""
    path = save(tmp_path / "step_1.pt", 1)
    seal(path, Saved(1.0, 1), form="torch.save")
    checkpoint = looked_at(path)
    path.unlink()
    os.mkfifo(path)
    # Opened for both, a pipe has a reader and a writer: it lets go whoever waits for one.
    rescue = threading.Timer(5.0, lambda: os.close(os.open(path, os.O_RDWR)))
    rescue.start()

    place = Place(str(tmp_path / "copies"))
    sending = asyncio.create_task(send_one(place, checkpoint, how=How(), clock=RealClock()))
    while not sending.done():
        with contextlib.suppress(OSError):  # nobody waits there yet
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        await asyncio.sleep(0)
    in_time = rescue.is_alive()
    rescue.cancel()

    with pytest.raises(OSError, match="not seekable"):
        await sending
    assert in_time


def test_a_manifest_without_a_name_is_no_copy_of_the_whole_place(tmp_path: Path) -> None:
    path = save(tmp_path / "step_1.pt", 1)
    seal(path, Saved(1.0, 1), form="torch.save")
    manifest_path(path).rename(tmp_path / SUFFIX)

    assert Place(str(tmp_path)).copies() == ()
