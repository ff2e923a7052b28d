"""Who has a file open for writing: what tells a save that goes on from one that was killed."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_PROC = Path("/proc")


def writers_below(folder: Path) -> Mapping[str, int]:
    """Return each file below a folder that a process here has open for writing, and its id.

    Processes of other users are seen by root only, those of other machines by nobody.
    """
    root = f"{os.path.realpath(folder)}"
    found: dict[str, int] = {}
    for pid in _pids():
        for number, path in _open_files(pid):
            if (path == root or path.startswith(f"{root}/")) and _writes(pid, number):
                found[path] = pid
    return found


def _pids() -> Iterator[int]:
    try:
        names = [path.name for path in _PROC.iterdir()]
    except OSError:
        return
    yield from (int(name) for name in names if name.isdecimal())


def _open_files(pid: int) -> Iterator[tuple[str, str]]:
    try:
        handles = list((_PROC / str(pid) / "fd").iterdir())
    except OSError:
        return
    for handle in handles:
        try:
            yield handle.name, str(handle.readlink())
        except OSError:
            continue


def _writes(pid: int, number: str) -> bool:
    try:
        text = (_PROC / str(pid) / "fdinfo" / number).read_text()
    except OSError:
        return False
    flags = next((line.split()[1] for line in text.splitlines() if line.startswith("flags")), "0")
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
