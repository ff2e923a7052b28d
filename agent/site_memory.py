"""What this site's times were seen to be, each reboot, check and page once, kept over restarts."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import structlog

from core.site import SiteFigures
from core.types import Incident, PlanRecord
from detectors.detector import Array, names
from remediation.deciding.site_seen import FIGURES, faults_a_day, lessons, weighed
from remediation.running.ledger import PAST_S

log = structlog.get_logger()

# Of each figure the newest count: a site that has changed its crew is learned anew.
MOST = 200
# Incidents count for as long as plans do (``ledger.PAST_S``), and so many at most.
SPAN_S, MOST_INCIDENTS = PAST_S, 5000
DAY_S = 86_400.0
_INCIDENTS, _SINCE = "incidents", "since"


@dataclass(slots=True)
class SiteMemory:
    """What was seen, by figure and by a name that counts each once; seconds.

    Beside the figures, ``incidents`` has when each was opened, ``since`` from when on it was looked
    """

    _seen: dict[str, dict[str, float]] = field(
        default_factory=lambda: {name: {} for name in (*FIGURES, _INCIDENTS, _SINCE)}
    )

    def note(
        self, records: Iterable[PlanRecord], incidents: Collection[Incident], *, now_s: float
    ) -> None:
        """Learn from what there is since the last time."""
        for figure, found in lessons(records, incidents).items():
            mine = self._seen[figure]
            mine |= {key: took_s for key, took_s in found.items() if key not in mine}
            _keep(mine, MOST)
        opened = self._seen[_INCIDENTS]
        opened |= {each.id: each.opened_s for each in incidents if each.id not in opened}
        for old in [key for key, at_s in opened.items() if at_s < now_s - SPAN_S]:
            del opened[old]
        _keep(opened, MOST_INCIDENTS)
        since = self._seen[_SINCE]
        since[""] = min(max(since.get("", now_s), now_s - SPAN_S), now_s)

    def figures(self, site: SiteFigures) -> SiteFigures:
        """Return the site's figures as they were set, moved to what was seen."""
        return weighed(site, self._seen)

    def watched_days(self, now_s: float) -> float:
        """Return for how long the cluster was watched, 28 days at most."""
        return (now_s - self._seen[_SINCE].get("", now_s)) / DAY_S

    def faults_a_day(self, site: SiteFigures, gpus: int, now_s: float) -> float:
        """Return how many incidents a day there are in a cluster of so many GPUs."""
        seen, days = len(self._seen[_INCIDENTS]), self.watched_days(now_s)
        return faults_a_day(site, gpus, seen, days)

    def state(self) -> Mapping[str, Array]:
        """Return what was seen as plain arrays."""
        rows = [(f, key, s) for f, mine in self._seen.items() for key, s in mine.items()]
        return {
            "figure": names([row[0] for row in rows]),
            "key": names([row[1] for row in rows]),
            "seconds": np.array([row[2] for row in rows], dtype=np.float64),
        }

    @classmethod
    def remembering(cls, state: Mapping[str, Array]) -> "SiteMemory":
        """Take up what ``state`` returned; what does not fit is said, and begun anew."""
        made = cls()
        try:
            columns = (
                [state[name].tolist() for name in ("figure", "key", "seconds")] if state else []
            )
            for figure, key, seconds in zip(*columns, strict=True):
                made._seen[figure][key] = float(seconds)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("what was learned is lost", part="site", problem=str(error))
            return cls()
        return made


def _keep(mine: dict[str, float], most: int) -> None:
    """Forget the oldest beyond so many."""
    for key in list(mine)[: max(0, len(mine) - most)]:
        del mine[key]
