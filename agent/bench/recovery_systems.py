"""The systems that the recovery benchmark compares: how each starts the job, and what it can do."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from agent.launch.asking import ask
from agent.launch.control import control_folder
from agent.launch.node import free_port
from core.errors import SourceUnavailable

if TYPE_CHECKING:
    from agent.bench.recovery_runs import Running

JOB = Path(__file__).parent / "recovery_job.py"
OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
ALL = ("kill", "torn", "hang", "dead_node")


@dataclass(frozen=True, slots=True)
class Start:
    """A process to start; the next waits until it listens at ``meeting``, where that is given.

    keep: it stands for no node, and is never what a fault takes
    """

    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    meeting: str = ""
    keep: bool = False


class System:
    """torchrun, with the setting that cures its shared store.

    faults: those it is put to; ``without`` says of each other why it is not
    lasts:  whether it can take fault after fault in one job
    """

    name = "torchrun, TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"
    faults: tuple[str, ...] = ALL
    without: Mapping[str, str] = MappingProxyType({})
    lasts = True
    way = "restarted"

    def __init__(self, python: str = sys.executable) -> None:
        self.python = python

    def starts(self, folder: Path, world: int, nodes: int, spares: int) -> Iterator[Start]:
        """Yield what to start, in order, for so many nodes and spare nodes."""
        meeting = f"127.0.0.1:{free_port()}"
        for node in range(nodes + spares):
            words = [*self.launcher(), "--nnodes", str(nodes)]
            words += ["--nproc-per-node", str(world // nodes), *self.joined(nodes, node, meeting)]
            # Where there are several, the first is who coordinates.
            keep, wait = (nodes > 1 and node == 0), (meeting if nodes > 1 and node == 0 else "")
            yield Start([*words, *self.job(folder)], self.environment(), wait, keep)

    def job(self, folder: Path) -> list[str]:
        """Return the script and what it is told."""
        return [str(JOB), str(folder), self.way]

    def launcher(self) -> list[str]:
        """Return the launcher's own words."""
        return [self.python, "-m", "torch.distributed.run"]

    def joined(self, nodes: int, node: int, meeting: str) -> list[str]:
        """Return how a node's launcher finds the others."""
        words = ["--max-restarts", "1000", "--monitor-interval", "0.1", "--rdzv-backend", "c10d"]
        waits = "last_call_timeout=1,keep_alive_interval=1,keep_alive_max_attempt=3"
        words += ["--rdzv-endpoint", meeting, "--rdzv-id", "bench"]
        return [*words, "--rdzv-conf", f"{waits},is_host={int(node == 0)}"]

    def environment(self) -> Mapping[str, str]:
        """Return what it is told by environment."""
        return OWN_STORE

    def is_ready(self, running: "Running") -> bool:
        """Say whether the system is as ready for a fault as it gets."""
        return all(each.poll() is None for each in running.started)

    def standbys(self, running: "Running") -> set[int]:
        """Return the processes that wait to take a rank."""
        return set()

    def clean(self, folder: Path) -> None:
        """Remove what it leaves outside the folder."""


class SharedStore(System):
    """torchrun as it is. Put to kills only: with the store, nothing else of it changes."""

    name = "torchrun"
    faults = ("kill",)
    without = MappingProxyType(
        dict.fromkeys(("torn", "hang", "dead_node"), "the store changes nothing else")
    )

    def environment(self) -> Mapping[str, str]:
        """Return what it is told by environment."""
        return {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "0"}


class Gpumedic(System):
    """``gpumedic launch``, with the hook."""

    name = "gpumedic launch"
    way = "handed_over"

    def launcher(self) -> list[str]:
        """Return the launcher's own words."""
        return [self.python, "-m", "agent.cli", "launch"]

    def joined(self, nodes: int, node: int, meeting: str) -> list[str]:
        """Return how a node's launcher finds the others."""
        words = ["--rdzv-id", "bench", "--name", "abcdefgh"[node]]
        return [*words, "--rdzv-endpoint", meeting] if nodes > 1 else words

    def is_ready(self, running: "Running") -> bool:
        """Say whether all standbys wait."""
        standbys = self._status(running).get("standbys", [])
        return bool(standbys) and all(each["ready"] for each in standbys)

    def standbys(self, running: "Running") -> set[int]:
        """Return the processes that wait to take a rank."""
        launchers = {each.pid for each in (*running.kept, *running.started)}
        children = {pid for pid, parent in running.processes().items() if parent in launchers}
        return children - running.ranks()

    def _status(self, running: "Running") -> dict[str, Any]:
        first = (*running.kept, *running.started)[0]
        try:
            return ask(control_folder() / f"bench.{first.pid}", "GET", "/v1/status")
        except SourceUnavailable:
            return {}


class HeartBeats(System):
    """NVIDIA's resiliency extension, its launcher: a rank without a heartbeat for 2 s is killed."""

    name = "NVIDIA ft_launcher"
    way = "beating"

    def launcher(self) -> list[str]:
        """Return the launcher's own words."""
        words = [str(Path(self.python).parent / "ft_launcher"), "--ignore-missing-fault-tol-cfg"]
        words += ["--ft-rank-heartbeat-timeout", "2", "--ft-initial-rank-heartbeat-timeout", "60"]
        return [*words, "--ft-workload-check-interval", "0.5", "--ft-enable-nic-monitor", "false"]


