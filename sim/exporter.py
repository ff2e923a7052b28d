"""What the exporters of a simulated cluster show, under the names that real ones use.

Three kinds: dcgm-exporter and node_exporter on every node, in the names, units and labels that
``core.exporters`` reads back, and one page of the jobs and the shared storage under our own names.
What no exporter of the two has (inlet air, node power, latency of a disk) a node shows under our
names too, as from a textfile. Exporters collect every ``EVERY_S`` and repeat it until the next.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.exporters import LABELS, OWN_PREFIX
from core.target import Target, TargetKind
from core.types import Floats, Ints, Window
from core.units import CATALOG
from sim.exporter_families import DCGM, FAMILIES, JOBS, NODE, Family
from sim.sayings import pci_address
from sim.scenario import Scenario
from sim.sums_of_time import SumsOfTime
from sim.telemetry import METRICS, readings
from sim.world import World

EVERY_S = 15.0
# Where each exporter listens on a node: the projects' own defaults.
PORTS: Mapping[str, int] = {DCGM: 9400, NODE: 9100}

# What a scrape adds to a sample, and its name.
_NOT_EXPORTED = frozenset({"__name__", "job", "instance"})

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Raw:
    """Samples of one name: labels of S series, and (S, T) values, NaN where nothing was scraped.

    The labels are those that Prometheus keeps: the exporter's, and ``job`` and ``instance``.
    """

    labels: tuple[Labels, ...]
    value: Floats


class Exporters:
    """All exporters of a world. A sample is that of a tick: the time is ``tick * every_s``.

    ``world`` may become a fork or a later state of the same world: its past is the same.
    """

    def __init__(self, world: World, *, every_s: float = EVERY_S) -> None:
        self.world = world
        self.every_s = every_s
        self._began_s = world.scenario.start_s - world.scenario.history_s
        self._sums: dict[str, SumsOfTime] = {}
        self._labels: dict[tuple[str, str], tuple[tuple[Target, ...], tuple[Labels, ...]]] = {}
        self._starts: dict[tuple[str, str], tuple[tuple[Labels, ...], list[tuple[str, str]]]] = {}

    @cached_property
    def names(self) -> frozenset[str]:
        """Return the names there are samples of, ``up`` included."""
        return frozenset({"up", *self._families})

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Return the nodes that have exporters."""
        return self.world.topology().nodes

    @property
    def tick(self) -> int:
        """Return the last tick at which the exporters have collected."""
        return math.floor(self.world.now_s / self.every_s)

    def raw(self, name: str, ticks: Ints) -> Raw:
        """Return the samples of a name at ticks (T,), in order; none for a name nobody shows.

        Before the world began and after its now there is nothing.
        """
        if name == "up":
            return self._up(ticks)
        families = self._families.get(name, ())
        wanted = {m for family in families if not family.summed for m in family.of}
        windows = self._windows(tuple(wanted), ticks)
        parts = [self._samples(family, ticks, windows) for family in families]
        if len(parts) == 1:
            return parts[0]
        return Raw(
            tuple(labels for part in parts for labels in part.labels),
            np.concatenate([np.zeros((0, len(ticks))), *(part.value for part in parts)]),
        )

    def pages(self, exporter: str, *, stamp_ms: int | None = None) -> Mapping[str, str]:
        """Return the page of each node's exporter as of now, or for JOBS the one of "".

        A node whose exporter does not answer has none. Text format 0.0.4; with ``stamp_ms`` each
        sample bears that time.
        """
        end = "\n" if stamp_ms is None else f" {stamp_ms}\n"
        ticks = np.array([self.tick], dtype=np.int64)
        pages: dict[str, list[str]] = {node: [] for node in self._answering(exporter, ticks)}
        shown = [f for of_name in self._families.values() for f in of_name]
        shown = [family for family in shown if family.exporter == exporter]
        wanted = {metric for family in shown if not family.summed for metric in family.of}
        # All at once: what readings have in common is worked out once.
        windows = self._windows(tuple(wanted), ticks)
        for family in shown:
            self._write(family, self._samples(family, ticks, windows), pages, end=end)
        return {node: "".join(lines) for node, lines in pages.items()}

    @cached_property
    def _families(self) -> Mapping[str, tuple[Family, ...]]:
        """Return the families whose readings this world's telemetry has, by name."""
        there = [family for family in FAMILIES if all(metric in METRICS for metric in family.of)]
        covered = {metric for family in there for metric in family.of} | {"node_up"}
        own = [family for metric in METRICS for family in _own(metric, covered=metric in covered)]
        by_name: dict[str, tuple[Family, ...]] = {}
        for family in (*there, *own):
            by_name[family.name] = (*by_name.get(family.name, ()), family)
        return by_name

    def _windows(self, metrics: tuple[str, ...], ticks: Ints) -> Mapping[str, Window]:
        found = readings(self.world, metrics, self._time_s(ticks))
        return {window.metric: window for window in found}

    def _samples(self, family: Family, ticks: Ints, windows: Mapping[str, Window]) -> Raw:
        targets, given = self._given(family, ticks, windows)
        value = family.make(*given) if family.make else given[0]
        return Raw(self._labels_of(family, targets), np.asarray(value, dtype=np.float64))

    def _given(
        self, family: Family, ticks: Ints, windows: Mapping[str, Window]
    ) -> tuple[tuple[Target, ...], list[Floats]]:
        """Return the targets and the (S, T) readings, or their sums over time, of a family."""
        if family.summed:
            (metric,) = family.of
            if metric not in self._sums:
                self._sums[metric] = SumsOfTime(self.world, metric, self.every_s, self._began_s)
            self._sums[metric].world = self.world
            return self._sums[metric].at(ticks)
        given = [windows[metric] for metric in family.of if metric in windows]
        if len(given) < len(family.of):  # a world without ports, or without services
            return (), [np.zeros((0, len(ticks))) for _ in family.of]
        targets = given[0].targets
        keep = [i for i, target in enumerate(targets) if _shown_by(target) == family.exporter]
        if len(keep) == len(targets):
            return targets, [window.value for window in given]
        return tuple(targets[i] for i in keep), [window.value[keep] for window in given]

    def _labels_of(self, family: Family, targets: tuple[Target, ...]) -> tuple[Labels, ...]:
        """Return the labels of each sample, the same tuple for the same targets."""
        key = (family.name, family.exporter)
        known = self._labels.get(key)
        if known is None or (known[0] is not targets and known[0] != targets):
            labels = tuple(
                {"__name__": family.name, **self._of(family, target), **more}
                for more in family.more
                for target in targets
            )
            known = self._labels[key] = (targets, labels)
        return known[1]

    def _of(self, family: Family, target: Target) -> dict[str, str]:
        """Return the labels of a target as that exporter, and the scrape of it, gives them."""
        exporter, scraped = family.exporter, {"job": family.exporter}
        if exporter != JOBS:
            scraped["instance"] = f"{target.node}:{PORTS[exporter]}"
        if exporter == DCGM:
            return {**self._gpu_labels[target.gpu], **scraped}
        if family.name.startswith(OWN_PREFIX):
            parts = {LABELS[part][0]: text for part, text in target.labels().items()}
            return {**parts, **scraped}
        if target.volume:
            return {"device": "/dev/md0", "fstype": "xfs", "mountpoint": target.volume, **scraped}
        if target.port:
            device, _, port = target.port.partition(":")
            return {"device": device, "port": port, **scraped}
        return scraped

    @cached_property
    def _gpu_labels(self) -> Mapping[str, Labels]:
        """Return what dcgm-exporter says of each GPU beside its readings."""
        shape = self.world.topology()
        models = _models(self.world.scenario)
        of_node: dict[int, int] = {}
        labels = {}
        for uuid, node in zip(shape.gpus, shape.gpu_node.tolist(), strict=True):
            index = of_node.get(node, 0)
            of_node[node] = index + 1
            labels[uuid] = {
                "gpu": str(index),
                "UUID": uuid,
                "pci_bus_id": f"0000{pci_address(index).upper()}.0",
                "device": f"nvidia{index}",
                "modelName": models[node],
                "Hostname": shape.nodes[node],
            }
        return labels

    def _up(self, ticks: Ints) -> Raw:
        """Return 1 where a scrape was answered and 0 where it was not; NaN where none was tried."""
        time_s = self._time_s(ticks)
        tried = (time_s >= self._began_s) & (time_s <= self.world.now_s)
        (window,) = readings(self.world, ("node_up",), time_s)
        answered = np.where(tried, np.nan_to_num(window.value, nan=0.0), np.nan)
        labels = tuple(
            {"__name__": "up", "job": exporter, "instance": f"{target.node}:{PORTS[exporter]}"}
            for exporter in (NODE, DCGM)
            for target in window.targets
        )
        return Raw(labels, np.tile(answered, (2, 1)))

    def _time_s(self, ticks: Ints) -> Floats:
        return ticks.astype(np.float64) * self.every_s

    def _answering(self, exporter: str, ticks: Ints) -> Sequence[str]:
        if exporter == JOBS:
            return ("",)
        (window,) = readings(self.world, ("node_up",), self._time_s(ticks))
        up = zip(window.targets, window.value[:, 0].tolist(), strict=True)
        return [target.node for target, value in up if value == 1.0]

    def _write(self, family: Family, raw: Raw, pages: Mapping[str, list[str]], *, end: str) -> None:
        """Add a family's lines to the pages of the nodes that answer."""
        key = (family.name, family.exporter)
        known = self._starts.get(key)
        if known is None or known[0] is not raw.labels:
            known = self._starts[key] = (raw.labels, list(_starts(family, raw.labels)))
        head = f"# HELP {family.name} {family.text}\n# TYPE {family.name} {family.form}\n"
        begun: set[str] = set()
        for (node, start), value in zip(known[1], raw.value[:, 0].tolist(), strict=True):
            page = pages.get(node)
            if page is None or math.isnan(value):
                continue
            if node not in begun:
                begun.add(node)
                page.append(head)
            page.append(f"{start}{value!r}{end}")


