"""Look at this machine as gpumedic would use it: what works, what is missing, what would help."""

import asyncio
import fcntl
import importlib.metadata
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from agent.checks.check import worst as worst_code
from agent.collect.nvml import inventory
from agent.config.settings import Settings
from agent.database import LOCK_NAME
from agent.start import kubernetes_of, prometheus_access, slurm_access
from agent.workers import WorkerPool
from core.clock import RealClock
from core.errors import ConfigError, SourceUnavailable, WorkerFailed

CHECK_DEADLINE_S = 90.0
FREE_DISK_WANTED_BYTES = 1 << 30
FIT_LIMIT_S = 80.0
SELF_TEST = "detectors.forecast.self_test:self_test"
REFERENCE_TEST = "detectors.forecast.prophet.reference:self_test"
SYSTEMD_RUNS = Path("/run/systemd/system")  # sd_booted(3)
BASE = (
    "numpy",
    "nvidia-ml-py",
    "prometheus-client",
    "apscheduler",
    "httpx2",
    "starlette",
    "uvicorn",
)
CONTROLLER = ("numba", "dowhy", "pandas", "torch", "prometheus-api-client", "jinja2", "pyarrow")
CONTROLLER_REMEDY = "pip install 'gpumedic[controller]'"
TRAIN = ("stable-baselines3", "sb3-contrib", "gymnasium")


class Status(IntEnum):
    """Nagios' four, which are also the exit codes."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; ``remedy`` is empty where nothing needs to be done."""

    name: str
    status: Status
    found: str
    remedy: str = ""


async def examine(settings: Settings, *, only: Sequence[str] = ()) -> tuple[Check, ...]:
    """Make every check at once, each with a deadline; a check that breaks is itself a finding.

    only: names of the checks to make; empty: all
    """
    checks: Sequence[tuple[str, Callable[[], Awaitable[Check]]]] = (
        ("python", _python),
        ("packages", lambda: _packages("packages", BASE, extra="")),
        ("controller", lambda: _packages("controller", CONTROLLER, extra="controller")),
        ("train", lambda: _packages("train", TRAIN, extra="train")),
        ("pynvml", _one_pynvml),
        ("gpu", _gpu),
        ("prometheus", lambda: _prometheus(settings)),
        ("slurm", lambda: _slurm(settings)),
        ("kubernetes", lambda: _kubernetes(settings)),
        ("kernel log", _kernel_log),
        ("state folder", lambda: _state(settings.state_dir)),
        ("forecast", _forecast),
        ("prophet", _prophet),
        ("systemd", _systemd),
    )
    wanted = [(name, check) for name, check in checks if not only or name in only]
    return tuple(await asyncio.gather(*(_within(name, check) for name, check in wanted)))


def worst(checks: Sequence[Check]) -> Status:
    """Return the worst status, critical before unknown before warning."""
    return Status(worst_code(check.status for check in checks))


async def _within(name: str, check: Callable[[], Awaitable[Check]]) -> Check:
    try:
        async with asyncio.timeout(CHECK_DEADLINE_S):
            return await check()
    except TimeoutError:
        text = f"no answer within {CHECK_DEADLINE_S:g} s"
        return Check(name, Status.UNKNOWN, text, "Try again; report it if it stays so.")
    except Exception as error:
        found = f"looking at it failed: {type(error).__name__}: {error}"
        return Check(name, Status.UNKNOWN, found, "`gpumedic --debug doctor` says more; report it.")


async def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        return Check("python", Status.OK, found)
    return Check("python", Status.CRITICAL, found, "Install Python 3.11, 3.12 or 3.13.")


async def _packages(name: str, wanted: Sequence[str], *, extra: str) -> Check:
    versions = {package: _installed(package) for package in wanted}
    missing = [package for package, version in versions.items() if version is None]
    if missing:
        package = f"gpumedic[{extra}]" if extra else "gpumedic"
        status = Status.WARNING if extra else Status.CRITICAL
        return Check(name, status, f"missing: {', '.join(missing)}", f"pip install '{package}'")
    return Check(name, Status.OK, ", ".join(f"{p} {v}" for p, v in versions.items()))


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


async def _one_pynvml() -> Check:
    """Both packages install a module ``pynvml``; whichever came last wins, silently."""
    if _installed("pynvml") is None:
        return Check("pynvml", Status.OK, "only nvidia-ml-py provides the module pynvml")
    return Check(
        "pynvml",
        Status.WARNING,
        "the deprecated package pynvml is installed beside nvidia-ml-py",
        "pip uninstall pynvml && pip install --force-reinstall nvidia-ml-py",
    )


async def _gpu() -> Check:
    found = await asyncio.to_thread(inventory)
    if found.gpus:
        names = ", ".join(sorted({gpu.name for gpu in found.gpus}))
        return Check("gpu", Status.OK, f"driver {found.driver}: {len(found.gpus)} GPUs ({names})")
    return Check(
        "gpu",
        Status.WARNING,
        found.missing,
        "On a GPU node install NVIDIA's driver; elsewhere nothing needs to be done.",
    )


