"""The report's plots: each is drawn once for a wide page and once for a phone."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from agent.experiments.axes import (
    Frame,
    across,
    area,
    box,
    drawing,
    lasted,
    line,
    merged,
    round_ticks,
    short,
    text,
    time_axis,
    upward,
)
from agent.experiments.results import RunResult
from agent.experiments.summary import HOUR_S, Estimate, Group, in_words
from core.errors import InputError
from core.types import Floats
from sim.checks import read_seconds

WIDE, NARROW = 1120, 350
MOST_SERIES = 6
MOST_BANDS = 3  # more bands over each other hide the lines
MOST_LANES = 14
MOST_BARS = 24
MOST_ROWS = 24  # of jobs
CAUSES = ("stall", "start", "redone", "hung", "stopped", "waiting", "slow")
USES = ("useful", "lost", "idle", "down", "repair")
_PHASES = ("running", "stopped", "waiting")
_MARK_PX = 2.5
_WIDE_RANGE = 10.0  # from the least to the most: a logarithmic axis shows it better
_LETTER_PX = 6.4  # a letter of the plots' 12 px text is about this wide


def goodput_over_time(groups: Sequence[Group], *, width: int) -> str:
    """Draw the median over seeds of each group's windows, with the band of four fifths of them."""
    shown = [(group, _windows(group)) for group in groups[:MOST_SERIES]]
    shown = [(group, found) for group, found in shown if found[0].size > 1]
    if not shown:
        return ""
    end_s = max(float(time_s[-1]) for _, (time_s, _) in shown)
    values = np.concatenate([found[1].ravel() for _, found in shown])
    low = max(0.0, np.floor(10 * float(np.nanmin(values)) - 1e-9) / 10) if values.size else 0.0
    frame = Frame(width, 300, 0.0, end_s, min(low, 0.9), 1.0, left=58)
    ticks = round_ticks(frame.y0, frame.y1, 5)
    parts = [*time_axis(frame), *upward(frame, ticks, _percent, "goodput, %")]
    for number, (_, (time_s, ratio)) in enumerate(shown):
        parts += _series(frame, time_s, ratio, number, banded=len(shown) <= MOST_BANDS)
    return drawing(frame, parts, label=_goodput_words(shown), kind="goodput")


def lanes(run: RunResult, *, width: int) -> str:
    """Draw when which faults were there, what was done, and how many nodes were out."""
    rows = [*_fault_lanes(run), *_order_lanes(run)]
    above = width < 700  # a phone has no room for names beside the lanes
    height = 34 if above else 24
    left = 16 if above else 210
    frame = Frame(
        width,
        12 + height * len(rows) + 92 + 46,
        0.0,
        run.simulated_s,
        left=left,
        bottom=46,
    )
    parts = time_axis(frame)
    for number, (name, kind, stretches) in enumerate(rows):
        y = frame.top + number * height
        parts.append(
            text(left - (0 if above else 10), y + 13, name, "lane" if above else "lane end")
        )
        parts += _marks(frame, stretches, y=y + (17 if above else 3), kind=kind)
    base = frame.height - frame.bottom
    parts += _nodes_out(frame, run, base=base, above=above)
    return drawing(frame, parts, label=_lanes_words(run), kind="lanes")


def stacked(
    bars: Sequence[tuple[str, Mapping[str, float]]],
    parts_of: Sequence[str],
    *,
    width: int,
    title: str,
    whole: bool = True,
) -> str:
    """Draw a bar for each name, cut into its parts; whole: the sum stands behind it."""
    bars = bars[:MOST_BARS]
    longest = max((sum(parts.values()) for _, parts in bars), default=0.0)
    if not longest > 0:
        return ""
    above = width < 700
    height = 48 if above else 34
    room = 12 if above else 10 + int(_LETTER_PX * max(len(name) for name, _ in bars))
    left = min(room + 8, 300)
    frame = Frame(width, 12 + height * len(bars) + 46, 0.0, longest * 1.0, left=left, right=64)
    ticks = round_ticks(0.0, longest, 3 if above else 7)
    drawn = across(frame, ticks, short, title)
    for number, (name, parts) in enumerate(bars):
        y = frame.top + number * height
        drawn.append(
            text(left - (0 if above else 10), y + 16, name, "lane" if above else "lane end")
        )
        drawn += _bar(frame, name, parts, parts_of, y + (21 if above else 4))
        if whole:
            total = sum(parts.values())
            value_y = y + (34 if above else 17)
            drawn.append(text(frame.at_x(total) + 7, value_y, short(total), "value"))
    said = "; ".join(f"{name}: {short(sum(parts.values()))}" for name, parts in bars)
    return drawing(frame, drawn, label=f"{title}: {said}", kind="stacked")


