"""Which processes hold which GPU, and whose they are."""

import pwd
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.checks.machine import text
from agent.local_jobs.owners import NOBODY, Owner, closer, owner_of

MOST_COMMAND = 80


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a GPU.

    command: program and what it was told to run, no further argument: those may be secret
    rank:    its number in the job, where its environment can be read and says; else ""
    """

    pid: int
    started: str
    user: str
    command: str
    owner: Owner
    rank: str = ""

    def __str__(self) -> str:
        """Read as ``Slurm job 7 of ann, rank 3 (python train.py, PID 4711)``."""
        return f"{self.job} ({self.command}, PID {self.pid})"

    @property
    def job(self) -> str:
        """Read as ``Slurm job 7 of ann, rank 3``."""
        rank = f", rank {self.rank}" if self.rank else ""
        return f"{self.owner} of {self.user}{rank}"


def holders_of(proc: Path, pids: Iterator[int]) -> Iterator[Holder]:
    """Yield each process once; those that have ended are left out."""
    for pid in dict.fromkeys(pids):
        if (found := holder_of(proc, pid)) is not None:
            yield found


def holder_of(proc: Path, pid: int) -> Holder | None:
    """Return whose a process is, None where it has ended."""
    folder = proc / str(pid)
    started = _started(proc, pid)
    if started is None:
        return None
    environ = _environ(folder)
    owner = closer(owner_of(text(folder / "cgroup") or ""), environ)
    rank = environ.get("RANK", environ.get("SLURM_PROCID", "")) if owner != NOBODY else ""
    return Holder(pid, started, _user(folder), _command(folder), owner, rank)


def lives(proc: Path, holder: Holder) -> bool:
    """Say whether it still runs, and not another that was given its PID."""
    return _started(proc, holder.pid) == holder.started


def _started(proc: Path, pid: int) -> str | None:
    """Return when a process began, in ticks: tells it from another of its number."""
    said = text(proc / str(pid) / "stat")
    words = said.rpartition(")")[2].split() if said else []
    return words[19] if len(words) > 19 else None


def _user(folder: Path) -> str:
    for line in (text(folder / "status") or "").splitlines():
        if line.startswith("Uid:"):
            uid = int(line.split()[1])
            try:
                return pwd.getpwuid(uid).pw_name
            except KeyError:
                return str(uid)
    return "?"


def _command(folder: Path) -> str:
    words = (text(folder / "cmdline") or "").strip("\0").split("\0")
    program = words[0].rpartition("/")[2]
    what = next((word for word in words[1:] if not word.startswith("-")), "")
    said = f"{program} {what.rpartition('/')[2]}".strip()
    return "".join(c if c.isprintable() else "?" for c in said)[:MOST_COMMAND] or "?"


def _environ(folder: Path) -> Mapping[str, str]:
    """Return a process's environment as it began; empty where it is not ours to read."""
    pairs = (entry.partition("=") for entry in (text(folder / "environ") or "").split("\0"))
    return {name: value for name, _, value in pairs}
