"""Which processes hold which GPU, and whose they are."""

import pwd
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.checks.machine import text
from agent.collect.nvml import Gpu
from agent.collect.reading import sample
from agent.local_jobs.owners import NOBODY, Owner, Scheduler, owner_of
from core.exporters import OWN_PREFIX
from core.types import Event

MOST_COMMAND = 80
_INFO = f"{OWN_PREFIX}gpu_job_processes"


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
        rank = f", rank {self.rank}" if self.rank else ""
        return f"{self.owner} of {self.user}{rank} ({self.command}, PID {self.pid})"


@dataclass(slots=True)
class LocalJobs:
    """Knows who holds each GPU by its UUID; of one that no longer answers, who did.

    gpus: what was seen of them last, see ``NvmlReader.gpus``
    """

    node: str
    gpus: Callable[[], Sequence[Gpu]]
    proc: Path = Path("/proc")
    holders: Mapping[str, tuple[Holder, ...]] = field(default_factory=dict)

    def look(self) -> Mapping[str, tuple[Holder, ...]]:
        """Look who is there now; a driver in trouble no longer lists processes."""
        now: dict[str, tuple[Holder, ...]] = {}
        for gpu in self.gpus():
            found = tuple(holders_of(self.proc, (each.pid for each in gpu.processes)))
            if gpu.trouble:
                found = tuple(h for h in self.holders.get(gpu.uuid, ()) if _lives(self.proc, h))
            now[gpu.uuid] = found
        self.holders = now
        return now

    def all(self) -> tuple[Holder, ...]:
        """Return every process that holds a GPU, as of the last look."""
        return tuple(holder for holders in self.holders.values() for holder in holders)

    def named(self, events: Sequence[Event]) -> tuple[Event, ...]:
        """Return the events; one on a GPU says which jobs it hits."""
        return tuple(
            replace(event, text=event.text + self.hit(event.target.gpu)) for event in events
        )

    def hit(self, gpu: str) -> str:
        """Return the end of a sentence on a GPU: the jobs that its trouble hits, each once."""
        jobs: dict[Owner, Holder] = {}
        for holder in self.holders.get(gpu, ()):
            jobs.setdefault(replace(holder.owner, part=""), holder)
        return f"; it hits {' and '.join(map(str, jobs.values()))}" if jobs else ""

    def text(self) -> str:
        """Look, and return the lines for ``/metrics``: processes of each job on each GPU."""
        counts = Counter(
            (gpu, holder.owner.scheduler.value, holder.owner.job, holder.user)
            for gpu, holders in self.look().items()
            for holder in holders
        )
        if not counts:
            return ""
        lines = [f"# HELP {_INFO} processes of a job on a GPU", f"# TYPE {_INFO} gauge"]
        for (gpu, scheduler, job, user), count in sorted(counts.items()):
            labels = {
                "node": self.node,
                "gpu": gpu,
                "scheduler": scheduler,
                "job_id": job,
                "user": user,
            }
            lines.append(sample(_INFO, labels, count))
        return "\n".join(lines) + "\n"


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
    owner = owner_of(text(folder / "cgroup") or "")
    if owner.scheduler is not Scheduler.SLURM and (job := environ.get("SLURM_JOB_ID", "")):
        # Slurm without control groups (proctrack/linuxproc) leaves its mark here alone.
        owner = Owner(Scheduler.SLURM, job, environ.get("SLURM_STEP_ID", ""))
    rank = environ.get("RANK", environ.get("SLURM_PROCID", "")) if owner != NOBODY else ""
    return Holder(pid, started, _user(folder), _command(folder), owner, rank)


def _lives(proc: Path, holder: Holder) -> bool:
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
