"""A world's readings as a Prometheus page of our own metric names, in the text format 0.0.4."""

from collections.abc import Iterator, Mapping

import numpy as np

from core.exporters import LABELS, OWN_PREFIX
from core.target import Target
from core.types import Window
from core.units import CATALOG
from sim.telemetry import METRICS, readings
from sim.world import World


def exposition(world: World) -> str:
    """Return the page that a scrape of every exporter of the world would give now.

    Labels are those that ``core.exporters`` reads first; a missing reading has no line.
    """
    now_s = np.array([world.now_s])
    lines: list[str] = []
    for window in readings(world, tuple(METRICS), now_s):
        lines.extend(_family(window))
    return "\n".join(lines) + "\n"


def _family(window: Window) -> Iterator[str]:
    metric = CATALOG[window.metric]
    name = OWN_PREFIX + metric.name
    yield f"# HELP {name} {metric.text}"
    yield f"# TYPE {name} {'counter' if metric.counter else 'gauge'}"
    for target, value in zip(window.targets, window.value[:, 0].tolist(), strict=True):
        if not np.isnan(value):
            yield f"{name}{{{_labels(target)}}} {value!r}"


def _labels(target: Target) -> str:
    parts: Mapping[str, str] = target.labels()
    return ",".join(f'{LABELS[part][0]}="{_escaped(parts[part])}"' for part in parts)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
