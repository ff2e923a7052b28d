"""How soon hangs and stragglers of jobs are found, how surely, and how often for nothing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agent.evaluations import job_worlds, late_services, slow_ranks
from agent.evaluations.job_worlds import Hang
from agent.evaluations.peer_rules import RULES
from agent.evaluations.slow_ranks import EVERY_S, HISTORY, STRETCH, Case
from agent.evaluations.timelines import blamed_replicas, timeline
from core.figures import Row, at_least, at_most
from core.types import Ints, Window
from detectors.detector import Detector
from detectors.progress import Hangs, Slowdowns, Stragglers
from detectors.robust import row_median

Progressed = Callable[[str, int, int], None]
DAY_S = 86_400.0
# One incident ends when nothing was said for so long.
APART_S = 600.0
WITHIN_S = 600.0
# The latest that other rules are asked: what they compare is the median of so many readings.
SPAN = 9
# What was looked at while the detectors were written has other seeds.
SEED = 200


def rows(recorded: Path | None, *, quick: bool, progress: Progressed) -> Sequence[Row]:
    """Measure hangs, stragglers and false incidents on simulated jobs, and recorded timelines."""
    seeds = 2 if quick else 12
    return (
        *_hang_rows(seeds, progress),
        *_straggler_rows(2 if quick else 8, progress),
        _false_row(12.0 if quick else 96.0, progress),
        *late_services.rows(quick=quick, progress=progress),
        *_recorded_rows(recorded),
    )


def _hang_rows(seeds: int, progress: Progressed) -> Iterator[Row]:
    for every_s in (1.0, 15.0):
        found: list[tuple[Hang, float]] = []
        early = 0
        for seed in range(seeds):
            progress(f"hangs, readings every {every_s:g} s", seed, seeds)
            ones, before = _hangs(seed, every_s)
            found, early = found + ones, early + before
        progress(f"hangs, readings every {every_s:g} s", seeds, seeds)
        label = f'readings="{every_s:g}s"'
        delay_s = np.array([delay for _, delay in found])
        yield at_least(
            f"hang_recall{{{label}}}",
            float(np.isfinite(delay_s).mean()),
            1.0,
            unit="ratio",
            n=len(found),
            note=f"jobs with steps of 1.2 to 46 s; {early} were said before there was one",
        )
        yield from _delay_rows(label, found, held=every_s <= 1.0)


def _delay_rows(label: str, found: list[tuple[Hang, float]], *, held: bool) -> Iterator[Row]:
    """Yield the delays; ``held`` against what is wanted where readings are frequent enough."""
    plain = [(one, delay) for one, delay in found if not one.in_pause]
    paused = [delay for one, delay in found if one.in_pause]
    worst, late = max(plain, key=lambda pair: pair[1] / pair[0].bound_s)
    median = float(np.median([delay for _, delay in found]))
    rest: dict[str, Any] = {"unit": "s", "n": len(plain)}
    if held:
        yield at_most("hang_delay_s", median, 10.0, **rest)
        rest["note"] = f"{worst.job}, of all outside of a pause the latest for its bound"
        yield at_most(f'hang_delay_s{{{label},stat="worst"}}', late, worst.bound_s, **rest)
    else:
        yield Row(f'hang_delay_s{{{label},stat="median"}}', median, **rest)
        yield Row(f'hang_delay_s{{{label},stat="worst"}}', late, **rest)
    if paused:
        name = f'hang_delay_s{{{label},stat="worst",when="checkpoint"}}'
        note = "where a checkpoint had the job pause at that time anyway"
        yield Row(name, max(paused), "s", n=len(paused), note=note)


def _hangs(seed: int, every_s: float) -> tuple[list[tuple[Hang, float]], int]:
    """Return each hang and its delay, inf where it was not found, and false ones before."""
    world, made = job_worlds.hangs(seed=SEED + seed)
    start_s = world.scenario.start_s
    time_s = np.arange(start_s - 3600.0, start_s + 1000.0, every_s)
    windows = job_worlds.read(world, time_s)
    history = int(3600.0 / every_s)
    # Looks of the past overlap by a column: each reading is learned, and few looks are needed.
    columns = [*range(39, history, 40), *range(history, len(time_s))]
    onset = {hang.job: hang.onset_s for hang in made}
    first: dict[str, float] = {}
    early: set[str] = set()
    for now_s, anomaly in job_worlds.shown(Hangs(), windows, columns):
        job = anomaly.target.job
        if now_s < onset[job]:
            early.add(job)
        else:
            first.setdefault(job, now_s)
    return [(one, first.get(one.job, np.inf) - one.onset_s) for one in made], len(early)


@dataclass(slots=True)
class Score:
    """Blames and cases of one method."""

    right: int = 0
    wrong: int = 0
    found: dict[float, list[bool]] = field(default_factory=dict)
    delay_s: dict[float, list[float]] = field(default_factory=dict)

    @property
    def precision(self) -> float:
        """Return the share of blames that are right."""
        return self.right / max(self.right + self.wrong, 1)

    @property
    def recall(self) -> float:
        """Return the share of slowdowns of 10 % and more that were found."""
        every = [one for size, ones in self.found.items() if size >= 0.1 for one in ones]
        return float(np.mean(every)) if every else float("nan")


def _straggler_rows(seeds: int, progress: Progressed) -> Iterator[Row]:
    scores = {name: Score() for name in ("gpumedic", *RULES)}
    of_manner = {manner: Score() for manner in slow_ranks.MANNERS}
    for seed in range(seeds):
        progress("stragglers", seed, seeds)
        healthy = slow_ranks.base(SEED + seed)
        for case in slow_ranks.cases(SEED + seed):
            windows, slow = slow_ranks.made(case, healthy)
            blames = {"gpumedic": _blames(windows), **_rule_blames(windows)}
            for name, first in blames.items():
                _count(scores[name], case, windows, slow, first)
            _count(of_manner[case.manner], case, windows, slow, blames["gpumedic"])
    progress("stragglers", seeds, seeds)
    yield from _score_rows(scores, of_manner)


def _score_rows(scores: dict[str, Score], of_manner: dict[str, Score]) -> Iterator[Row]:
    own = scores["gpumedic"]
    note = "5 to 50 % sudden, gradual, intermittent; stages, lengths and health among them"
    cases = sum(len(ones) for ones in own.found.values())
    yield at_least(
        "straggler_precision", own.precision, 0.95, unit="ratio", n=own.right + own.wrong, note=note
    )
    yield at_least(
        "straggler_recall", own.recall, 0.93, unit="ratio", n=cases, note="10 % and more"
    )
    for size, ones in own.found.items():
        name = f'straggler_recall{{slowdown="{size:.0%}"}}'
        yield Row(name, float(np.mean(ones)), "ratio", n=len(ones))
    for manner, score in of_manner.items():
        yield Row(f'straggler_recall{{manner="{manner}"}}', score.recall, "ratio")
    for name in RULES:
        other = scores[name]
        yield Row(f'straggler_precision{{method="{name}"}}', other.precision, "ratio")
        yield Row(f'straggler_recall{{method="{name}"}}', other.recall, "ratio")
    late = np.array(of_manner["sudden"].delay_s[0.1] + of_manner["gradual"].delay_s[0.1])
    yield at_most(
        "fail_slow_10pct_delay_s",
        float(late.max()),
        WITHIN_S,
        unit="s",
        n=len(late),
        low=float(late.min()),
        high=float(late.max()),
        note="the latest of sudden and gradual ones, after all 10 % were there; inf: not found",
    )


def _blames(windows: dict[str, Window]) -> dict[int, int]:
    """Return rank -> column at which it or its node was first blamed."""
    stragglers, first = Stragglers(), dict[int, int]()
    targets = windows[slow_ranks.OWN].targets
    columns = [*range(19, HISTORY, 20), *range(HISTORY, HISTORY + STRETCH)]
    time_s = windows[slow_ranks.OWN].time_s
    for now_s, anomaly in job_worlds.shown(stragglers, windows, columns):
        column = int(np.searchsorted(time_s, now_s))
        for row, target in enumerate(targets):
            if target == anomaly.target or target.node == anomaly.target.name:
                first.setdefault(row, column)
    return first


def _rule_blames(windows: dict[str, Window]) -> dict[str, dict[int, int]]:
    """Return what the others' rules say of medians, at each reading after the history."""
    own = windows[slow_ranks.OWN].value
    out: dict[str, dict[int, int]] = {name: {} for name in RULES}
    for column in range(HISTORY, HISTORY + STRETCH):
        late = row_median(own[:, column + 1 - SPAN : column + 1])
        for name, rule in RULES.items():
            for row in np.flatnonzero(rule(late)):
                out[name].setdefault(int(row), column)
    return out


