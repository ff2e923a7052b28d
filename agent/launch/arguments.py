"""Torchrun's arguments, read into a plan."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agent.launch.plan import Plan
from core.errors import InputError

_BACKENDS = ("static", "c10d")
DEFAULT_PORT = 29400
_LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the coordinator of several nodes listens."""

    host: str
    port: int


def node_counts(text: str) -> tuple[int, int]:
    """Read ``N`` or ``MIN:MAX``."""
    low, _, high = text.partition(":")
    try:
        least, most = int(low), int(high or low)
    except ValueError:
        least, most = 0, 0
    if not 1 <= least <= most:
        raise InputError(f"--nnodes {text}: write N or MIN:MAX, such as 2 or 1:4.")
    return least, most


def ranks_per_node(text: str) -> int:
    """Read a number, ``cpu``, ``gpu`` or ``auto``: GPUs where there are any, else CPUs."""
    if text.isdigit() and int(text) > 0:
        return int(text)
    gpus = _gpus()
    match text:
        case "cpu":
            return os.cpu_count() or 1
        case "gpu" if gpus:
            return gpus
        case "auto":
            return gpus or os.cpu_count() or 1
    found = f"found {gpus} GPUs" if text == "gpu" else "that is no number of ranks"
    raise InputError(f"--nproc-per-node {text}: {found}. Write 1 or more, auto, cpu or gpu.")


def endpoint(text: str) -> Endpoint:
    """Read ``HOST`` or ``HOST:PORT``."""
    host, _, port = text.partition(":")
    if not host or (port and not port.isdigit()) or int(port or DEFAULT_PORT) > _LAST_PORT:
        raise InputError(
            f"Meeting at {text}: write HOST or HOST:PORT, with a port up to {_LAST_PORT}, for "
            "--rdzv-endpoint or for --master-addr and --master-port."
        )
    return Endpoint(host, int(port or DEFAULT_PORT))


def files(script: Sequence[str] | None, journal: Path | None, log_dir: Path | None) -> None:
    """Refuse files that are not there or cannot be written, before any process is started.

    script: Python's own and its arguments; None for a module or another program
    """
    if script and not script[0].startswith("-") and not Path(script[0]).exists():
        raise InputError(
            f"Starting {script[0]}: there is no such file in {Path.cwd()}. Name the script by a "
            "path from here; -m starts a module, and --no-python a program."
        )
    try:
        if journal is not None:
            journal.open("a").close()
        if log_dir is not None:
            log_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"Writing to {error.filename}: {error.strerror}. --journal takes a file in a folder "
            "that is there, --log-dir a folder; both where this user may write."
        ) from None


def backend(text: str) -> None:
    """Check that our rendezvous can stand in for the one that was asked for."""
    if text not in _BACKENDS:
        raise InputError(
            f"--rdzv-backend {text}: gpumedic has a rendezvous of its own, which stands in for "
            f"{' and '.join(_BACKENDS)}. Leave it out, or use torchrun."
        )


def with_waits(plan: Plan, text: str) -> Plan:
    """Read --rdzv-conf, ``key=value,...``: join_timeout (or timeout), last_call_timeout.

    Torchrun's other keys tune its own rendezvous, and do not apply.
    """
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        try:
            if key in ("join_timeout", "timeout"):
                plan = replace(plan, join_timeout_s=float(value))
            elif key == "last_call_timeout":
                plan = replace(plan, last_call_s=float(value))
        except ValueError:
            raise InputError(f"--rdzv-conf {part}: {value!r} is no number of seconds.") from None
    return plan


def local_address(remote: Endpoint | None) -> str:
    """Return the address by which others reach this machine."""
    if remote is None:
        return "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((remote.host, remote.port))
        return str(probe.getsockname()[0])


def _gpus() -> int:
    """Count NVIDIA's devices, without importing anything of the training."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([each for each in visible.split(",") if each.strip() not in ("", "-1")])
    try:
        names = os.listdir("/proc/driver/nvidia/gpus")  # noqa: PTH208
    except OSError:
        return 0
    return len(names)
