"""This machine's own readings, from /proc, /sys and statvfs."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from agent.collect.patience import Patience, Stuck
from agent.collect.reading import Reading, Snapshot
from core.clock import Clock
from core.ports import Problem
from core.target import Target

# A share of processor time over less than this is noise of the kernel's 10 ms accounting.
MIN_CPU_SPAN_S = 1.0
# A local file system answers in microseconds and a live file server within this; a dead one never.
VOLUME_DEADLINE_S = 2.0
# InfiniBand counts data in units of four octets (PortRcvData, InfiniBand Architecture 16.1.3.5).
IB_OCTETS = 4
IB_ACTIVE = "4"

# The same rules as core.exporters has for node_exporter. Memory-backed file systems come and go
# with containers and count only when they are named.
NO_PORT = re.compile(r"lo|veth.*|docker.*|cni.*|br-.*|ifb\d+|dummy\d+")
NETWORK_FS = frozenset({"nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "wekafs"})
_IMAGE_FS = frozenset({"squashfs", "iso9660", "erofs"})  # read-only images are always full

Part = Callable[[], Iterator[Reading]]


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of ``/proc/self/mounts``; ``kind`` is the file system's, such as ``nfs4``."""

    device: str
    path: str
    kind: str
    options: frozenset[str]


@dataclass(frozen=True, slots=True)
class Volume:
    """What a file system said of itself, and how long it took to say so."""

    target: Target
    found: os.statvfs_result
    took_s: float


def mounts(proc: Path) -> tuple[Mount, ...]:
    """Return what this process sees mounted; OSError where that cannot be read."""
    # Whoever mounts a file system names its folder, in any bytes.
    return _mounts_of(_read(proc / "self/mounts"))


@lru_cache(maxsize=1)  # a node of many pods has thousands, and they seldom change
def _mounts_of(text: str) -> tuple[Mount, ...]:
    lines = (line.split() for line in text.splitlines())
    return tuple(
        Mount(device, _unescaped(path), kind, frozenset(options.split(",")))
        for device, path, kind, options, *_ in lines
    )


