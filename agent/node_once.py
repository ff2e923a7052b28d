"""``gpumedic node --once``: everything that can be read of this machine now, and what cannot."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from agent.collect.host import MIN_CPU_SPAN_S, HostReader
from agent.collect.nvml import Gpu, NvmlReader
from agent.collect.reading import Missing, Reading, Snapshot
from core.clock import RealClock
from core.ports import Problem
from core.target import Target


def read_once(node: str, volumes: Sequence[str]) -> dict[str, Any]:
    """Return all readings as JSON has them; takes a second, for shares of time need two looks."""
    clock = RealClock()
    host, nvml = HostReader(node, clock=clock, volumes=volumes), NvmlReader(node, clock=clock)
    for reader in (host, nvml):
        reader.snapshot()
    time.sleep(MIN_CPU_SPAN_S)
    of_host, of_gpus = host.snapshot(), nvml.snapshot()
    return {
        "node": node,
        "time_s": clock.now_s(),
        "driver": asdict(nvml.driver),
        "gpus": [_gpu(gpu, of_gpus) for gpu in nvml.gpus],
        "readings": [_reading(each) for each in (*of_host.readings, *_of_no_gpu(of_gpus))],
        "problems": [_problem(each) for each in (*of_host.problems, *of_gpus.problems)],
    }


def as_lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield what ``read_once`` returned as lines for people."""
    driver = found["driver"]
    yield f"node {found['node']}, driver {driver['driver'] or 'none: ' + driver['missing']}"
    yield from _lines(found["readings"])
    for gpu in found["gpus"]:
        yield ""
        said = gpu["trouble"] or ", ".join(f"PID {p['pid']}" for p in gpu["processes"])
        yield f"GPU {gpu['index']} {gpu['uuid']} {gpu['name']} {gpu['pci']}; {said or 'idle'}"
        yield from _lines(gpu["readings"])
        for metric, reason in gpu["missing"].items():
            yield f"  {metric:<44} missing: {reason}"
    for problem in found["problems"]:
        yield f"problem: {problem['text']}"


def _lines(readings: Sequence[dict[str, Any]]) -> Iterator[str]:
    for each in readings:
        labels = each.get("labels", {})
        where = " ".join(filter(None, (each.get("of"), *(f"{k}={labels[k]}" for k in labels))))
        yield f"  {each['metric']:<44} {each['value']:>18.10g} {where}".rstrip()


def _gpu(gpu: Gpu, found: Snapshot) -> dict[str, Any]:
    """Return a GPU with its own readings, and why others are missing."""
    mine = [r for r in found.readings if gpu.uuid and r.target.gpu == gpu.uuid]
    lacks = [m for m in found.missing if gpu.uuid and m.target.gpu == gpu.uuid]
    return {
        **asdict(gpu),
        "readings": [_reading(each) for each in mine],
        "missing": _reasons(lacks),
    }


def _of_no_gpu(found: Snapshot) -> list[Reading]:
    return [r for r in found.readings if not r.target.gpu]


def _reading(reading: Reading) -> dict[str, Any]:
    said: dict[str, Any] = {"metric": reading.metric, "value": reading.value}
    if where := _where(reading.target):
        said["of"] = where
    return said | ({"labels": dict(reading.labels)} if reading.labels else {})


def _where(target: Target) -> str:
    """Return the part of the node that a reading is of, beside a GPU."""
    return target.port or target.volume or target.job


def _reasons(missing: Sequence[Missing]) -> dict[str, str]:
    return {each.metric: each.reason for each in missing}


def _problem(problem: Problem) -> dict[str, str]:
    return {"source": problem.source, "code": problem.code, "text": problem.text}
