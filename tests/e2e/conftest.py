"""What the end-to-end tests share: a small file system of their own."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

VOLUME_BYTES = 48 * 2**20


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB of memory, mounted for the test alone; skips where that is denied."""
    folder = tmp_path / "volume"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={VOLUME_BYTES}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
