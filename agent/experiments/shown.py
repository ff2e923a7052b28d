"""Scenarios and results as tables for a terminal and as JSON."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group as Lines
from rich.table import Table
from rich.text import Text

from agent.experiments.axes import lasted, short
from agent.experiments.experiment import Experiment
from agent.experiments.results import RunResult
from agent.experiments.summary import HOUR_S, MEASURES, Estimate, differences, grouped
from core.codec import to_json
from sim import library

# Too long for a terminal; a folder's result.json has them.
_LONG = ("timeline", "spans")
_IN_TABLE = {
    "goodput_ratio": "goodput",
    "ettr_ratio": "ETTR",
    "lost_gpu_h": "lost GPU-h",
    "interruptions": "interrupted",
    "faults_struck": "faults",
}


def one_as_json(run: RunResult) -> dict[str, Any]:
    """Return a run without its long series."""
    found = to_json(run)
    for part in _LONG:
        found.pop(part)
    for part in ("settings", "uses_gpu_s", "losses_gpu_s"):
        found[part] = dict(found[part])
    return dict(found)


def many_as_json(made: Experiment) -> dict[str, Any]:
    """Return each setting's medians, the differences of policies, and each run in one row."""
    groups = grouped(made.results)
    rows = [one_as_json(run) for run in made.results]
    for row in rows:
        for part in ("faults", "orders", "plans"):
            row.pop(part)
    return {
        "settings": [
            {
                "settings": dict(group.settings),
                "policy": group.policy,
                "telemetry": group.telemetry,
                **{name: to_json(group.estimate(name)) for name in MEASURES},
            }
            for group in groups
        ],
        "differences": [
            {**to_json(each), "settings": dict(each.settings)} for each in differences(groups)
        ],
        "runs": rows,
        "failed": [{"run": each.label, "reason": each.reason} for each in made.failures],
        "taken_from_folder": made.taken,
        "interrupted": made.interrupted,
    }


def table(made: Experiment) -> Lines:
    """Lay out a row for each setting and policy, and below what one run or the seeds come to."""
    groups = grouped(made.results)
    first = made.results[0]
    title = _title(first, len(made.results))
    grid = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    grid.add_column("", overflow="fold")
    for head in _IN_TABLE.values():
        grid.add_column(head, justify="right", no_wrap=True)
    for group in groups:
        name = group.name.replace(", ", "\n") or f"policy {group.policy}"
        grid.add_row(Text(name), *(_below(each, group.estimate(each)) for each in _IN_TABLE))
    lines: list[object] = [grid]
    if len(made.results) == 1:
        lines += [Text(line) for line in _one(first)]
    for each in differences(groups):
        cell = _difference(each.measure, each.value)
        where = ", ".join(f"{key}={value}" for key, value in each.settings)
        of = f"in {_IN_TABLE[each.measure]}:"
        words = [each.policy, "less", each.other, where and f"({where})", of, cell]
        lines.append(Text(" ".join(word for word in words if word)))
    return Lines(*lines)  # type: ignore[arg-type]


def scenario_rows() -> list[dict[str, Any]]:
    """Return the library: name, text, nodes, GPUs, duration and tags of each scenario."""
    rows = []
    for name in library.names():
        each = library.scenario(name)
        rows.append(
            {
                "name": name,
                "text": each.text,
                "nodes": each.nodes,
                "gpus": each.nodes * each.machines.gpus_per_node,
                "duration_s": each.duration_s,
                "tags": list(each.tags),
            }
        )
    return rows


def scenario_table(rows: list[dict[str, Any]]) -> Table:
    """Lay the library out for a terminal."""
    grid = Table(title="Scenarios", title_justify="left")
    for name in ("name", "what happens"):
        grid.add_column(name, overflow="fold")
    for name in ("GPUs", "lasts"):
        grid.add_column(name, justify="right")
    for row in rows:
        lasts = lasted(row["duration_s"])
        grid.add_row(*map(Text, (row["name"], row["text"], f"{row['gpus']:,}", lasts)))
    return grid


def _title(run: RunResult, runs: int) -> str:
    many = "" if runs == 1 else f", {runs} runs"
    return f"{run.scenario}: {run.gpus:,} GPUs, {lasted(run.simulated_s)}{many}"


def _one(run: RunResult) -> list[str]:
    """Say of a single run what a median cannot."""
    causes = sorted(run.losses_gpu_s, key=lambda each: -each[1])
    lost = ", ".join(f"{cause} {gpu_s / HOUR_S:,.4g}" for cause, gpu_s in causes if gpu_s > 0)
    lines = [f"lost GPU-hours by cause: {lost}"] if lost else []
    if run.policy != "none":
        lines.append(f"goodput where nobody heals: {run.baseline_goodput_ratio:.1%}")
        lines.append(
            f"{run.incidents} incidents, {run.actions} actions, {run.verified} plans verified"
        )
    lines += run.plans
    return [*lines, f"{run.wall_s:.2f} s, of that {run.cpu_s:.2f} s of processor time"]


def _below(measure: str, value: Estimate) -> Text:
    """Return a median with its interval below it."""
    if not value.n:
        return Text("–")
    cell = Text(_said(measure, value.median))
    if value.low is not None and value.high is not None:
        low, high = _said(measure, value.low), _said(measure, value.high)
        cell.append(f"\n{low.removesuffix('%')}–{high.removesuffix('%')}", style="dim")
    return cell


def _difference(measure: str, value: Estimate) -> str:
    """Return a median difference with its interval; that of ratios in points of a hundred."""
    scale, unit = (100.0, " points") if measure.endswith("ratio") else (1.0, " GPU-hours")

    def said(number: float) -> str:
        return ("+" if number > 0 else "") + short(scale * number)

    if not value.n:
        return "–"
    if value.low is None or value.high is None:
        return said(value.median) + unit
    return f"{said(value.median)} [{said(value.low)}..{said(value.high)}]{unit}"


def _said(measure: str, number: float) -> str:
    return f"{number:.1%}" if measure.endswith("ratio") else short(number)