def _count(
    score: Score, case: Case, windows: dict[str, Window], slow: Ints, first: dict[int, int]
) -> None:
    """Count each blamed machine once: a slow node is one, found when any of its ranks is."""
    targets, right = windows[slow_ranks.OWN].targets, set(slow.tolist())
    hit = [column for row, column in first.items() if row in right and column >= HISTORY]
    missed = {row for row, column in first.items() if row not in right or column < HISTORY}
    score.right += bool(hit)
    score.wrong += len({targets[row].node for row in missed})
    if case.magnitude:
        score.found.setdefault(case.magnitude, []).append(bool(hit))
        if case.manner != "intermittent":
            late = min(hit, default=np.inf) - slow_ranks.onset(case.manner)
            delay_s = max(late * EVERY_S, 0.0)
            score.delay_s.setdefault(case.magnitude, []).append(delay_s)


def _false_row(hours: float, progress: Progressed) -> Row:
    """Measure what is said of a cluster on which no machine is at fault."""
    world = job_worlds.busy(hours=hours, seed=SEED)
    start_s, said = world.scenario.start_s, dict[tuple[str, str], list[float]]()
    detectors: dict[str, Detector] = {
        "hang": Hangs(),
        "straggler": Stragglers(),
        "slowdown": Slowdowns(),
    }
    parts = int(hours)
    for part in range(-1, parts):
        progress("false incidents", part + 1, parts + 1)
        before = 0.0 if part < 0 else EVERY_S * job_worlds.COLUMNS
        begin_s, end_s = start_s + 3600.0 * part, start_s + 3600.0 * (part + 1)
        windows = job_worlds.read(world, np.arange(begin_s - before, end_s, EVERY_S))
        overlap, width = int(before / EVERY_S), len(windows["job_steps_total"].time_s)
        for name, detector in detectors.items():
            columns = range(overlap, width, 1 if name == "hang" else 8)
            for now_s, anomaly in job_worlds.shown(detector, windows, columns):
                if part >= 0 and anomaly.detector != "goodput-drop":
                    said.setdefault((name, str(anomaly.target)), []).append(now_s)
    progress("false incidents", parts + 1, parts + 1)
    count = sum(1 + int((np.diff(times) > APART_S).sum()) for times in said.values())
    days = world.scenario.nodes * hours / 24.0
    return at_most(
        "false_incidents_per_1000_node_days",
        1000.0 * count / days,
        1.0,
        unit="1/1000 node-days",
        n=int(days),
        note=f"{count} in {days:.0f} node-days of jobs that start, save, fail by themselves and "
        "end; goodput lost by that is no false incident",
    )


def _recorded_rows(recorded: Path | None) -> Iterator[Row]:
    names = {"AR": "recorded_straggler_found", "ST": "recorded_blames_nobody"}
    for trace, name in names.items():
        metric = f'{name}{{trace="{trace}"}}'
        window, replica = timeline(recorded, trace) if recorded else (None, None)
        if window is None or replica is None:
            yield Row(metric, None, "", note="no recorded timelines at hand")
            continue
        blamed = blamed_replicas(window, replica)
        good = blamed == {0} if trace == "AR" else not blamed
        said = ", ".join(str(one) for one in sorted(blamed)) or "nobody"
        note = f"blamed: {said}; {len(window.targets)} ranks, {len(window.time_s)} steps"
        yield at_least(metric, float(good), 1.0, unit="", note=note)
