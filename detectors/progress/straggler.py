"""A rank or node that computes slower than the others of its job, or than it did before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from core.target import Target
from core.topology import Topology
from core.types import Anomaly, Floats, Ints, Severity, Window
from core.units import CATALOG
from detectors.detector import Array, Symptoms
from detectors.progress import roles, shift
from detectors.progress.memory import SEEN, Bools, Memory
from detectors.progress.ranks import USUAL_SHARE, LastRanks, Ranks, recent
from detectors.words import amount, duration, subject

DETECTOR = "straggler"
METRIC = "rank_step_time_s"
# So many of a node's ranks slow at once are the node's fault, not each rank's.
NODE_SHARE = 2 / 3
# What a rank takes now: it takes five readings of 15 s to find that it has become slow.
NEWEST_S = 75.0
# More of a job's ranks than this cannot each be slower than their peers.
MOST_OF_JOB = 0.6


@dataclass(frozen=True, slots=True)
class Stragglers:
    """Finds ranks whose own time a step, waiting left out, is ``effect`` over what it should be.

    What it should be is said by the job's other ranks at the same moment, so a job that is slow as
    a whole blames nobody. A rank is compared with them as it always was to them (a stage with more
    to do stays what it is), and one that never was like them only where no role explains it.

    effect:  least relative slowness; sigmas: robust deviations from the peers
    span_s:  a rank is odd among its peers by the medians of both halves of so long: a change is
             seen sooner against what it was, and lengths of sequences differ for minutes
    fresh_s: a rank with nothing newer says nothing about now
    """

    effect: float = 0.10
    sigmas: float = 5.0
    span_s: float = 600.0
    fresh_s: float = 120.0
    _memory: Memory = field(default_factory=lambda: Memory(shift.FIELDS))
    _ranks: LastRanks = field(default_factory=LastRanks)

    def look(
        self, windows: Mapping[str, Window], *, topology: Topology | None, now_s: float
    ) -> Symptoms:
        """Return an anomaly for each slow node, and each slow rank of no slow node."""
        window = windows.get(METRIC)
        if window is None or not window.value.size:
            return Symptoms()
        ranks = self._ranks.of(window.targets)
        rows = self._memory.rows(ranks.keys)
        self._learn(ranks, rows, window)
        usual, value = self._against_peers(ranks, window, now_s)
        fresh = self._memory.value[SEEN][rows] >= now_s - self.fresh_s
        odd = self._odd(ranks, value) & fresh
        for half in self._halves(window, now_s) if odd.any() else ():
            odd &= self._odd(ranks, half)
        moved = self._moved(ranks, rows, fresh)
        newest = recent(window.value, window.time_s, now_s - NEWEST_S)
        usual, value = self._against_itself(rows, moved & ~odd, usual, (value, newest))
        found = _Found(window, ranks, value, usual, self._since(rows, moved, now_s))
        self._memory.forget(now_s)
        return Symptoms(anomalies=tuple(found.anomalies(moved | odd, self.effect, now_s)))

    def state(self) -> Mapping[str, Array]:
        """Return what was learned of each rank."""
        return self._memory.state()

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what ``state`` returned."""
        self._memory.restore(state)

    @property
    def _shift(self) -> shift.Shift:
        return shift.Shift(effect=float(np.log1p(self.effect)))

    def _learn(self, ranks: Ranks, rows: Ints, window: Window) -> None:
        new = self._memory.news(rows, window.time_s, window.value).any(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            log = np.log(window.value[:, new])
        log[~np.isfinite(log)] = np.nan
        off = log - ranks.per_job(log, USUAL_SHARE)[ranks.job]
        off[ranks.size[ranks.job] < roles.MIN_PEERS] = np.nan
        self._shift.learn(self._memory, rows, window.time_s[new], off)

    def _against_peers(self, ranks: Ranks, window: Window, now_s: float) -> tuple[Floats, Floats]:
        """Return (S,) what a rank should take now and (S,) what it takes, in seconds."""
        value = recent(window.value, window.time_s, now_s - self.span_s)
        return ranks.per_job(value[:, None], USUAL_SHARE)[ranks.job, 0], value

    def _halves(self, window: Window, now_s: float) -> Iterator[Floats]:
        time_s = window.time_s[window.time_s >= now_s - self.span_s]
        middle_s = float(np.median(time_s)) if len(time_s) else now_s
        early = (window.time_s >= now_s - self.span_s) & (window.time_s < middle_s)
        yield recent(window.value[:, early], window.time_s[early], -np.inf)
        yield recent(window.value, window.time_s, middle_s)

    def _against_itself(
        self, rows: Ints, which: Bools, usual: Floats, takes: tuple[Floats, Floats]
    ) -> tuple[Floats, Floats]:
        """Return the same, with its own habit and its newest readings where a rank has moved."""
        m, mine = self._memory.value, rows[which]
        own = usual[which] * np.exp(m["mean"][mine])
        now = usual.copy(), takes[0].copy()
        now[0][which] = own
        # Between two bouts the newest are well again, and the level still tells of the last.
        now[1][which] = np.fmax(own * np.exp(m["level"][mine]), takes[1][which])
        return now

    def _moved(self, ranks: Ranks, rows: Ints, fresh: Bools) -> Bools:
        """Return (S,) which ranks are slower than they were to their peers."""
        which = self._shift.risen(self._memory, rows) | self._shift.flickers(self._memory, rows)
        which &= fresh
        if not which.any():
            return which
        share = np.bincount(ranks.job, weights=which) / ranks.size
        return np.asarray(which & (share <= MOST_OF_JOB)[ranks.job])

    def _odd(self, ranks: Ranks, value: Floats) -> Bools:
        """Return (S,) which ranks are slower than peers of the same role, however they were."""
        out = np.zeros(len(value), dtype=np.bool_)
        for members in ranks.groups:
            if members.shape[1] < roles.MIN_PEERS:
                continue
            suspected = roles.odd(value[members], effect=self.effect, sigmas=self.sigmas)
            for group in members[suspected.any(axis=1)]:
                there = group[np.isfinite(value[group])]
                if len(there) >= roles.MIN_PEERS:
                    out[there] = roles.blamed(value[there], effect=self.effect, sigmas=self.sigmas)
        return out

    def _since(self, rows: Ints, moved: Bools, now_s: float) -> Floats:
        since_s = self._memory.value["since_s"][rows]
        return np.where(moved & (since_s <= now_s), since_s, now_s - self.span_s)


@dataclass(frozen=True, slots=True)
class _Found:
    window: Window
    ranks: Ranks
    value: Floats
    usual: Floats
    since_s: Floats

    def anomalies(self, slow: Bools, effect: float, now_s: float) -> Iterator[Anomaly]:
        """Yield one anomaly a slow node, and one a slow rank elsewhere."""
        node = self.ranks.node
        if not slow.any():
            return
        placed = node >= 0
        on_node = np.bincount(node[placed], minlength=1)
        of_them = np.bincount(node[placed], weights=slow[placed], minlength=1)
        whole = (on_node >= 2) & (of_them >= NODE_SHARE * on_node)
        for code in np.flatnonzero(whole):
            members = np.flatnonzero(slow & (node == code))
            target = Target(node=self.window.targets[members[0]].node)
            where = f"{len(members)} of {on_node[code]} ranks of job "
            where += f"{self.window.targets[members[0]].job} on {target}"
            yield self._anomaly(target, members, where, (effect, now_s))
        alone = slow & ~(placed & whole[np.maximum(node, 0)])
        for row in np.flatnonzero(alone):
            target = self.window.targets[row]
            yield self._anomaly(target, np.array([row]), str(target), (effect, now_s))

    def _anomaly(
        self, target: Target, members: Ints, where: str, by: tuple[float, float]
    ) -> Anomaly:
        effect, now_s = by
        value, usual = (float(np.median(of[members])) for of in (self.value, self.usual))
        start_s = float(self.since_s[members].min())
        over = value / usual - 1 if usual > 0 else 0.0
        return Anomaly(
            target=target,
            metric=METRIC,
            start_s=start_s,
            end_s=now_s,
            value=value,
            lower=CATALOG[METRIC].low,
            upper=usual * (1 + effect),
            score=float(np.clip(0.5 + over / 2, 0.5, 1.0)),
            detector=DETECTOR,
            severity=Severity.WARNING,
            text=f"{subject(METRIC)} of {where} is {amount(value, METRIC)}, {100 * over:.0f} % "
            f"over {amount(usual, METRIC)}, for {duration(now_s - start_s)}",
        )
