"""File systems: room, inodes, what turned read-only, and file servers that are slow or gone."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.checks.check import Finding, State, counted, degraded, state_of, unhealthy, unknown
from agent.checks.machine import Machine, text
from agent.collect.host import NETWORK_FS, VOLUME_DEADLINE_S, HostReader, Volume, mounts
from core.ports import Problem
from detectors.words import duration

# A file server that is well answers a statfs in a few milliseconds.
SLOW_S = 0.5
# The catalogue's 0.95 is a warning; here nothing more can be written soon.
FULL, FILLING = 0.99, 0.95
READ_ONLY = "ro"


@dataclass(frozen=True, slots=True)
class Volumes:
    """Every file system that holds data, asked at once, each within 2 s."""

    at: Machine
    host: HostReader
    name: str = "volumes"
    deadline_s: float = 2 * VOLUME_DEADLINE_S + 1.0
    _written: set[str] = field(default_factory=set)  # those that were seen writable

    def run(self) -> State:
        """Ask now."""
        problems: list[Problem] = []
        found = [*self.host.volumes(problems)]
        findings = [*(_of(p) for p in problems), *(f for v in found for f in self._about(v))]
        slowest = max((volume.took_s for volume in found), default=0.0)
        fine = f"{counted(len(found), 'file system')}, slowest answer {1e3 * slowest:.2g} ms"
        return state_of(self.name, findings, fine=fine if found else "none holds data here")

    def _about(self, volume: Volume) -> Iterator[Finding]:
        path, found = volume.target.volume, volume.found
        used = {"space": (found.f_bavail, found.f_blocks), "inodes": (found.f_ffree, found.f_files)}
        for what, (free, most) in used.items():
            share = 1 - free / most if most else 0.0
            if share >= FILLING:
                say = unhealthy if share >= FULL else degraded
                yield say(f"{path}: {share:.1%} of its {what} in use", f"Make room on {path}.")
        if volume.took_s >= SLOW_S:
            reason = f"{path}: a statfs took {duration(volume.took_s)}"
            yield degraded(reason, "Look at its file server and the network to it.")
        yield from self._turned(path)

    def _turned(self, path: str) -> Iterator[Finding]:
        """Yield a file system that can no longer be written, and could or should be."""
        mount = next((each for each in mounts(self.at.proc) if each.path == path), None)
        if mount is None:
            return
        if READ_ONLY not in mount.options:
            self._written.add(path)
        elif path in self._written or self._fstab(path) == "writable":
            reason = f"{path}: it is read-only and should not be"
            remedy = "Look into dmesg for its disk's errors, then check and remount it."
            if mount.kind in NETWORK_FS:
                remedy = "Ask its file server why, then remount it."
            yield unhealthy(reason, remedy)

    def _fstab(self, path: str) -> str:
        """Say how ``/etc/fstab`` wants it: writable, read-only, or nothing."""
        for line in (text(self.at.etc / "fstab") or "").splitlines():
            words = line.split()
            if len(words) > 3 and not line.startswith("#") and words[1] == path:
                return "read-only" if READ_ONLY in words[3].split(",") else "writable"
        return ""


def _of(problem: Problem) -> Finding:
    """Return a volume that did not answer, or could not be asked, as a finding."""
    found, _, remedy = problem.text.partition(". ")
    say = unhealthy if problem.code == "volume_hung" else unknown
    return say(found, remedy)
