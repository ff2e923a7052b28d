"""Where a machine's files are: the real ones, or a recorded tree that a test plays."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.clock import Clock


@dataclass(frozen=True, slots=True)
class Machine:
    """The roots that checks read below, and the time by which they remember."""

    clock: Clock
    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    etc: Path = Path("/etc")


def text(path: Path) -> str | None:
    """Return what a file says, without white space around it; None where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def number(path: Path) -> float | None:
    """Return the number in a file; None where there is none."""
    try:
        return float(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def folders(path: Path, pattern: str = "*") -> Iterator[Path]:
    """Yield what lies in a folder, in order; nothing where there is none."""
    return iter(sorted(path.glob(pattern)))