class InProcess(System):
    """NVIDIA's in-process restart with one warm spare; started without a launcher."""

    name = "NVIDIA in-process, 1 spare"
    way = "in_process"
    faults = ("kill", "hang", "dead_node")
    without = MappingProxyType({"torn": "with all ranks gone there is no process to restart in"})
    lasts = False

    def starts(self, folder: Path, world: int, nodes: int, spares: int) -> Iterator[Start]:
        """Yield a process for each rank and the spare; the first, which has the store, is kept."""
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WIDTH": str(world)}
        shared |= {"WORLD_SIZE": str(world + 1), "TORCH_CPP_LOG_LEVEL": "error"}
        for rank in range(world + 1):
            yield Start(
                [self.python, *self.job(folder)], shared | {"RANK": str(rank)}, keep=rank == 0
            )

    def standbys(self, running: "Running") -> set[int]:
        """Return the processes that wait to take a rank."""
        return {each.pid for each in running.started} - running.ranks()


class InMemory(System):
    """DLRover, each step's state kept in shared memory; its master is started beside it."""

    name = "DLRover, memory checkpoints"
    way = "in_memory"
    faults = ("kill", "torn", "hang")
    without = MappingProxyType({"dead_node": "its nodes are replaced by Kubernetes only"})

    def starts(self, folder: Path, world: int, nodes: int, spares: int) -> Iterator[Start]:
        """Yield the master and the one node's launcher."""
        meeting, name = f"127.0.0.1:{free_port()}", folder.name
        words = [self.python, "-m", "dlrover.python.master.main", "--platform", "local"]
        words += ["--node_num", "1", "--job_name", name, "--port", meeting.partition(":")[2]]
        yield Start(words, {}, meeting, keep=True)
        told = {"DLROVER_MASTER_ADDR": meeting, "ELASTIC_JOB_NAME": name, **OWN_STORE}
        words = [str(Path(self.python).parent / "dlrover-run"), "--nnodes", "1"]
        words += ["--nproc-per-node", str(world), "--max-restarts", "1000"]
        words += ["--monitor-interval", "0.1"]
        yield Start([*words, *self.job(folder)], told)

    def clean(self, folder: Path) -> None:
        """Remove its sockets and shared memory, which have the job's name."""
        for place in (Path("/dev/shm"), Path("/tmp/ckpt_sock")):  # noqa: S108  # where it puts them
            for path in place.glob(f"*{folder.name}*"):
                _remove(path)


def _remove(path: Path) -> None:
    for each in sorted(path.rglob("*"), reverse=True):
        with contextlib.suppress(OSError):
            each.rmdir() if each.is_dir() else each.unlink()
    with contextlib.suppress(OSError):
        path.rmdir() if path.is_dir() else path.unlink()


class Replicas(System):
    """torchft: each rank is a replica group under a torchrun of its own."""

    name = "torchft, heartbeats 1 s"
    way = "replicated"

    def starts(self, folder: Path, world: int, nodes: int, spares: int) -> Iterator[Start]:
        """Yield the lighthouse and a launcher for each rank; a spare node is a hot spare."""
        meeting = f"127.0.0.1:{free_port()}"
        words = [str(Path(self.python).parent / "torchft_lighthouse"), "--bind", meeting]
        words += ["--min_replicas", str(world if spares else 1), "--heartbeat_timeout_ms", "1000"]
        words += ["--join_timeout_ms", "2000"]
        yield Start(words, {}, meeting, keep=True)
        width = {"WIDTH": str(world)} if spares else {}
        for rank in range(world + spares):
            words = [*self.launcher(), "--nproc-per-node", "1"]
            words += self.joined(1, 0, f"127.0.0.1:{free_port()}")
            told = {**width, "REPLICA": str(rank)}  # it meets in the launcher's store
            told |= {"TORCHFT_LIGHTHOUSE": f"http://{meeting}"}
            yield Start([*words, *self.job(folder)], told)


@dataclass(frozen=True, slots=True)
class Peer:
    """A system that lives in an environment of its own, and what it is made of."""

    folder: str
    packages: str
    program: str
    systems: tuple[type[System], ...]

    def found(self, peers: Path) -> bool:
        """Say whether its environment is there."""
        return (peers / self.folder / "bin" / self.program).is_file()

    def how(self) -> str:
        """Say how its environment is made."""
        place = f"PEERS/{self.folder}"
        return f"python3 -m venv {place} && {place}/bin/pip install {self.packages}"


PEERS = (
    Peer("nvrx", "torch==2.13.0 nvidia-resiliency-ext", "ft_launcher", (HeartBeats, InProcess)),
    Peer(
        "dlrover",
        "torch==2.13.0 'dlrover[k8s,torch]' 'protobuf<5' setuptools",
        "dlrover-run",
        (InMemory,),
    ),
    Peer("torchft", "torch==2.13.0 torchft-nightly", "torchft_lighthouse", (Replicas,)),
)


def environment_of(folder: Path) -> dict[str, str]:
    """Return the environment of all that a job starts; by it the job's processes are found."""
    quiet = {"OMP_NUM_THREADS": "1", "RUST_LOG": "warn"}
    return os.environ | quiet | {"GPUMEDIC_BENCH": str(folder)}
