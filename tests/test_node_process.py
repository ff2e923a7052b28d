"""What stays of ``gpumedic node`` is small, and serves what a driver that plays eight GPUs says."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from agent.checks.suite import Wanted
from agent.lab.nvml.scenario import GPU_IS_LOST, Scenario
from agent.node_plan import NodePlan, read, written
from tests.nvml import environment
from tests.real import free_port

ROOT = Path(__file__).parent.parent
# The settings, the command line, and what only a controller or the training needs.
UNWANTED = {
    *("agent.config", "agent.start", "agent.cli", "agent.checkpoints", "remediation", "rca", "sim"),
    *("pydantic", "typer", "rich", "httpx2", "pandas", "torch", "prophet", "dowhy", "pyarrow"),
    *("matplotlib", "requests", "sqlite3", "scipy"),
}
IMPORTED = """
import sys
sys.modules["rich"] = None
import agent.node_process
print(*(name for name in sys.modules if sys.modules[name] is not None))
"""


def test_a_plan_is_read_as_it_was_written() -> None:
    checks = Wanted(infiniband="8x400", skip=("clock", "gpu"), plugins=Path("/x"))
    plan = NodePlan(
        "n1", "[::1]:9642", ("/", "/a b"), 1.0, dcgm_names=True, kernel_log=False, checks=checks
    )

    assert read(written(plan)) == plan


def test_the_process_that_stays_imports_no_more_than_it_needs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], cwd=ROOT, capture_output=True, check=True, text=True
    )

    assert UNWANTED & set(done.stdout.split()) == set()


def test_an_address_that_cannot_be_had_is_said_in_a_sentence() -> None:
    plan = NodePlan("n1", "198.51.100.1:9642", ("/",), 1.0, kernel_log=False, checks=Wanted())

    done = subprocess.run(
        [sys.executable, "-P", "-m", "agent.node_main", written(plan)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )

    assert done.returncode == 1
    assert "gpumedic: Listening at 198.51.100.1:9642: " in done.stderr
    assert "Traceback" not in done.stderr


def fetched(page: str, process: "subprocess.Popen[str]") -> str:
    """Return the page as soon as the process listens; it has said only that it is about to."""
    while process.poll() is None:
        try:
            with urllib.request.urlopen(page, timeout=60) as reply:  # noqa: S310 - loopback
                return str(reply.read().decode())
        except urllib.error.URLError:
            continue
    raise AssertionError(f"the node service ended with {process.returncode}")


def awaited(url: str, word: str, process: "subprocess.Popen[str]") -> str:
    """Return the page once it has the word."""
    while word not in (text := fetched(url, process)):
        continue
    return text


def test_the_node_service_becomes_small_and_names_the_job_that_a_lost_gpu_hits(
    nvml: Scenario, nvml_library: Path, tmp_path: Path
) -> None:
    """The whole of it: settings, exec, readings through nvidia-ml-py, the page, an orderly end."""
    port = free_port()
    page, events = (f"http://127.0.0.1:{port}/{path}" for path in ("metrics", "v1/events"))
    settings = {"STATE_DIR": str(tmp_path), "HOST__INTERVAL": "1s", "HOST__KERNEL_LOG": "false"}
    command = [sys.executable, "-m", "agent.cli", "node", "--listen", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [*command, "--node", "n1"],
        cwd=ROOT,
        env=environment(nvml_library, nvml) | {f"GPUMEDIC__{k}": v for k, v in settings.items()},
        stderr=subprocess.PIPE,
        text=True,
    )
    rank = subprocess.Popen(["cat"], env={"SLURM_JOB_ID": "7"}, stdin=subprocess.PIPE)
    assert process.stderr is not None
    try:
        started = next(line for line in process.stderr if "library says" in line)
        text = fetched(page, process)
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        nvml.say(f"gpu 3 process {rank.pid} 1048576")
        awaited(page, 'scheduler="slurm",job_id="7"', process)
        nvml.xid(3, 79)
        nvml.say(f"gpu 3 fails * {GPU_IS_LOST}")
        rank.kill()
        told = json.loads(awaited(events, "79", process))["events"]
    finally:
        for each in (rank, process):
            each.terminate()
            each.wait(60)

    assert json.loads(started)["library"] == "uvicorn.error"
    assert b"agent.node_main" in words
    assert text.count("gpumedic_gpu_power_watts{") == 8
    assert 'gpumedic_gpu_answers{node="n1",gpu="GPU-00000007' in text
    assert [event["text"].partition(" of ")[0] for event in told] == [
        "NVML: Xid 79 on GPU 00000000:5D:00.0; it hits Slurm job 7"
    ]
    assert process.returncode == os.EX_OK
