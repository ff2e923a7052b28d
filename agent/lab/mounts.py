"""Small file systems that end with the process that mounted them, whatever becomes of it.

A process goes on in a mount namespace of its own (util-linux' ``unshare``), which needs no root
where the kernel lets users have namespaces.
"""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from core.errors import InputError

_INSIDE = "GPUMEDIC_LAB_MOUNTS"


def with_own_mounts() -> None:
    """Start this program again in a mount namespace of its own, unless it is in one.

    InputError where that is not allowed.
    """
    if _INSIDE in os.environ:
        return
    words = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    _run(*words, "true")
    again = [*words, sys.executable, *sys.orig_argv[1:]]
    os.execvpe(words[0], again, {**os.environ, _INSIDE: "1"})  # noqa: S606 - our own words


def mount_small(folder: Path, size: int) -> None:
    """Make a folder with a file system of so many bytes of memory."""
    folder.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))


def fill(folder: Path) -> Path:
    """Take all room that is left; return the file that has it."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))
    return filler


def unmount(folder: Path) -> None:
    """Take a file system away, also while files of it are open."""
    _run("umount", "--lazy", str(folder))


def _run(*argv: str) -> None:
    try:
        subprocess.run(argv, check=True, capture_output=True)  # noqa: S603 - our own words
    except (OSError, subprocess.CalledProcessError) as error:
        found = getattr(error, "stderr", b"") or str(error).encode()
        raise InputError(
            f"`{' '.join(argv)}`: {found.decode().strip()}. A disk that is full needs a small one "
            "to be mounted: run this as root, or where users may have namespaces."
        ) from error
