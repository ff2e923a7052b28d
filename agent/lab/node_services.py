"""A node service beside each node of a lab, over GPUs of the test driver, and a real Prometheus.

The nodes share this machine: each has a GPU of its own by the driver's library, and only what is of
a GPU or a rank is read, for the rest would be the same of all.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

from agent.checks.suite import Wanted
from agent.lab.nvml.build import build
from agent.lab.nvml.scenario import GPU_IS_LOST, HGX, VARIABLE, Scenario
from agent.launch.node import free_port
from agent.node_plan import NodePlan, written
from core.errors import InputError
from core.target import Target

FALLEN_OFF_THE_BUS = 79
START_S, LOOK_S, ASK_S = 120.0, 0.1, 10.0
MEMORY_BYTES = 70_204_260_352
# The GPU whose loss is to be told is known by then, and who is on it.
_KNOWN = 'count(gpumedic_gpu_answers == 1 and on (gpu) gpumedic_gpu_job_processes{job_id!=""})'
_PROMETHEUS = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: lab
    static_configs: [{{targets: [{targets}]}}]
    metric_relabel_configs:
      - {{source_labels: [gpu, rank], separator: "", regex: .+, action: keep}}
"""


class NodeServices:
    """Node services and their Prometheus.

    at:      for all that they write
    environ: what their processes have in their environment besides
    url:     the Prometheus'
    records: where ranks tell of their progress (``gpumedic_job.Progress``), a folder a node
    """

    def __init__(self, at: Path, environ: Mapping[str, str]) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.records = at / "records"
        self._at, self._environ = at, {**os.environ, **environ}
        self._gpus: dict[str, Scenario] = {}
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, ranks: Mapping[str, int], *, free: Iterable[str] = ()) -> None:
        """Start a service for each node; return once Prometheus knows who is on each GPU.

        ranks: each node's process on its GPU; free: nodes that have none. InputError where a
        program is missing.
        """
        prometheus = shutil.which("prometheus")
        if prometheus is None:
            raise InputError(
                "Reading node services takes a Prometheus, and there is none on PATH. Install "
                "your distribution's prometheus."
            )
        self._at.mkdir(exist_ok=True)
        library = build(self._at)
        nodes = {**dict.fromkeys(free), **ranks}
        listening = [self._serve(node, pid, library) for node, pid in nodes.items()]
        settings = self._at / "prometheus.yml"
        settings.write_text(_PROMETHEUS.format(targets=", ".join(map(repr, listening))))
        flags = {
            "config.file": settings,
            "storage.tsdb.path": self._at / "data",
            "web.listen-address": self.url.partition("://")[2],
        }
        self._run("prometheus", [prometheus, *(f"--{k}={v}" for k, v in flags.items())], {})
        self._wait(len(ranks))

    def lose(self, node: str) -> Target:
        """Let the node's GPU fall off the bus: the driver tells of it, and answers no more."""
        self._gpus[node].xid(0, FALLEN_OFF_THE_BUS)
        self._gpus[node].say(f"gpu 0 fails * {GPU_IS_LOST}")
        return Target(node=node, gpu=_uuid(node))

    def stop(self) -> None:
        """End every process of it."""
        for process in self._processes:
            process.kill()
            process.wait()

    def _serve(self, node: str, pid: int | None, library: Path) -> str:
        """Start a node's service; return where it listens."""
        own = f"127.0.0.1:{free_port()}"
        played = [line for line in HGX.read_text().splitlines() if " process " not in line]
        played += ["gpus 1", f"gpu 0 uuid {_uuid(node)}"]
        played += [] if pid is None else [f"gpu 0 process {pid} {MEMORY_BYTES}"]
        self._gpus[node] = Scenario(self._at / f"{node}.gpus", played)
        checks = Wanted(progress=(str(self.records / node),))
        plan = NodePlan(node, own, interval_s=1.0, kernel_log=False, checks=checks)
        environ = {
            "LD_LIBRARY_PATH": str(library.parent),
            VARIABLE: str(self._gpus[node].path),
        }
        # What `gpumedic node` becomes once it has read the settings.
        self._run(node, [sys.executable, "-m", "agent.node_main", written(plan)], environ)
        return own

    def _run(self, name: str, words: list[str], environ: Mapping[str, str]) -> None:
        with (self._at / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(  # noqa: S603 - our own words
                    words,
                    env={**self._environ, **environ},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def _wait(self, count: int) -> None:
        until_s = time.monotonic() + START_S
        while self._known() < count:
            ended = any(process.poll() is not None for process in self._processes)
            if ended or time.monotonic() > until_s:
                logs = [path.read_text(errors="replace")[-300:] for path in self._at.glob("*.log")]
                raise InputError(
                    f"Waiting for {count} node services in {self._at}: "
                    f"{'one has ended' if ended else f'not all were there in {START_S:g} s'}. "
                    f"They said: {' ... '.join(logs)}"
                )
            time.sleep(LOOK_S)

    def _known(self) -> int:
        """Return of how many GPUs Prometheus knows who is on them."""
        url = f"{self.url}/api/v1/query?{urlencode({'query': _KNOWN})}"
        with suppress(OSError), urllib.request.urlopen(url, timeout=ASK_S) as reply:  # noqa: S310
            found = json.loads(reply.read())["data"]["result"]
            return int(found[0]["value"][1]) if found else 0
        return 0


def _uuid(node: str) -> str:
    return f"GPU-{node}-6a1c-4f0e-9b7d-0123456789ab"
