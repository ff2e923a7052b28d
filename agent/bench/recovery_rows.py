"""What the recovery benchmark saw, as rows: each system beside the best of the others."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agent.bench.recovery_runs import Memory, Record, Recovery
from agent.bench.recovery_systems import Gpumedic
from core.figures import Row, at_least, at_most

OURS = Gpumedic.name
# To reach, of the best peer's time to full width; nothing is asked of a torn checkpoint.
_GOALS = {"kill": 0.15, "hang": 0.5, "dead_node": 0.5}
_GOODPUT_GOAL = 0.95

Results = dict[int, tuple[int, float]]
"""By step: what the parameters came to (a checksum), and the mean loss of the ranks."""


@dataclass(slots=True)
class Seen:
    """All that was seen.

    recoveries: by fault, world and system
    results:    by world and system: the results of whole steps after a job's first fault
    skipped:    by system: why it, or a fault, was left out
    goodput:    by system: steps kept, of those that an undisturbed job made meanwhile
    """

    recoveries: dict[tuple[str, int, str], list[Recovery]] = field(
        default_factory=lambda: defaultdict(list)
    )
    memory: dict[tuple[int, str], Memory] = field(default_factory=dict)
    results: dict[tuple[int, str], list[Results]] = field(default_factory=lambda: defaultdict(list))
    skipped: list[tuple[str, str]] = field(default_factory=list)
    goodput: dict[str, float] = field(default_factory=dict)


def results_of(records: Sequence[Record], world: int, since_s: float) -> Iterable[Results]:
    """Return what each whole step came to, a step that was done again in one more result.

    A step whose ranks do not hold the same parameters comes to -1.
    """
    again: dict[tuple[int, int], int] = defaultdict(int)
    found: dict[int, dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for each in records:
        if each["began_s"] >= since_s and each["world"] == world:
            time_ = again[each["step"], each["rank"]]
            again[each["step"], each["rank"]] += 1
            found[time_][each["step"]].append(each)
    for steps in found.values():
        yield {
            step: (
                ranks[0]["parameters"] if len({e["parameters"] for e in ranks}) == 1 else -1,
                statistics.fmean(each["loss"] for each in ranks),
            )
            for step, ranks in steps.items()
            if len(ranks) == world
        }


def rows_of(seen: Seen, undisturbed: dict[int, Results], goodput: str) -> list[Row]:
    """Report all of it; ``goodput`` says how that was measured."""
    return [
        *_time_rows(seen),
        *_sum_rows(seen),
        *_same_rows(seen, undisturbed),
        *_goodput_rows(seen, goodput),
        *_memory_rows(seen),
        *(Row("recovered_ratio", None, "ratio", n=0, note=f"{n}; {w}") for n, w in seen.skipped),
    ]


def _time_rows(seen: Seen) -> Iterable[Row]:
    for fault, world, name in sorted(seen.recoveries, key=_order):
        found = seen.recoveries[fault, world, name]
        note = f"{name}; {world} ranks"
        yield _seconds(f"{fault}_full_width_s", [each.full_width_s for each in found], note)
        yield _seconds(f"{fault}_first_step_s", [each.first_s for each in found], note)
        if name == OURS:
            yield _ratio(fault, world, seen)


def _order(key: tuple[str, int, str]) -> tuple[str, int, bool, str]:
    return key[0], key[1], key[2] != OURS, key[2]


def _seconds(metric: str, found: Sequence[float | None], note: str) -> Row:
    values = [each for each in found if each is not None]
    if not values:
        return Row(metric, None, "s", n=len(found), note=f"{note}; none within the limit")
    if len(values) < len(found):
        note = f"{note}; {len(values)} of {len(found)} within the limit"
    median = statistics.median(values)
    return Row(metric, median, "s", min(values), max(values), len(values), note=note)


def _ratio(fault: str, world: int, seen: Seen) -> Row:
    """Compare the medians with the best peer that came back at all."""
    medians = {
        name: statistics.median(times)
        for (of, ranks, name), found in seen.recoveries.items()
        if (of, ranks) == (fault, world)
        and (times := [e.full_width_s for e in found if e.full_width_s is not None])
    }
    peers = {name: each for name, each in medians.items() if name != OURS}
    note = f"{fault}, {world} ranks, full width"
    if not peers or OURS not in medians:
        return Row("ratio_vs_best_peer", None, "ratio", note=f"{note}: no peer within the limit")
    best = min(peers, key=lambda name: peers[name])
    ratio, note = medians[OURS] / peers[best], f"{note}: {best}"
    if fault not in _GOALS:
        return Row("ratio_vs_best_peer", ratio, "ratio", note=note)
    return at_most("ratio_vs_best_peer", ratio, _GOALS[fault], unit="ratio", note=note)


def _sum_rows(seen: Seen) -> Iterable[Row]:
    """Report what all faults together cost, a row a system."""
    for name in dict.fromkeys(key[2] for key in sorted(seen.recoveries, key=_order)):
        faults = [
            each for key, found in seen.recoveries.items() if key[2] == name for each in found
        ]
        for torn in (False, True):
            yield from _lost(
                name,
                [
                    each.lost
                    for (fault, _, of), found in seen.recoveries.items()
                    for each in found
                    if of == name and (fault == "torn") is torn and each.lost is not None
                ],
                torn,
            )
        came = sum(each.full_width_s is not None for each in faults) / len(faults)
        note = f"{name}; all faults"
        if name == OURS:
            yield at_least("recovered_ratio", came, 1.0, unit="ratio", n=len(faults), note=note)
        else:
            yield Row("recovered_ratio", came, "ratio", n=len(faults), note=note)


def _lost(name: str, lost: Sequence[int], torn: bool) -> Iterable[Row]:
    """Report steps done again that all ranks had done; ours may be none where a rank is left."""
    if not lost:
        return
    middle, low, high = float(statistics.median(lost)), min(lost), max(lost)
    ours = {"goal": "<= 0, each", "ok": high == 0} if name == OURS and not torn else {}
    note = f"{name}; " + ("all ranks gone as they saved" if torn else "a rank or a node gone")
    yield Row("steps_lost", middle, "steps", low, high, len(lost), note=note, **ours)  # type: ignore[arg-type]


def _same_rows(seen: Seen, undisturbed: dict[int, Results]) -> Iterable[Row]:
    """Hold the steps after a fault against the same steps of a job that nothing was done to."""
    for world, name in sorted(seen.results, key=lambda key: (key[0], key[1] != OURS, key[1])):
        right = undisturbed.get(world, {})
        pairs = [
            (each, right[step])
            for results in seen.results[world, name]
            for step, each in results.items()
            if step in right
        ]
        if not pairs:
            continue
        same = sum(each[0] == other[0] for each, other in pairs) / len(pairs)
        apart = max(abs(each[1] / other[1] - 1) for each, other in pairs)
        note = f"{name}; {world} ranks, steps after a fault"
        if name == OURS:
            yield at_least("same_parameters", same, 1.0, unit="ratio", n=len(pairs), note=note)
        else:
            yield Row("same_parameters", same, "ratio", n=len(pairs), note=note)
        yield Row("loss_difference", apart, "ratio", n=len(pairs), note=f"{note}; the largest")


def _goodput_rows(seen: Seen, how: str) -> Iterable[Row]:
    for name, share in seen.goodput.items():
        note = f"{name}; {how}"
        if name == OURS:
            yield at_least("goodput_under_kills", share, _GOODPUT_GOAL, unit="ratio", note=note)
        else:
            yield Row("goodput_under_kills", share, "ratio", note=note)


def _memory_rows(seen: Seen) -> Iterable[Row]:
    for (world, name), memory in sorted(seen.memory.items()):
        note = f"{name}; {world} ranks"
        yield Row("rank_memory", memory.rank / 2**20, "MiB", note=f"{note}, each")
        yield Row("standby_memory", memory.standbys / 2**20, "MiB", note=f"{note}, all standbys")
        yield Row(
            "supervisor_memory", memory.others / 2**20, "MiB", note=f"{note}, all else it runs"
        )