def _models(scenario: Scenario) -> list[str]:
    """Return the name of each node's GPU type: only its first word is NVIDIA's own."""
    machines = scenario.machines
    first = [gpu for gpu, nodes in machines.mixed for _ in range(nodes)]
    types = first + [machines.gpu] * (scenario.nodes - len(first))
    return [f"NVIDIA {gpu.upper()}" for gpu in types]


def _starts(family: Family, labels: Sequence[Labels]) -> Iterator[tuple[str, str]]:
    """Yield the node whose page a series is on, and its line up to the value."""
    for given in labels:
        kept = {name: text for name, text in given.items() if name not in _NOT_EXPORTED}
        node = given.get("instance", "").rpartition(":")[0]
        if family.exporter == JOBS:
            kept["instance"] = ""  # it is about no one node: the scrape's own must not be added
        text = ",".join(f'{name}="{_escaped(value)}"' for name, value in kept.items())
        yield node, f"{family.name}{{{text}}} " if text else f"{family.name} "


def _own(metric: str, *, covered: bool) -> Iterator[Family]:
    """Yield the families of a metric for those targets that no other exporter has.

    Of the volumes that others cover these are those that nodes share: nobody's own file system.
    """
    about = CATALOG[metric]
    exporters = {
        TargetKind.JOB: (JOBS,),
        TargetKind.RANK: (JOBS,),
        TargetKind.VOLUME: (JOBS,) if covered else (NODE, JOBS),
    }.get(about.scope, () if covered else (NODE,))
    for exporter in exporters:
        yield Family(
            name=OWN_PREFIX + metric,
            exporter=exporter,
            form="counter" if about.counter else "gauge",
            text=about.text,
            of=(metric,),
        )


def _shown_by(target: Target) -> str:
    """Return whose page a target is on."""
    if target.kind is TargetKind.GPU:
        return DCGM
    return NODE if target.node and not target.job else JOBS


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
