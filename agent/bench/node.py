"""What the node service costs: memory, processor time and its page, beside node_exporter's.

Two services run at once, one that reads every 15 s and one every second, of this machine and of
eight GPUs that the test driver plays; Prometheus' place is taken by a scrape at the same pace.
"""

import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from agent.lab.nvml.build import build
from agent.lab.nvml.scenario import VARIABLE, Scenario
from agent.node_process import MEMORY
from core.errors import ActionFailed
from core.figures import Row, at_most

EXPORTER = "prometheus-node-exporter"
START_S, SETTLE_S = 120.0, 5.0
PAGES = 30
DAY_H, QUICK_H = 24.0, 3.0
NO_COMPILED = "PYTHONDONTWRITEBYTECODE"
_TICKS = os.sysconf("SC_CLK_TCK")
_GOALS = {1.0: 0.03, 15.0: 0.005}


@dataclass(frozen=True, slots=True)
class Watched:
    """A process with a page; ``every_s``: how often it is scraped."""

    pid: int
    port: int
    every_s: float

    def scrape(self) -> tuple[float, int]:
        """Fetch the page; return its time in ms, and its length in bytes."""
        started_s = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/metrics")
            length = len(connection.getresponse().read())
        finally:
            connection.close()
        return (time.perf_counter() - started_s) * 1e3, length

    def cpu_s(self) -> float:
        """Return the processor time of all its threads until now."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / _TICKS

    def rss_mib(self) -> float:
        """Return its resident memory."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def node_rows(*, quick: bool = False) -> tuple[Row, ...]:
    """Measure for a minute and a virtual day; quick: for 20 s and three virtual hours."""
    span_s = 20.0 if quick else 60.0
    with tempfile.TemporaryDirectory(prefix="gpumedic-bench-") as folder, ExitStack() as stack:
        at = Path(folder)
        build(at)
        scenario = Scenario(at / "nvml.txt")
        environ = compiled() | {"LD_LIBRARY_PATH": folder, VARIABLE: str(scenario.path)}
        services = {
            every_s: stack.enter_context(service(environ, every_s)) for every_s in (1.0, 15.0)
        }
        exporter = stack.enter_context(node_exporter())
        watched = [*services.values(), *([exporter] if exporter else [])]
        spent = watch(watched, span_s)
        pages = sorted(services[1.0].scrape()[0] for _ in range(PAGES))
        size = services[1.0].scrape()[1]
        rows = [
            at_most("rss_mib", max(s.rss_mib() for s in services.values()), 60.0, unit="MiB"),
            *(_cpu(every_s, spent[each.pid], span_s) for every_s, each in services.items()),
            at_most(
                "metrics_page_ms",
                statistics.median(pages),
                20.0,
                unit="ms",
                low=pages[0],
                high=pages[-1],
                n=PAGES,
                note=f"median; {size / 1024:.0f} KiB",
            ),
            *_exporter(exporter, spent, span_s),
        ]
    return (*rows, day_row(QUICK_H if quick else DAY_H))


def compiled() -> dict[str, str]:
    """Return an environment in which the service's imports are compiled, as where it is installed.

    A process that compiles it at its start keeps the memory that this took.
    """
    environ = {key: value for key, value in os.environ.items() if key != NO_COMPILED}
    command = [sys.executable, "-P", "-c", "import agent.node_process, pynvml"]
    subprocess.run(command, env=environ, check=True)  # noqa: S603
    return environ


def _cpu(every_s: float, spent_s: float, span_s: float) -> Row:
    note = f"share of one core over {span_s:g} s, read and scraped every {every_s:g} s"
    goal = _GOALS[every_s]
    return at_most(f"cpu_ratio_{every_s:g}s", spent_s / span_s, goal, unit="ratio", note=note)


