"""Every detector of the package, found by looking for it, and a small cluster for it to look at.

A new detector is found by itself. One that cannot be made without arguments is named in ``MADE_BY``
with one line.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

import detectors
from core.target import Target, TargetKind
from core.topology import Topology
from core.types import Floats, Window
from core.units import CATALOG, Bad, Metric
from detectors.detect import plausible
from detectors.detector import Array, Detector, Symptoms
from detectors.silence import Silence
from detectors.static import StaticLimits
from tests.fleet import GPUS_A_NODE, NOW_S, STEP_S, topology

MADE_BY: Mapping[str, Callable[[], Detector]] = {
    "StaticLimits": lambda: StaticLimits({}, 30.0, 0.02, 120.0),
    "Silence": lambda: Silence(120.0),
}
COLUMNS = 41
NODES = 3


def found() -> Mapping[str, Callable[[], Detector]]:
    """Return how each detector is made, by its name."""
    classes = {cls.__name__: cls for cls in _classes() if _is_detector(cls)}
    return {name: MADE_BY.get(name, cls) for name, cls in sorted(classes.items())}


def _classes() -> Iterator[type]:
    for module in pkgutil.walk_packages(detectors.__path__, "detectors."):
        if module.name.startswith("detectors.forecast"):
            continue  # forecasters are asked otherwise: test_forecaster_conformance.py
        loaded = importlib.import_module(module.name)
        for cls in vars(loaded).values():
            if inspect.isclass(cls) and cls.__module__ == module.name:
                yield cls


def _is_detector(cls: type) -> bool:
    look = getattr(cls, "look", None)
    return (
        look is not None
        and not getattr(cls, "_is_protocol", False)
        and not cls.__name__.startswith("_")
        and {"windows", "topology", "now_s"} <= set(inspect.signature(look).parameters)
    )


@dataclass(frozen=True)
class Scene:
    """A cluster over time: calm, or with faults from ``fault_s`` on.

    nodes: of four GPUs, a job on the first half; seed: of its noise; noise: 0 holds all constant
    """

    nodes: int = NODES
    noise: float = 0.01
    fault_s: float = np.inf
    seed: int = 0
    metrics: tuple[str, ...] = tuple(CATALOG)

    def topology(self) -> Topology:
        return topology(self.nodes, jobs={"88": range(max(1, self.nodes // 2))})

    @lru_cache(maxsize=128)  # noqa: B019 - scenes are values, and few
    def windows(self, now_s: float) -> Mapping[str, Window]:
        """Return the last ten minutes; the same reading at the same time in every window."""
        time_s = now_s - STEP_S * np.arange(COLUMNS - 1, -1, -1, dtype=np.float64)
        made = {name: self._window(CATALOG[name], time_s) for name in self.metrics}
        for window in made.values():
            window.value.flags.writeable = False
        return made

    def _window(self, metric: Metric, time_s: Floats) -> Window:
        targets = self._targets(metric.scope)
        value = np.tile(_usual(metric, time_s), (len(targets), 1))
        if self.noise and not metric.counter and value.max() > 0 and metric.high > 1:
            for column, at_s in enumerate(time_s):
                rng = np.random.default_rng((self.seed, int(at_s), len(metric.name)))
                value[:, column] *= 1 + self.noise * rng.standard_normal(len(targets))
        late = time_s >= self.fault_s
        if late.any() and targets:
            _spoil(value, late, metric)
        return Window(metric.name, targets, time_s, value)

    def _targets(self, scope: TargetKind) -> tuple[Target, ...]:
        nodes = [f"node-{n}" for n in range(self.nodes)]
        gpus = [(n, f"GPU-{n}-{g}") for n in range(self.nodes) for g in range(GPUS_A_NODE)]
        in_job = gpus[: GPUS_A_NODE * max(1, self.nodes // 2)]
        match scope:
            case TargetKind.GPU:
                return tuple(Target(node=f"node-{n}", gpu=gpu) for n, gpu in gpus)
            case TargetKind.PORT:
                return tuple(Target(node=node, port="mlx5_0:1") for node in nodes)
            case TargetKind.VOLUME:
                return (Target(volume="/scratch"),)
            case TargetKind.JOB:
                return (Target(job="88"),)
            case TargetKind.RANK:
                return tuple(
                    Target(node=f"node-{n}", gpu=gpu, job="88", rank=str(r))
                    for r, (n, gpu) in enumerate(in_job)
                )
            case _:
                return tuple(Target(node=node) for node in nodes)


def _usual(metric: Metric, time_s: Floats) -> Floats:
    """Return what a healthy machine reads: well inside of any limit, steps that go on."""
    if metric.name == "job_steps_total":
        return np.floor((time_s - NOW_S + 1e7) / 2.0)
    if metric.counter or metric.name in ("gpu_xid_code", "gpu_throttle_ratio"):
        return np.zeros(len(time_s))
    if metric.bad is Bad.LOW and metric.high == 1:
        return np.ones(len(time_s))
    if metric.high == 1 and metric.unit != "ratio":
        return np.zeros(len(time_s))
    usual = {"_celsius": 25.0, "_hz": 1.7e9, "_watts": 500.0, "_s": 2.0, "_ratio": 0.3}
    level = next((v for suffix, v in usual.items() if metric.name.endswith(suffix)), 1.0)
    return np.full(len(time_s), level)


def _spoil(value: Floats, late: Array, metric: Metric) -> None:
    """Break the first of the targets: hot, slow, silent steps, an Xid, a counter that runs."""
    if metric.name == "job_steps_total":
        value[0, late] = value[0, np.argmax(late)]
    elif metric.name == "gpu_xid_code":
        value[0, late] = 79
    elif metric.counter:
        value[0, late] += np.arange(late.sum()) + 1
    else:
        value[0, late] *= 0.2 if metric.bad is Bad.LOW else 3.0


def look(detector: Detector, scene: Scene, now_s: float) -> Symptoms:
    """Let a detector look at a scene as it is now."""
    return detector.look(plausible(scene.windows(now_s)), topology=scene.topology(), now_s=now_s)


def watch(detector: Detector, scene: Scene, now_s: float, looks: int) -> list[Symptoms]:
    """Let a detector look again and again from a time on, a step apart."""
    return [look(detector, scene, now_s + STEP_S * k) for k in range(looks)]


def bytes_of(state: Mapping[str, Array]) -> int:
    """Return how much a memory holds."""
    return sum(array.nbytes for array in state.values())
