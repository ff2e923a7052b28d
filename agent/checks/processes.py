"""Processes that are dead and not fetched, and those that no signal reaches."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.checks.check import Finding, State, degraded, state_of, unhealthy
from agent.checks.machine import Machine
from detectors.words import duration

# The kernel's own limit for a hung task (hung_task_timeout_secs); a busy disk takes seconds.
STUCK_S = 120.0
# A parent that fetches its children late leaves a few; process ids run out at 32768.
MANY_ZOMBIES = 200
MOST_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Processes:
    """Looks at every process: zombies by their parent, and how long one cannot be interrupted."""

    at: Machine
    name: str = "processes"
    deadline_s: float = 10.0
    _since_s: dict[tuple[int, int], float] = field(default_factory=dict)

    def run(self) -> State:
        """Read ``/proc``; how long something hangs is known from run to run."""
        seen = [*statuses(self.at.proc)]
        asleep = {(p.pid, p.started): p for p in seen if p.state == "D"}
        now_s = self.at.clock.monotonic_s()
        for key in [key for key in self._since_s if key not in asleep]:
            del self._since_s[key]
        for key in list(asleep)[:MOST_KEPT]:
            self._since_s.setdefault(key, now_s)
        stuck = [(p, now_s - self._since_s.get(key, now_s)) for key, p in asleep.items()]
        findings = [*_stuck([(p, s) for p, s in stuck if s >= STUCK_S]), *_dead(seen)]
        fine = f"{len(seen)} processes, {len(asleep)} of them in the kernel's uninterruptible sleep"
        return state_of(self.name, findings, fine=fine)


@dataclass(frozen=True, slots=True)
class Status:
    """A process as ``/proc/PID/stat`` shows it; ``started`` in ticks since the machine's start."""

    pid: int
    name: str
    state: str
    parent: int
    started: int


def statuses(proc: Path) -> Iterator[Status]:
    """Yield every process; those that end meanwhile are left out."""
    for folder in proc.iterdir():
        if folder.name.isdecimal() and (found := status(proc, int(folder.name))):
            yield found


def status(proc: Path, pid: int) -> Status | None:
    """Return one process, None where it is gone."""
    try:
        said = (proc / str(pid) / "stat").read_text(errors="replace")
        # The name is in parentheses and may hold any character, parentheses too.
        name, rest = said[said.index("(") + 1 : said.rindex(")")], said[said.rindex(")") + 2 :]
        words = rest.split()
        return Status(pid, name, words[0], int(words[1]), int(words[19]))
    except (OSError, ValueError, IndexError):
        return None


def _stuck(stuck: list[tuple[Status, float]]) -> Iterator[Finding]:
    for process, since_s in sorted(stuck, key=lambda each: -each[1]):
        reason = f"{process.name} ({process.pid}) hangs in the kernel for {duration(since_s)}"
        remedy = (
            f"See where: `cat /proc/{process.pid}/stack`; often a disk, a file server or a GPU."
        )
        yield unhealthy(reason, remedy)


def _dead(seen: list[Status]) -> Iterator[Finding]:
    parents = Counter(process.parent for process in seen if process.state == "Z")
    names = {process.pid: process.name for process in seen}
    if (count := parents.total()) >= MANY_ZOMBIES:
        parent, most = parents.most_common(1)[0]
        reason = f"{count} dead processes, {most} of them of {names.get(parent, '?')} ({parent})"
        yield degraded(reason, f"Restart {names.get(parent, 'that program')}: it fetches none.")
