"""The detectors at work: each looks for itself, and what it has learned outlives settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from agent.memory import Memory
from agent.metrics import Metrics
from core.topology import Topology
from core.types import Event, Forecast, Window
from detectors.detect import DetectSettings, detectors, plausible
from detectors.detector import Detector, Expecting, Hearing, Learning, Symptoms

log = structlog.get_logger()


@dataclass(slots=True)
class Senses:
    """Runs every detector over the same windows; one that breaks does not blind the others.

    It begins anew, without what it had learned, so that a reading or an event which no detector was
    made for cannot break every look that follows.
    """

    metrics: Metrics
    settings: DetectSettings
    _detectors: dict[str, Detector] = field(init=False)
    _bands: Mapping[str, Forecast] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._detectors = dict(detectors(self.settings))

    def look(
        self, windows: Mapping[str, Window], *, topology: Topology | None, now_s: float
    ) -> Symptoms:
        """Return what all detectors find; what an error hides is in the log and counted."""
        known = plausible(windows)
        found = Symptoms()
        for name, detector in tuple(self._detectors.items()):
            try:
                found += detector.look(known, topology=topology, now_s=now_s)
            except Exception as error:
                self._broke(name, error)
        return found

    def hear(
        self, events: tuple[Event, ...], *, topology: Topology | None, now_s: float
    ) -> tuple[Event, ...]:
        """Return what the events of other sources, kernel logs above all, amount to."""
        for name, detector in tuple(self._detectors.items()):
            if isinstance(detector, Hearing):
                try:
                    events = detector.hear(events, topology=topology, now_s=now_s)
                except Exception as error:
                    self._broke(name, error)
        return events

    def expect(self, bands: Mapping[str, Forecast]) -> None:
        """Hold readings against the newest forecast of each metric too; it replaces the one before.

        A detector keeps the bands and a copy by its own rows: 16 bytes a series and step.
        """
        self._bands = bands
        for detector in self._detectors.values():
            if isinstance(detector, Expecting):
                detector.expect(bands)

    def change(self, settings: DetectSettings) -> None:
        """Go by other settings from now on, with what was learned."""
        if settings != self.settings:
            memory = self.memory()
            self.settings, self._detectors = settings, dict(detectors(settings))
            self.remember(memory)
            self.expect(self._bands)

    def memory(self) -> Memory:
        """Return what the detectors that learn have learned."""
        return {
            name: detector.state()
            for name, detector in self._detectors.items()
            if isinstance(detector, Learning)
        }

    def remember(self, memory: Memory) -> None:
        """Take up what ``memory`` returned; what does not fit is said, and learned anew."""
        for name, detector in self._detectors.items():
            if isinstance(detector, Learning) and name in memory:
                try:
                    detector.restore(memory[name])
                except (ValueError, KeyError, IndexError) as error:
                    log.warning("what was learned is lost", detector=name, problem=str(error))

    def _broke(self, name: str, error: Exception) -> None:
        """Say that a detector broke, and make it anew: what it had learned may have broken it."""
        self._detectors[name] = detectors(self.settings)[name]
        self.metrics.detectors_failed_total.labels(name).inc()
        log.exception("detector broke", detector=name, error=repr(error))