def _exporter(
    exporter: Watched | None, spent: Mapping[int, float], span_s: float
) -> tuple[Row, ...]:
    if exporter is None:
        note = f"{EXPORTER} is not on PATH"
        return (Row("node_exporter_rss_mib", None, "MiB", note=note),)
    pages = sorted(exporter.scrape()[0] for _ in range(PAGES))
    ratio = spent[exporter.pid] / span_s
    return (
        Row("node_exporter_rss_mib", exporter.rss_mib(), "MiB", note="it reads no GPU"),
        Row("node_exporter_cpu_ratio_15s", ratio, "ratio", note="scraped every 15 s"),
        Row("node_exporter_page_ms", statistics.median(pages), "ms", n=PAGES, note="median"),
    )


def watch(watched: Sequence[Watched], span_s: float) -> dict[int, float]:
    """Scrape each at its pace for so long; return the processor time each took, by its PID."""
    time.sleep(SETTLE_S)
    before = {each.pid: each.cpu_s() for each in watched}
    started_s = time.monotonic()
    due_s = {each.pid: started_s for each in watched}
    while (now_s := time.monotonic()) < started_s + span_s:
        for each in watched:
            if now_s >= due_s[each.pid]:
                each.scrape()
                due_s[each.pid] += each.every_s
        time.sleep(0.05)
    return {each.pid: each.cpu_s() - before[each.pid] for each in watched}


@contextmanager
def service(environ: Mapping[str, str], every_s: float) -> Iterator[Watched]:
    """Run a node service that reads so often."""
    port = _free_port()
    command = [sys.executable, "-P", "-m", "agent.cli", "node", "--listen", f"127.0.0.1:{port}"]
    settings = {"GPUMEDIC__HOST__INTERVAL": f"{every_s:g}s", "GPUMEDIC__LOG__LEVEL": "warning"}
    with _running(command, {**environ, **settings}) as process:
        yield _answering(Watched(process.pid, port, every_s), process)


@contextmanager
def node_exporter() -> Iterator[Watched | None]:
    """Run Debian's node_exporter as it comes; None where it is not installed."""
    program = shutil.which(EXPORTER)
    if program is None:
        yield None
        return
    port = _free_port()
    command = [program, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    with _running(command, os.environ) as process:
        yield _answering(Watched(process.pid, port, 15.0), process)


def day_row(hours: float) -> Row:
    """Let the service's parts live so long in a child that moves their clock; return the growth."""
    with tempfile.TemporaryDirectory(prefix="gpumedic-bench-") as folder:
        at = Path(folder)
        build(at)
        driver = {"LD_LIBRARY_PATH": folder, VARIABLE: str(at / "nvml.txt")}
        command = [sys.executable, "-P", "-m", "agent.bench.node_day", f"{hours:g}"]
        done = subprocess.run(  # noqa: S603
            command, env=compiled() | MEMORY | driver, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise ActionFailed(f"A day of the node service: {done.stderr.strip()[-500:]}")
    looks = json.loads(done.stdout)
    settled = looks[len(looks) // 3 :]  # the first hour fills what is kept: checks, events, paces
    note = (
        f"{hours:g} h on a clock that is moved, a reading and a page every 15 s, checks every "
        f"minute, an Xid an hour: median slope over the last {len(settled)} of {len(looks)} "
        f"looks, which were {min(settled):.1f} to {max(settled):.1f} MiB"
    )
    growth_mib = median_slope(settled) * len(looks)
    return at_most("growth_mib", growth_mib, 1.0, unit="MiB", n=len(settled), note=note)


def median_slope(values: Sequence[float]) -> float:
    """Return the change from one value to the next (Theil and Sen): a single step is no slope."""
    pairs = combinations(enumerate(values), 2)
    return statistics.median((late - early) / (j - i) for (i, early), (j, late) in pairs)


@contextmanager
def _running(
    command: Sequence[str], environ: Mapping[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(  # noqa: S603
        command, env=dict(environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answering(watched: Watched, process: "subprocess.Popen[bytes]") -> Watched:
    """Wait until it shows its page."""
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and process.poll() is None:
        try:
            watched.scrape()
        except OSError:
            time.sleep(0.2)
        else:
            return watched
    raise ActionFailed(f"{process.args!r}: no page within {START_S:g} s.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