async def _prometheus(settings: Settings) -> Check:
    if _installed("prometheus-api-client") is None:
        found, remedy = "not looked for: prometheus-api-client is not installed", CONTROLLER_REMEDY
        return Check("prometheus", Status.WARNING, found, remedy)
    from agent.collect.prometheus import probe  # noqa: PLC0415 - not in the base install

    answer = await probe(prometheus_access(settings), clock=RealClock())
    if answer.found:
        return Check("prometheus", Status.OK, answer.text)
    return Check(
        "prometheus",
        Status.WARNING,
        answer.text,
        "Start one, or name yours: gpumedic controller --prometheus http://HOST:9090.",
    )


async def _slurm(settings: Settings) -> Check:
    """Ask the Slurm that is set, or that is found here."""
    access = slurm_access(settings)
    folder = str(access.programs) if access.programs else None
    if shutil.which("sinfo", path=folder) is None:
        return Check(
            "slurm",
            Status.WARNING,
            f"sinfo is not {f'in {folder}' if folder else 'on PATH'}",
            "On a Slurm cluster install slurm-client here; elsewhere nothing needs to be done.",
        )
    from agent.act.slurm.calls import Calls  # noqa: PLC0415
    from agent.act.slurm.checking import examined  # noqa: PLC0415

    try:
        found, better = await examined(Calls(access), clock=RealClock())
    except SourceUnavailable as error:
        wanted = settings.scheduler.backend == "slurm"
        status = Status.CRITICAL if wanted else Status.WARNING
        return Check("slurm", status, str(error), "Start slurmctld, or set slurm.conf.")
    status = Status.WARNING if better else Status.OK
    return Check("slurm", status, found, "; ".join(better))


async def _kubernetes(settings: Settings) -> Check:
    """Ask the Kubernetes that is set; where none is, it is not looked for."""
    if settings.scheduler.backend != "kubernetes":
        found = f'scheduler.backend is "{settings.scheduler.backend}"'
        return Check("kubernetes", Status.OK, f"not asked: {found}")
    from agent.act.kubernetes.checking import examined  # noqa: PLC0415

    try:
        found, better = await examined(kubernetes_of(settings, clock=RealClock()))
    except (SourceUnavailable, ConfigError) as error:
        remedy = "Correct [kubernetes], or give it the rights of deploy/kubernetes.yaml."
        return Check("kubernetes", Status.CRITICAL, str(error), remedy)
    status = Status.WARNING if better else Status.OK
    return Check("kubernetes", status, found, "; ".join(better))


async def _kernel_log() -> Check:
    if os.access("/dev/kmsg", os.R_OK):
        return Check("kernel log", Status.OK, "/dev/kmsg is readable")
    return Check(
        "kernel log",
        Status.WARNING,
        "/dev/kmsg is not readable for this user",
        "Give the node service CAP_SYSLOG, or its user the group systemd-journal.",
    )


async def _state(folder: Path) -> Check:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(existing, os.W_OK):
        return Check(
            "state folder",
            Status.CRITICAL,
            f"{folder} cannot be written by this user",
            "Make it writable, or set state_dir.",
        )
    free = shutil.disk_usage(existing).free
    held = " (a controller holds it)" if _held(folder / LOCK_NAME) else ""
    found = f"{folder}: {free / 2**30:.1f} GiB free{held}"
    if free < FREE_DISK_WANTED_BYTES:
        return Check("state folder", Status.WARNING, found, "Make room: 1 GiB or more is good.")
    return Check("state folder", Status.OK, found)


def _held(lock: Path) -> bool:
    """Say whether a process holds the lock; the file alone outlives its holder."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


async def _forecast() -> Check:
    """Forecast a few series in a worker, as a refit does."""
    if _installed("numba") is None:
        return Check("forecast", Status.WARNING, "numba is not installed", CONTROLLER_REMEDY)
    try:
        took_s = await _trial(SELF_TEST)
    except WorkerFailed as error:
        remedy = "pip install --force-reinstall numba, or report it."
        return Check("forecast", Status.CRITICAL, str(error), remedy)
    found = f"the pool and fleet Prophet work: a trial took {took_s:.1f} s, imports included"
    return Check("forecast", Status.OK, found)


async def _prophet() -> Check:
    """Fit a series with facebook's own package; its back end is what breaks.

    Only ``model = "prophet"`` needs it.
    """
    if _installed("prophet") is None:
        found = 'not installed; only forecasts with model = "prophet" need it'
        return Check("prophet", Status.WARNING, found, CONTROLLER_REMEDY)
    try:
        took_s = await _trial(REFERENCE_TEST)
    except WorkerFailed as error:
        remedy = "pip install --force-reinstall 'prophet==1.5.0' 'cmdstanpy==1.3.2'"
        return Check("prophet", Status.WARNING, str(error), remedy)
    found = f"facebook's package, the reference, works: a trial fit took {took_s:.1f} s"
    return Check("prophet", Status.OK, found)


async def _trial(function: str) -> float:
    """Return the seconds that a self-test took in a worker."""
    async with WorkerPool(1, time_limit_s=FIT_LIMIT_S, memory_bytes=2 << 30) as pool:
        took_s: float = await pool.run(function, None)
    return took_s


async def _systemd() -> Check:
    if await asyncio.to_thread(SYSTEMD_RUNS.is_dir):
        return Check("systemd", Status.OK, "running; units are in deploy/systemd")
    return Check(
        "systemd",
        Status.WARNING,
        "systemd does not run here",
        "Start `gpumedic node` or `gpumedic controller` by your own supervisor.",
    )
