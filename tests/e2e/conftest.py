"""What the end-to-end tests share: a small file system of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real import small_volume

VOLUME_BYTES = 48 * 2**20


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB of memory, mounted for the test alone."""
    with small_volume(tmp_path / "volume", VOLUME_BYTES) as folder:
        yield folder
