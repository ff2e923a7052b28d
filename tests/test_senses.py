"""Detectors side by side: none blinds another, and none forgets when settings or process change."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from agent.memory import read_memory, write_memory
from agent.metrics import Metrics
from agent.senses import Senses
from core.topology import Topology
from core.types import Window
from detectors import detect as every
from detectors.detect import DetectSettings
from detectors.detector import Array, Detector, Symptoms
from tests.fleet import NOW_S, nodes, swinging, window


@dataclass
class Broken:
    def look(
        self, windows: Mapping[str, Window], *, topology: Topology | None, now_s: float
    ) -> Symptoms:
        raise ZeroDivisionError


@dataclass
class Touchy:
    """Breaks at every look after the first reading it has seen."""

    hurt: bool = False

    def look(
        self, windows: Mapping[str, Window], *, topology: Topology | None, now_s: float
    ) -> Symptoms:
        self.hurt = self.hurt or bool(windows)
        if self.hurt:
            raise ZeroDivisionError
        return Symptoms()


@dataclass
class Counting:
    """Knows how often it has looked."""

    looks: int = 0

    def look(
        self, windows: Mapping[str, Window], *, topology: Topology | None, now_s: float
    ) -> Symptoms:
        self.looks += 1
        return Symptoms()

    def state(self) -> Mapping[str, Array]:
        return {"looks": np.array(self.looks)}

    def restore(self, state: Mapping[str, Array]) -> None:
        self.looks = int(state["looks"])


@dataclass
class Company:
    """The real detectors and some more."""

    more: dict[str, type[Detector]] = field(default_factory=dict)

    def __call__(self, settings: DetectSettings) -> Mapping[str, Detector]:
        return {**{name: made() for name, made in self.more.items()}, **every.detectors(settings)}


def senses(monkeypatch: pytest.MonkeyPatch, **more: type[Detector]) -> Senses:
    monkeypatch.setattr("agent.senses.detectors", Company(more))
    return Senses(Metrics(version="0", mode="test"), DetectSettings())


def full_memory() -> dict[str, Window]:
    metric = "node_memory_used_ratio"
    return {metric: window(metric, nodes(2), np.full((2, 41), 0.97))}


def test_one_that_breaks_is_counted_and_the_others_look(monkeypatch: pytest.MonkeyPatch) -> None:
    held = senses(monkeypatch, broken=Broken)

    found = held.look(full_memory(), topology=None, now_s=NOW_S)

    assert {a.detector for a in found.anomalies} >= {"static"}
    page, _ = held.metrics.exposition("")
    assert b'gpumedic_detectors_failed_total{detector="broken"} 1.0' in page


def test_one_that_breaks_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had learned may be what broke it."""
    held = senses(monkeypatch, touchy=Touchy)
    windows = full_memory()

    looks = [held.look(each, topology=None, now_s=NOW_S) for each in ({}, windows, {}, {})]

    assert len(looks) == 4
    page, _ = held.metrics.exposition("")
    assert b'gpumedic_detectors_failed_total{detector="touchy"} 1.0' in page


def test_other_settings_forget_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    held = senses(monkeypatch, counting=Counting)
    held.look({}, topology=None, now_s=NOW_S)

    held.change(DetectSettings(hold_s=0.0))

    assert held.memory()["counting"]["looks"] == 1


def test_what_was_learned_is_there_for_the_next_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before, after = (senses(monkeypatch, counting=Counting) for _ in range(2))
    before.look({}, topology=None, now_s=NOW_S)

    assert write_memory(tmp_path / "learned.npz", before.memory())
    after.remember(read_memory(tmp_path / "learned.npz"))

    assert after.memory()["counting"]["looks"] == 1


def test_a_reading_outside_of_its_forecast_is_said() -> None:
    """A swing that the forecast knows and the series' own level does not, also after a reload."""
    metric, steps = "node_inlet_temperature_celsius", 1400
    swing, bands = swinging(metric, steps=steps)
    held = Senses(Metrics(version="0", mode="test"), DetectSettings(false_alarms_per_day=1.0))
    held.expect({metric: bands})
    for end in (400, 800, 1200, steps - 1, steps):
        if end == 1200:
            held.change(DetectSettings(false_alarms_per_day=2.0))
        part = Window(metric, swing.targets, swing.time_s[:end], swing.value[:, :end])
        found = held.look({metric: part}, topology=None, now_s=float(part.time_s[-1]))

    said = [a for a in found.anomalies if a.detector == "band"]
    assert [a.target for a in said] == [nodes(2)[0]]


def test_a_memory_that_does_not_fit_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    held = senses(monkeypatch, counting=Counting)

    held.remember({"counting": {"something else": np.zeros(3)}})

    assert held.memory()["counting"]["looks"] == 0


@pytest.mark.parametrize("damage", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_no_memory(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "learned.npz").write_bytes(damage)

    assert read_memory(tmp_path / "learned.npz") == {}


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "learned.npz"
    write_memory(path, {"one": {"a": np.arange(3)}})
    (tmp_path / "learned.half").mkdir()

    assert not write_memory(path, {"one": {"a": np.arange(4)}})
    assert read_memory(path)["one"]["a"].tolist() == [0, 1, 2]
