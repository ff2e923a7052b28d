"""Events of the nodes' kernels and drivers, by way of the Prometheus that scrapes the nodes.

A node shows when each of its events was last (``agent.kernel.tally``). What is news is asked for
each cycle: the nodes need no way to the controller, and a node or controller that starts anew
tells no event of hours ago.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from agent.collect.labels import without_port
from agent.collect.prometheus_cut import Cut
from agent.collect.prometheus_lines import Lines
from agent.collect.prometheus_settings import Answer, Failed, PrometheusAccess
from agent.kernel.tally import HITS, TIMESTAMP
from core.clock import Clock
from core.errors import SourceUnavailable
from core.target import Target
from core.types import Event, Severity
from detectors.words import hitting

if TYPE_CHECKING:
    from agent.collect.prometheus_http import PrometheusHttp

# As far as a cycle reads back for readings.
LOOK_BACK_S = 900.0
# A storm on 100 nodes at once; what is more has no news in it.
MOST_EVENTS = 20_000
_MAX_NAME, _MAX_JOBS = 64, 256
_PARTS = tuple(part.name for part in fields(Target))
_OWN_LABEL = {"job": "job_id"}


class NodeEvents:
    """EventSource over the nodes' own metrics: each event once, at its own time."""

    name = "node events"

    def __init__(self, access: PrometheusAccess, *, clock: Clock) -> None:
        self.access = access
        self._clock = clock
        self._lines = Lines(access)
        self._told: dict[frozenset[tuple[str, str]], float] = {}

    async def events(self) -> tuple[Event, ...]:
        """Return what nodes have said since the last call, oldest first.

        SourceUnavailable where Prometheus does not answer.
        """
        since_s = self._clock.now_s() - LOOK_BACK_S

        def ask(http: "PrometheusHttp", cut: Cut) -> Answer:
            return http.instant(f"{TIMESTAMP} > {since_s:.3f}", cut)

        try:
            answer = await self._lines.call(ask)
        except Failed as failed:
            raise SourceUnavailable(
                f"asking {self.access.shown_url} for the events of nodes: {failed.text}"
            ) from failed
        # A series that a missed scrape has hidden for a while is no news when it is back.
        self._told = {key: last_s for key, last_s in self._told.items() if last_s > since_s}
        news = sorted(self._news(answer.data), key=lambda event: event.time_s)
        return tuple(news[-MOST_EVENTS:])

    async def close(self) -> None:
        """Let go of threads and connections; nothing is waited for."""
        self._lines.close()

    def _news(self, data: object) -> Iterator[Event]:
        for series in data if isinstance(data, list) else ():
            labels, last_s = _read(series)
            if not labels.get("kind") or not math.isfinite(last_s):
                continue
            key = frozenset(labels.items())
            if last_s > self._told.get(key, -math.inf):
                self._told[key] = last_s
                yield _event(labels, min(last_s, self._clock.now_s()))


def _read(series: Any) -> tuple[dict[str, str], float]:
    """Return the labels and value of a series of Prometheus' vector form; no labels for none."""
    try:
        labels = {str(name): str(text) for name, text in series["metric"].items()}
        return labels, float(series["value"][1])
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        return {}, math.nan


def _event(labels: Mapping[str, str], time_s: float) -> Event:
    named = {part: labels.get(_OWN_LABEL.get(part, part), "") for part in _PARTS}
    named["node"] = named["node"] or without_port(labels.get("instance", ""))
    target = Target(**named)
    kind, code = (_plain(labels.get(name, "")) for name in ("kind", "code"))
    said = f"{kind.replace('_', ' ')}{f' ({code})' if code else ''}"
    hits = _plain(labels.get(HITS, ""), _MAX_JOBS)
    text = hitting(f"{said} on {target}, by its kernel or driver", hits)
    return Event(target, time_s, kind, code, text, _severity(labels.get("severity", "")))


def _plain(text: str, most: int = _MAX_NAME) -> str:
    return "".join(c for c in text[:most] if c.isprintable())


def _severity(word: str) -> Severity:
    return Severity(word) if word in set(Severity) else Severity.WARNING