def gantt(run: RunResult, *, width: int) -> str:
    """Draw what each job did when; stretches too short to see are drawn as thin as can be seen."""
    jobs = list(dict.fromkeys((span.job, span.gpus) for span in run.spans))[:MOST_ROWS]
    if not jobs:
        return ""
    above = width < 700
    height = 32 if above else 22
    longest = max(len(f"{job} · {gpus:,} GPUs") for job, gpus in jobs)
    left = 16 if above else min(24 + int(_LETTER_PX * longest), 300)
    frame = Frame(width, 12 + height * len(jobs) + 46, 0.0, run.simulated_s, left=left)
    parts = time_axis(frame)
    for number, (job, gpus) in enumerate(jobs):
        y = frame.top + number * height
        name = f"{job} · {gpus:,} GPUs"
        parts.append(
            text(left - (0 if above else 10), y + 13, name, "lane" if above else "lane end")
        )
        for phase in _PHASES:
            own = [s for s in run.spans if s.job == job and s.phase == phase]
            pixels = [(frame.at_x(s.start_s), frame.at_x(s.end_s)) for s in own]
            for begin, end, count in merged(pixels, least_px=1.2):
                said = f"{job}: {phase}" + (f", {count} times" if count > 1 else "")
                parts.append(
                    box(begin, y + (17 if above else 3), end - begin, 13, phase, title=said)
                )
    label = f"What {len(jobs)} jobs did over {lasted(run.simulated_s)}"
    return drawing(frame, parts, label=label, kind="gantt")


def sweep(groups: Sequence[Group], key: str, *, width: int) -> str:
    """Draw goodput against a swept setting: each policy and each other setting in its colour.

    Values that are numbers or times stand by size, and a line joins them; words do not.
    """
    lines: dict[str, list[tuple[str, Estimate]]] = {}
    for group, name in zip(groups, _line_names(groups, key), strict=True):
        found = group.estimate("goodput_ratio")
        if found.n:
            lines.setdefault(name, []).append((dict(group.settings)[key], found))
    if not lines:
        return ""
    values = list(dict.fromkeys(dict(group.settings)[key] for group in groups))
    places, joined = _places(values)
    points = [point for own in lines.values() for _, point in own]
    lows = [point.median if point.low is None else point.low for point in points]
    least = max(0.0, np.floor(10 * float(np.nanmin(lows)) - 0.2) / 10)
    span = max(places.values()) - min(places.values()) or 1.0
    margin = 0.06 * span if joined else 0.5
    begin, end = min(places.values()) - margin, max(places.values()) + margin
    frame = Frame(width, 300, begin, end, min(least, 0.9), 1.0, left=58)
    said = {place: value for value, place in places.items()}
    parts = [
        *across(frame, list(said), lambda place: said[place], key),
        *upward(frame, round_ticks(frame.y0, 1.0, 5), _percent, "goodput, %"),
    ]
    shown = list(lines.values())[:MOST_SERIES]
    for number, own in enumerate(shown):
        aside = 0.0 if joined else 14.0 * (number - (len(shown) - 1) / 2)
        placed = [(frame.at_x(places[value]) + aside, point) for value, point in own]
        parts += _swept(frame, placed, number, joined=joined)
    return drawing(frame, parts, label=f"goodput against {key}", kind="sweep")


def swept_lines(groups: Sequence[Group], key: str) -> list[str]:
    """Return the names of the lines that ``sweep`` draws, in the order of their colours."""
    return list(dict.fromkeys(_line_names(groups, key)))[:MOST_SERIES]


