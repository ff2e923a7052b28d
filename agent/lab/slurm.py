"""A real Slurm on this machine: slurmctld and some slurmd with made-up GPUs, on loopback.

Any user may start one. Nothing outside its folder is written, and what it started is found again
by the slurm.conf that each of its processes carries in its environment, so that nothing of it is
left and nothing else is touched.
"""

import getpass
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.lab import slurm_munge
from agent.lab.wires import HUB, Wires
from core.errors import InputError

PROGRAMS = ("slurmctld", "slurmd", "scontrol", "sinfo", "squeue", "sbatch", "srun", "scancel")
INSTALL = (
    "apt-get install --no-install-recommends slurmctld slurmd slurm-client slurm-wlm-basic-plugins "
    "munge"
)
LAB_NODE = "GPUMEDIC_LAB_NODE"
START_S = 60.0
END_S = 15.0
LAST_LINES = 20
# Character devices that every user may name and nobody opens: Slurm counts no other files.
DEVICES = "/dev/tty[0-{last}]"
_CONF = """ClusterName=lab
SlurmctldHost={host}
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/{auth}
CredType=cred/{auth}
AuthInfo={auth_info}cred_expire={cred_expire_s}
{bound}
SrunPortRange={srun_first}-{srun_last}
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
RebootProgram={folder}/reboot
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1
SlurmctldTimeout=10
SlurmdTimeout={slurmd_timeout_s}
MessageTimeout={message_s}
KillWait=2
ReturnToService=1
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=DEFAULT CPUs=16 Sockets=1 CoresPerSocket=16 ThreadsPerCore=1 RealMemory=64000 {gres}
{nodes}
PartitionName=gpu Nodes={prefix}[1-{count}] Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True, slots=True)
class SlurmLabSettings:
    """How large it is and how quick.

    gpus: of each node, eight at most
    cred_expire_s: a requeued job is held for so long and a second; Slurm's own is 120, the least 5
    message_s: Slurm tries to reach a node for so long before it marks it silent; Slurm's own: 10
    slurmd_timeout_s: a node that does not answer for about twice as long is down; Slurm's: 300
    munge: who speaks to whom is proved by munge, as on sites; False: everybody is believed
    programs: folder of Slurm's programs; None: on PATH
    """

    nodes: int = 4
    gpus: int = 8
    prefix: str = "n"
    cred_expire_s: int = 5
    message_s: int = 3
    slurmd_timeout_s: int = 6
    munge: bool = False
    programs: Path | None = None


@dataclass(slots=True)
class SlurmLab:
    """One cluster in a folder of its own; ``start`` it, and ``stop`` it whatever happened.

    wires: nodes with a network and a host name of their own; None: all on loopback
    """

    folder: Path
    settings: SlurmLabSettings = SlurmLabSettings()
    wires: Wires | None = None
    _daemons: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def conf(self) -> Path:
        """Return its slurm.conf."""
        return self.folder / "slurm.conf"

    @property
    def nodes(self) -> tuple[str, ...]:
        """Return its nodes' names."""
        return tuple(f"{self.settings.prefix}{n}" for n in range(1, self.settings.nodes + 1))

    @property
    def environ(self) -> Mapping[str, str]:
        """Return the environment in which Slurm's programs speak to this cluster."""
        return {**os.environ, "SLURM_CONF": str(self.conf), "LC_ALL": "C"}

    def start(self) -> None:
        """Start it and return once every node is idle; InputError where that cannot be."""
        if missing := self.missing():
            raise InputError(
                f"Starting a Slurm in {self.folder}: {', '.join(missing)} not found. {INSTALL}"
            )
        for name in ("ctld", "log", "run", *(f"spool-{node}" for node in self.nodes)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        if self.wires:
            self.wires.lay()
        self._configure()
        if self.settings.munge:
            self._run_daemon(slurm_munge.PROGRAM, *slurm_munge.prepared(self.folder))
            self.wait_for(slurm_munge.socket_in(self.folder).exists, within_s=START_S)
        self._run_daemon("slurmctld", "slurmctld", "-D", "-c")
        for node in self.nodes:
            self._run_daemon(node, "slurmd", "-D", "-N", node)
        self.wait_for(lambda: len(self.in_state("idle")) == self.settings.nodes, within_s=START_S)

    def stop(self) -> None:
        """End every process of it, whoever started it, and wait until they are gone."""
        for daemon in self._daemons.values():
            daemon.terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(timeout=END_S)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
        until_s = time.monotonic() + END_S
        while left := self.processes():
            for pid in left:
                _kill(pid, signal.SIGKILL)
            if time.monotonic() > until_s:
                raise InputError(f"Stopping the Slurm in {self.folder}: {left} do not end.")
            time.sleep(0.02)
        if self.wires:
            self.wires.remove()

    def missing(self) -> tuple[str, ...]:
        """Return which of Slurm's programs are not here."""
        munge = (slurm_munge.PROGRAM,) if self.settings.munge else ()
        return (
            *(name for name in PROGRAMS if self._program(name) is None),
            *(name for name in munge if shutil.which(name) is None),
        )

    def run(self, *argv: str, timeout_s: float = 20.0) -> str:
        """Run one of Slurm's programs against it; InputError where it fails."""
        done = subprocess.run(  # noqa: S603 - a list of arguments of our own
            self._argv(HUB, argv),
            env=dict(self.environ),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            raise InputError(f"`{' '.join(argv)}` ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def submit(self, script: str, *options: str) -> str:
        """Submit a batch script; return the job's id."""
        path = self.folder / f"job-{random.randrange(1 << 40):x}.sh"  # noqa: S311 - a file's name
        path.write_text(script)
        said = self.run("sbatch", "--parsable", *options, str(path))
        return said.strip().partition(";")[0]

    def in_state(self, state: str) -> tuple[str, ...]:
        """Return the nodes in a state, as sinfo calls it."""
        said = self._asked("sinfo", "-h", "-N", "-t", state, "-o", "%N")
        return tuple(dict.fromkeys(said.split()))

    def job(self, job_id: str) -> tuple[str, tuple[str, ...]]:
        """Return a job's state and nodes; empty where Slurm knows it no more."""
        asked = ("squeue", "-h", "--states=all", f"--jobs={job_id}", "--format=%T %N")
        state, _, nodes = self._asked(*asked).strip().partition(" ")
        names = self.run("scontrol", "show", "hostnames", nodes).split() if nodes else ()
        return state, tuple(names)

    def kill_slurmd(self, node: str) -> None:
        """End a node's slurmd at once; the jobs' processes live on, as on a real node."""
        daemon = self._daemons.pop(node)
        daemon.kill()
        daemon.wait()

    def kill_node(self, *nodes: str) -> None:
        """End all that runs on a node at once, jobs included; nobody is left to tell of it."""
        for node in nodes:
            self.kill_slurmd(node)
        for mark in (_node_mark, _task_mark):  # who would tell goes first
            for node in nodes:
                for pid in self._marked(mark(node)):
                    _kill(pid, signal.SIGKILL)

    def revive(self, node: str, *, booted: bool = False) -> None:
        """Start a node's slurmd again; ``booted``: as after a reboot."""
        self._run_daemon(node, "slurmd", "-D", *(["-b"] if booted else []), "-N", node)

    def pause_controller(self, *, paused: bool) -> None:
        """Let slurmctld stand still, or go on: it is there and does not answer."""
        self._daemons["slurmctld"].send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def kill_controller(self) -> None:
        """End slurmctld at once."""
        self.kill_slurmd("slurmctld")

    def revive_controller(self) -> None:
        """Start slurmctld again with the state that it has saved."""
        self._run_daemon("slurmctld", "slurmctld", "-D")

    def reboots(self) -> int:
        """Return how often a node was told to reboot."""
        told = self.folder / "reboots"
        return len(told.read_text().splitlines()) if told.exists() else 0

    def processes(self, node: str = "") -> tuple[int, ...]:
        """Return the processes of it that live, or of one node: its slurmd, steps and tasks."""
        if not node:
            return self._marked(b"")
        return (*self._marked(_node_mark(node)), *self._marked(_task_mark(node)))

    def _marked(self, mark: bytes) -> tuple[int, ...]:
        """Return the processes of it that have such a variable; b"": all."""
        ours = f"SLURM_CONF={self.conf}".encode()
        found = []
        for pid in _pids():
            variables = _environ(pid)
            # A step's own process forgets its variables from 24.11 on; it works in the folder.
            is_ours = ours in variables or (not mark and self._works_here(pid))
            if is_ours and (not mark or mark in variables) and pid != os.getpid():
                found.append(pid)
        return tuple(found)

    def _works_here(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/cwd").readlink().is_relative_to(self.folder)
        except OSError:  # it has ended, or is somebody else's
            return False

    def wait_for(self, true: Callable[[], bool], *, within_s: float) -> None:
        """Wait until something is so; InputError, with the logs' ends, where it does not come."""
        until_s = time.monotonic() + within_s
        while not true():
            if time.monotonic() > until_s:
                waited = f"Waiting on the lab's Slurm: nothing came in {within_s:g} s."
                raise InputError(f"{waited}\n{self.last_words()}")
            time.sleep(0.05)

    def last_words(self) -> str:
        """Return the end of each daemon's log."""
        logs = sorted((self.folder / "log").glob("*.log"))
        return "\n".join(
            "\n".join((f"{log.name}:", *log.read_text(errors="replace").splitlines()[-LAST_LINES:]))
            for log in logs
        )

    def _asked(self, *argv: str) -> str:
        """Return what a program says; nothing while slurmctld does not answer."""
        try:
            return self.run(*argv)
        except (InputError, subprocess.TimeoutExpired):
            return ""

    def _program(self, name: str) -> str | None:
        folder = self.settings.programs
        return shutil.which(name, path=str(folder) if folder else None)

    def _argv(self, where: str, argv: Sequence[str]) -> list[str]:
        """Return what runs one of Slurm's programs on a node, or where slurmctld runs."""
        found = [self._program(argv[0]) or argv[0], *argv[1:]]
        return self.wires.inside(where, found) if self.wires else found

    def bin(self) -> Path | None:
        """Return a folder with Slurm's programs as they must be run to reach this cluster."""
        if self.wires is None:
            return self.settings.programs
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        for name in PROGRAMS:
            script = folder / name
            line = shlex.join(self._argv(HUB, [name]))
            script.write_text(f'#!/bin/sh\nexec {line} "$@"\n')
            script.chmod(0o755)
        return folder

    def _run_daemon(self, name: str, *argv: str) -> None:
        with (self.folder / "log" / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(  # noqa: S603 - a list of arguments of our own
                self._argv(name if name in self.nodes else HUB, argv),
                env={**self.environ, LAB_NODE: name},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _configure(self) -> None:
        count, prefix = self.settings.nodes, self.settings.prefix
        port = free_ports(count + 1 + 200)
        addresses = self.wires.addresses() if self.wires else {}
        rows = [
            f"NodeName={node} NodeAddr={addresses.get(node, '127.0.0.1')} Port={port + at}"
            f" NodeHostname={node if self.wires else 'localhost'}"
            for at, node in enumerate(self.nodes, start=1)
        ]
        host = HUB if self.wires else socket.gethostname()
        socket_of = slurm_munge.socket_in(self.folder)
        text = _CONF.format(
            auth="munge" if self.settings.munge else "none",
            auth_info=f"socket={socket_of}," if self.settings.munge else "",
            host=f"{host}({addresses.get(HUB, '127.0.0.1')})",
            bound="" if self.wires else "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny",
            port=port,
            user=getpass.getuser(),
            srun_first=port + count + 1,
            srun_last=port + count + 200,
            folder=self.folder,
            gres=f"Gres=gpu:h100:{self.settings.gpus}",
            nodes="\n".join(rows),
            prefix=prefix,
            count=count,
            cred_expire_s=self.settings.cred_expire_s,
            message_s=self.settings.message_s,
            slurmd_timeout_s=self.settings.slurmd_timeout_s,
        )
        self.conf.write_text(text)
        devices = DEVICES.format(last=self.settings.gpus - 1)
        gres = f"NodeName={prefix}[1-{count}] Name=gpu Type=h100 File={devices}\n"
        (self.folder / "gres.conf").write_text(gres)
        reboot = self.folder / "reboot"
        reboot.write_text(f"#!/bin/sh\necho told >> {self.folder}/reboots\n")
        reboot.chmod(0o755)


@contextmanager
def slurm_lab(
    folder: Path, settings: SlurmLabSettings = SlurmLabSettings(), *, wired: bool = False
) -> Iterator[SlurmLab]:
    """Have a cluster for a while; nothing of it is left afterwards.

    wired: each node has a network of its own, whose link can be cut; needs root
    """
    lab = SlurmLab(folder, settings)
    if wired:
        lab.wires = Wires(lab.nodes, folder / "wires")
    try:
        lab.start()
        yield lab
    finally:
        lab.stop()


def _node_mark(node: str) -> bytes:
    """Return the variable of a node's slurmd and of the steps that it starts."""
    return f"{LAB_NODE}={node}".encode()


def _task_mark(node: str) -> bytes:
    """Return the variable of what jobs run on a node."""
    return f"SLURMD_NODENAME={node}".encode()


def free_ports(count: int) -> int:
    """Return the first of so many ports in a row that nobody listens on now."""
    for _ in range(100):
        first = random.randrange(20_000, 32_000 - count)  # noqa: S311 - a port, no secret
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise InputError(f"Starting a Slurm: no {count} free ports in a row between 20000 and 32000.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _pids() -> Sequence[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _environ(pid: int) -> frozenset[bytes]:
    """Return a process's variables; none of one that has ended or is somebody else's."""
    try:
        return frozenset(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return frozenset()


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