class HostReader:
    """Reads this machine. Failure of one part is a Problem; the others are read all the same.

    volumes: mount points to watch; empty: every file system on a disk or a file server
    """

    name = "host"

    def __init__(
        self,
        node: str,
        *,
        clock: Clock,
        proc: Path = Path("/proc"),
        sys: Path = Path("/sys"),
        volumes: Sequence[str] = (),
    ) -> None:
        self.target = Target(node=node)
        self._clock, self._proc, self._sys = clock, proc, sys
        self._volumes = tuple(volumes)
        self._statvfs: Patience[tuple[os.statvfs_result, float]] = Patience(VOLUME_DEADLINE_S)
        self._cpu: tuple[float, float, float] | None = None  # when, busy and all ticks
        self._cpu_ratio: float | None = None
        self.parts: Mapping[str, Part] = {
            "cpu": self._cpu_used,
            "memory": self._memory,
            "open_files": self._open_files,
            "pressure": self._pressure,
            "oom_kills": self._oom_kills,
            "ports": self._ports,
            "infiniband": self._infiniband,
        }

    def snapshot(self) -> Snapshot:
        """Read everything once; blocks for 2 s at most, where a volume does not answer."""
        readings: list[Reading] = []
        problems: list[Problem] = []
        for part, read in self.parts.items():
            try:
                readings += read()
            except (OSError, ValueError, KeyError, IndexError, ZeroDivisionError) as error:
                text = f"reading this machine's {part}: {error!r}. It is left out."
                problems.append(Problem(self.name, f"host_{part}", text))
        for volume in self.volumes(problems):
            readings += _of_volume(volume.target, volume.found)
        return Snapshot((Reading("node_up", self.target, 1.0), *readings), tuple(problems))

    def _node(self, metric: str, value: float) -> Reading:
        return Reading(metric, self.target, float(value))

    def _cpu_used(self) -> Iterator[Reading]:
        """Share of processor time that was neither idle nor waiting for I/O since the last call."""
        ticks = [int(word) for word in self._text("stat").split("\n", 1)[0].split()[1:9]]
        all_ticks = float(sum(ticks))
        busy = all_ticks - ticks[3] - ticks[4]
        now_s = self._clock.monotonic_s()
        if self._cpu is None:
            self._cpu = now_s, busy, all_ticks
        elif now_s - self._cpu[0] >= MIN_CPU_SPAN_S and all_ticks > self._cpu[2]:
            used = (busy - self._cpu[1]) / (all_ticks - self._cpu[2])
            self._cpu_ratio = min(1.0, max(0.0, used))  # iowait may run backwards (proc(5))
            self._cpu = now_s, busy, all_ticks
        if self._cpu_ratio is not None:
            yield self._node("node_cpu_used_ratio", self._cpu_ratio)

    def _memory(self) -> Iterator[Reading]:
        lines = (line.split() for line in self._text("meminfo").splitlines())
        kib = {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) > 1}
        used = kib["MemTotal"] - kib["MemAvailable"]
        yield self._node("node_memory_used_bytes", used * 1024)
        yield self._node("node_memory_used_ratio", used / kib["MemTotal"])
        if swap := kib.get("SwapTotal"):
            yield self._node("node_swap_used_ratio", 1 - kib["SwapFree"] / swap)

    def _open_files(self) -> Iterator[Reading]:
        used, _, most = (int(word) for word in self._text("sys/fs/file-nr").split())
        yield self._node("node_open_files_ratio", min(1.0, used / most))

    def _pressure(self) -> Iterator[Reading]:
        """Share of the last 10 s in which some task waited; kernels may be built without."""
        for resource in ("cpu", "memory", "io"):
            if (self._proc / "pressure").is_dir():
                some = self._text(f"pressure/{resource}").split("\n", 1)[0]
                percent = float(some.partition("avg10=")[2].split()[0])
                yield self._node(f"node_pressure_{resource}_ratio", percent / 100)

    def _oom_kills(self) -> Iterator[Reading]:
        for line in self._text("vmstat").splitlines():
            if line.startswith("oom_kill "):
                yield self._node("node_oom_kills_total", int(line.split()[1]))

    def _ports(self) -> Iterator[Reading]:
        for port in sorted((self._sys / "class/net").iterdir()):
            if port.is_dir() and not NO_PORT.fullmatch(port.name):
                yield from self._port(port)

    def _port(self, port: Path) -> Iterator[Reading]:
        target = Target(node=self.target.node, port=port.name)
        state = _read(port / "operstate").strip()
        up = state == "up" or (state == "unknown" and _number(port / "carrier") == 1)
        yield Reading("port_up", target, float(up))
        counts = port / "statistics"
        yield Reading("port_receive_bytes_total", target, _needed(counts / "rx_bytes"))
        yield Reading("port_transmit_bytes_total", target, _needed(counts / "tx_bytes"))
        errors = _needed(counts / "rx_errors") + _needed(counts / "tx_errors")
        yield Reading("port_errors_total", target, errors)
        if (downs := _number(port / "carrier_down_count")) is not None:
            yield Reading("port_link_down_total", target, downs)

    def _infiniband(self) -> Iterator[Reading]:
        for port in sorted((self._sys / "class/infiniband").glob("*/ports/*")):
            target = Target(node=self.target.node, port=f"{port.parents[1].name}:{port.name}")
            state = _read(port / "state").partition(":")[0]
            yield Reading("port_up", target, float(state == IB_ACTIVE))
            for metric, file, factor in (
                ("port_receive_bytes_total", "port_rcv_data", IB_OCTETS),
                ("port_transmit_bytes_total", "port_xmit_data", IB_OCTETS),
                ("port_errors_total", "symbol_error", 1),
                ("port_link_down_total", "link_downed", 1),
            ):
                if (count := _number(port / "counters" / file)) is not None:
                    yield Reading(metric, target, count * factor)

    def volumes(self, problems: list[Problem]) -> Iterator[Volume]:
        """Ask every volume at once; one that hangs is a Problem until it answers again."""
        wanted = self._volumes or self._mounted(problems)
        found = self._statvfs.wait_for({path: partial(_timed_statvfs, path) for path in wanted})
        for path, result in found.items():
            if isinstance(result, Stuck):
                text = f"{path}: {result}. See whether its file server is up."
                problems.append(Problem(self.name, "volume_hung", text))
            elif isinstance(result, Exception):
                text = f"{path}: {result}. Check host.volumes."
                problems.append(Problem(self.name, "volume_unreadable", text))
            else:
                yield Volume(Target(node=self.target.node, volume=path), *result)

    def _mounted(self, problems: list[Problem]) -> tuple[str, ...]:
        """Return one mount point of each file system that holds data, the shortest path of it."""
        try:
            lines = self._text("filesystems").splitlines()
            on_disk = {line.strip() for line in lines if not line.startswith("nodev")}
            mounted = mounts(self._proc)
        except OSError as error:
            text = f"listing this machine's volumes: {error}. Name them in host.volumes."
            problems.append(Problem(self.name, "host_volumes", text))
            return ()
        wanted = (on_disk | NETWORK_FS) - _IMAGE_FS
        shortest: dict[str, str] = {}
        for mount in mounted:
            known = shortest.get(mount.device, mount.path + " ")
            if mount.kind in wanted and len(mount.path) < len(known):
                shortest[mount.device] = mount.path
        return tuple(sorted(shortest.values()))

    def _text(self, name: str) -> str:
        return _read(self._proc / name)


def _timed_statvfs(path: str) -> tuple[os.statvfs_result, float]:
    began_s = time.monotonic()
    found = os.statvfs(path)
    return found, time.monotonic() - began_s


def _of_volume(target: Target, found: os.statvfs_result) -> Iterator[Reading]:
    if found.f_blocks:
        # As df counts: blocks kept for root are not available, so they count as used.
        yield Reading("volume_used_ratio", target, 1 - found.f_bavail / found.f_blocks)
    if found.f_files:
        yield Reading("volume_inodes_used_ratio", target, 1 - found.f_ffree / found.f_files)
    yield Reading("volume_readonly", target, float(bool(found.f_flag & os.ST_RDONLY)))


def _read(path: Path) -> str:
    """Return what a file says: at half the cost of ``read_text``, which is for longer ones."""
    with path.open("rb", buffering=0) as file:
        return file.readall().decode(errors="replace")


def _needed(path: Path) -> float:
    return float(_read(path))


def _number(path: Path) -> float | None:
    """Return the number in a file; None where it is missing or, link down, not to be read."""
    try:
        return _needed(path)
    except OSError:
        return None


def _unescaped(path: str) -> str:
    r"""Return a mount point as it is: the kernel writes a space as ``\040`` (fstab(5))."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)