def _line_names(groups: Sequence[Group], key: str) -> list[str]:
    """Return of each group what tells its line from the others."""
    several = len({group.policy for group in groups}) > 1
    return [
        in_words(
            tuple(pair for pair in group.settings if pair[0] != key),
            group.policy if several else "",
        )
        for group in groups
    ]


def losses_of(group: Group) -> dict[str, float]:
    """Return the mean over seeds of a group's lost GPU-hours by cause."""
    found: dict[str, float] = {}
    for run in group.runs:
        for cause, gpu_s in run.losses_gpu_s:
            found[cause] = found.get(cause, 0.0) + gpu_s / HOUR_S / len(group.runs)
    return found


def uses_of(group: Group) -> dict[str, float]:
    """Return the share of the cluster's time by use over all seeds, in per cent; held in two."""
    found, whole = dict.fromkeys(USES, 0.0), 0.0
    for run in group.runs:
        uses, lost = dict(run.uses_gpu_s), dict(run.losses_gpu_s)
        held = uses.pop("held", 0.0)
        wasted = min(held, sum(gpu_s for cause, gpu_s in lost.items() if cause != "waiting"))
        for name, gpu_s in {**uses, "useful": held - wasted, "lost": wasted}.items():
            found[name] += gpu_s
            whole += gpu_s
    return {name: 100 * gpu_s / whole for name, gpu_s in found.items()} if whole else {}


def _windows(group: Group) -> tuple[Floats, Floats]:
    """Return (T,) seconds and (runs, T) goodput of a group; runs of one group are equally long."""
    timelines = [run.timeline for run in group.runs if run.timeline is not None]
    if not timelines:
        return np.zeros(0), np.zeros((0, 0))
    return timelines[0].time_s, np.stack([each.goodput_ratio for each in timelines])


def _series(frame: Frame, time_s: Floats, ratio: Floats, number: int, *, banded: bool) -> list[str]:
    known = np.isfinite(ratio).any(axis=0)
    if not known.any():
        return []
    clipped = np.clip(ratio[:, known], frame.y0, frame.y1)
    x = frame.x(time_s[known])
    low, middle, high = (frame.y(part) for part in np.nanquantile(clipped, [0.1, 0.5, 0.9], axis=0))
    parts = [area(x, low, high, f"band s{number}")] if banded and len(ratio) > 1 else []
    points = list(zip(x.tolist(), middle.tolist(), strict=True))
    return [*parts, line(points, f"line s{number}")]


def _fault_lanes(run: RunResult) -> list[tuple[str, str, list[tuple[float, float]]]]:
    counts = Counter(fault.fault for fault in run.faults if fault.onset_s <= run.simulated_s)
    names = [name for name, _ in counts.most_common(MOST_LANES)]
    rows = []
    for name in names:
        ends = [(fault.onset_s, fault.mended_s) for fault in run.faults if fault.fault == name]
        stretches = [(max(a, 0.0), run.simulated_s if b is None else b) for a, b in ends]
        label = f"{name.replace('_', ' ')} ×{counts[name]}"
        rows.append((label, "fault", [each for each in stretches if each[1] > 0]))
    return rows


def _order_lanes(run: RunResult) -> list[tuple[str, str, list[tuple[float, float]]]]:
    kinds = Counter(order.kind for order in run.orders)
    return [
        (
            f"{kind.replace('_', ' ')} ×{count}",
            "order",
            [(o.started_s, o.ended_s) for o in run.orders if o.kind == kind],
        )
        for kind, count in kinds.most_common()
    ]


def _marks(
    frame: Frame, stretches: Sequence[tuple[float, float]], *, y: float, kind: str
) -> list[str]:
    """Draw a lane: what lasted pale, and where each began a mark that others do not hide."""
    right = frame.width - frame.right
    pixels = [(frame.at_x(a), min(frame.at_x(b), right)) for a, b in stretches]
    rail = f'<line class="rail" x1="{frame.left}" x2="{right}"'
    parts = [f'{rail} y1="{y + 7:.1f}" y2="{y + 7:.1f}"/>']
    for begin, end, _ in merged(pixels, least_px=_MARK_PX):
        parts.append(box(min(begin, right - _MARK_PX), y, end - begin, 14, f"{kind} lasting"))
    begins = [(begin, begin) for begin, _ in pixels]
    for begin, end, count in merged(begins, least_px=_MARK_PX, gap_px=0.0):
        ratio = (begin - frame.left) / (right - frame.left)
        at_s = frame.x0 + ratio * (frame.x1 - frame.x0)
        said = f"at {lasted(at_s)}" + (f", {count} in all" if count > 1 else "")
        parts.append(box(min(begin, right - _MARK_PX), y, end - begin, 14, kind, title=said))
    return parts


def _nodes_out(frame: Frame, run: RunResult, *, base: float, above: bool) -> list[str]:
    """Draw the nodes out of service as a step area in the lowest 70 pixels."""
    windows = run.timeline
    if windows is None or not windows.time_s.size:
        return []
    x = frame.x(np.repeat(np.concatenate([[0.0], windows.time_s]), 2)[1:-1])
    most = int(windows.nodes_out.max())
    y = base - 58.0 * np.repeat(windows.nodes_out, 2) / max(most, 1)
    name = f"nodes out of service, at most {most:,}"
    parts = [area(x, np.full(len(y), float(base)), y, "out")]
    if above:
        return [*parts, text(frame.left, base - 64, name, "lane")]
    return [
        *parts,
        text(frame.left - 10, base - 30, "nodes out of service", "lane end"),
        text(frame.left - 10, base - 14, f"at most {most:,}", "tick end"),
    ]


def _bar(
    frame: Frame, name: str, parts: Mapping[str, float], order: Sequence[str], y: float
) -> list[str]:
    known = [part for part in order if parts.get(part, 0.0) > 0]
    others = [part for part in parts if part not in order and parts[part] > 0]
    ends = np.cumsum([0.0, *(parts[part] for part in (*known, *others))])
    return [
        box(frame.at_x(a), y, frame.at_x(b) - frame.at_x(a), 18, f"part k-{part}",
            title=f"{name}: {part} {short(b - a)}")
        for part, (a, b) in zip((*known, *others), pairwise(ends.tolist()), strict=True)
    ]  # fmt: skip


def _places(values: Sequence[str]) -> tuple[dict[str, float], bool]:
    """Return where each value stands, and whether by size; words stand in their order."""
    try:
        numbers = [_number(value) for value in values]
    except InputError:
        return {value: float(number) for number, value in enumerate(values)}, False
    if min(numbers) > 0 and max(numbers) / min(numbers) >= _WIDE_RANGE:
        numbers = [float(np.log10(number)) for number in numbers]
    return dict(zip(values, numbers, strict=True)), True


def _number(value: str) -> float:
    """Read a number, or a time such as 20m; InputError where it is neither or has no end."""
    try:
        found = float(value)
    except ValueError:
        found = read_seconds(value)
    if not math.isfinite(found):
        raise InputError(f"{value} has no place on an axis.")
    return found


def _swept(
    frame: Frame, points: Sequence[tuple[float, Estimate]], number: int, *, joined: bool
) -> list[str]:
    parts, middle = [], []
    for x, value in sorted(points, key=lambda each: each[0]):
        y = frame.at_y(value.median)
        middle.append((x, y))
        if value.low is not None and value.high is not None:
            ends = [(x, frame.at_y(value.low)), (x, frame.at_y(value.high))]
            parts.append(line(ends, f"whisker s{number}"))
        parts.append(f'<circle class="dot s{number}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>')
    return [line(middle, f"line s{number}"), *parts] if joined else parts


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.3g}"


def _goodput_words(shown: Sequence[tuple[Group, tuple[Floats, Floats]]]) -> str:
    medians = [
        f"{group.name}: {np.nanmedian(ratio):.1%} in the median window"
        for group, (_, ratio) in shown
    ]
    return "Goodput over time. " + "; ".join(medians)


def _lanes_words(run: RunResult) -> str:
    return (
        f"{run.faults_struck} faults and {len(run.orders)} actions over {lasted(run.simulated_s)}, "
        "one lane for each kind"
    )
