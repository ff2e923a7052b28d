"""The report of an experiment: one HTML file that needs no other, no script and no network."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from agent.experiments import charts
from agent.experiments.axes import lasted
from agent.experiments.folder import setting_of
from agent.experiments.results import NONE, RunFailed, RunResult
from agent.experiments.summary import (
    HOUR_S,
    MEASURES,
    Difference,
    Estimate,
    Group,
    differences,
    grouped,
)

if TYPE_CHECKING:
    from jinja2 import Template

MOST_HEADS = 4
MOST_TABLE_RUNS = 500
MOST_COLUMNS = 6
_WHOLE = 1000.0  # nobody reads the fractions of more than that
_NAMES = {
    "goodput_ratio": "Goodput",
    "ettr_ratio": "ETTR",
    "lost_gpu_h": "Lost GPU-hours",
    "interruptions": "Interruptions",
    "faults_struck": "Faults",
    "faults_mended": "Mended",
    "actions": "Actions",
    "verified": "Verified",
    "jobs_done": "Jobs done",
    "jobs_waiting": "Jobs waiting",
}
_OF_A_POLICY = ("actions", "verified")
_CAUSES = {
    "stall": "waiting for a checkpoint",
    "start": "starting",
    "redone": "steps done again",
    "hung": "hung, unnoticed",
    "stopped": "held by a stopped job",
    "waiting": "waiting in the queue after a failure",
    "slow": "slower than it should be",
}
_USES = {
    "useful": "useful steps",
    "lost": "held by a job and lost",
    "idle": "idle",
    "down": "down or held out",
    "repair": "in repair",
}


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing in two widths with what is to be said of it; legend: (class, name)."""

    title: str
    text: str
    legend: tuple[tuple[str, str], ...]
    wide: str
    narrow: str
    table: Sequence[Sequence[str]] = ()


def report(results: Sequence[RunResult], failures: Sequence[RunFailed]) -> str:
    """Return the page. It takes jinja2, as the controller's page does."""
    groups = grouped(results)
    shown = groups if len(groups) <= MOST_HEADS else _first_of_policies(groups)
    heads = [_head(group) for group in shown]
    plots = [plot for plot in _plots(groups) if plot.wide]
    healed = any(run.policy != NONE for run in results)
    measures = [name for name in _NAMES if healed or name not in _OF_A_POLICY]
    return _template().render(
        title=f"{results[0].scenario}" if results else "No result",
        sentence=_sentence(results, groups),
        style=_safe(_text("agent.web", "style.css") + _text("agent.experiments", "report.css")),
        icon=_safe(_text("agent.web", "icon.svg").replace("<svg ", '<svg width="26" height="26" ')),
        heads=heads,
        heads_left=len(groups) - len(heads),
        plots=[_marked(plot) for plot in plots],
        paired=[_paired(each) for each in differences(groups)],
        settings_head=["Setting and policy", "Seeds", *(_NAMES[name] for name in measures)],
        settings=[_setting(group, measures) for group in groups],
        runs_head=["Policy", "Setting", "Seed", *(_NAMES[n] for n in measures), "Wall time"],
        runs=[_run(run, measures) for run in results[:MOST_TABLE_RUNS]],
        runs_text=_runs_text(results),
        failures=failures,
        version=version("gpumedic"),
        command=" ".join(["gpumedic", *sys.argv[1:]]),
    )


def _sentence(results: Sequence[RunResult], groups: Sequence[Group]) -> str:
    if not results:
        return "Every run failed; the reasons are below."
    first = results[0]
    runs = "1 run" if len(results) == 1 else f"{len(results):,} runs"
    said = (
        f"{runs} of {lasted(first.simulated_s)} each on {first.nodes:,} nodes with "
        f"{first.gpus:,} GPUs"
    )
    return said + (f", in {len(groups)} settings and policies." if len(groups) > 1 else ".")


def _head(group: Group) -> dict[str, Any]:
    shown = ("goodput_ratio", "ettr_ratio", "lost_gpu_h", "interruptions", "faults_struck")
    more = _OF_A_POLICY if group.policy != NONE else ()
    figures = []
    for measure in (*shown, *more):
        value = group.estimate(measure)
        if value.n:
            figures.append((_NAMES[measure], _one(measure, value.median), _span(measure, value)))
    return {"name": group.name, "figures": figures}


def _plots(groups: Sequence[Group]) -> list[Plot]:
    if not groups:
        return []
    names = [(f"s{n}", group.name) for n, group in enumerate(groups[: charts.MOST_SERIES])]
    found = [
        _plot(
            "Goodput over time",
            _goodput_text(groups),
            names if len(names) > 1 else [],
            lambda width: charts.goodput_over_time(groups, width=width),
        )
    ]
    for key in _swept(groups):
        lines = [(f"s{n}", name) for n, name in enumerate(charts.swept_lines(groups, key)) if name]
        found.append(_sweep_plot(groups, key, lines))
    found += [_losses_plot(groups), _uses_plot(groups)]
    for group in _first_of_policies(groups):
        found += _run_plots(_typical(group), group)
    return found


def _goodput_text(groups: Sequence[Group]) -> str:
    text = "Useful share of the GPU time that jobs asked for, in windows of equal length."
    if max(len(group.runs) for group in groups) > 1:
        text += " The line is the median over seeds"
        banded = len(groups) <= charts.MOST_BANDS
        text += ", the band holds the middle four fifths of them." if banded else "."
    left = len(groups) - charts.MOST_SERIES
    return text + (
        f" The first {charts.MOST_SERIES} of {len(groups)} are drawn." if left > 0 else ""
    )


def _sweep_plot(groups: Sequence[Group], key: str, lines: list[tuple[str, str]]) -> Plot:
    return _plot(
        f"Goodput against {key}",
        "Median over seeds; the whisker is its 95 % bootstrap interval.",
        lines,
        lambda width: charts.sweep(groups, key, width=width),
    )


def _losses_plot(groups: Sequence[Group]) -> Plot:
    bars = [(group.name, charts.losses_of(group)) for group in groups]
    there = {cause for _, parts in bars for cause, value in parts.items() if value > 0}
    plot = _plot(
        "Lost GPU-hours by cause",
        "GPU time that jobs asked for and that made no progress. Mean over seeds.",
        [(cause, name) for cause, name in _CAUSES.items() if cause in there],
        lambda width: charts.stacked(
            bars, charts.CAUSES, width=width, title="lost GPU-hours, mean over seeds"
        ),
    )
    shown = bars[:MOST_COLUMNS]
    table = [["", *(name or "GPU-hours" for name, _ in shown)]]
    for cause, name in _CAUSES.items():
        if cause in there:
            cells = [_of_whole(parts[cause], sum(parts.values())) for _, parts in shown]
            table.append([name, *cells])
    return replace(plot, table=table)


def _of_whole(part: float, whole: float) -> str:
    return f"{_count(part)} ({part / whole:.1%})" if whole > 0 else "0"


def _uses_plot(groups: Sequence[Group]) -> Plot:
    bars = [(group.name, charts.uses_of(group)) for group in groups]
    there = {use for _, parts in bars for use, value in parts.items() if value > 0}
    return _plot(
        "Where the cluster's time went",
        "Every GPU-hour of the cluster is in exactly one of these.",
        [(use, name) for use, name in _USES.items() if use in there],
        lambda width: charts.stacked(
            bars, charts.USES, width=width, title="share of the cluster's GPU-hours, %", whole=False
        ),
    )


def _run_plots(run: RunResult, group: Group) -> list[Plot]:
    which = f"seed {run.seed}"
    if len(group.runs) > 1:
        which += ", whose goodput is nearest the median"
    of = f": {group.name}" if group.name else ""
    orders = [("order", "action, from its order until it was done")] if run.orders else []
    return [
        _plot(
            f"Faults and actions{of}",
            f"One run: {which}. A mark is where one began; what is pale behind it lasted until it "
            "was mended.",
            [("fault", "fault"), *orders, ("down", "nodes out of service")],
            lambda width: charts.lanes(run, width=width),
        ),
        _plot(
            f"Jobs{of}",
            f"The largest by GPU time. One run: {which}.",
            [
                ("running", "running"),
                ("stopped", "stopped or restarting"),
                ("waiting", "waiting in the queue"),
            ],
            lambda width: charts.gantt(run, width=width),
        ),
    ]


def _plot(
    title: str, text: str, legend: Sequence[tuple[str, str]], draw: Callable[[int], str]
) -> Plot:
    return Plot(title, text, tuple(legend), draw(charts.WIDE), draw(charts.NARROW))


def _marked(plot: Plot) -> dict[str, Any]:
    return {
        "title": plot.title,
        "text": plot.text,
        "legend": plot.legend,
        "wide": _safe(plot.wide),
        "narrow": _safe(plot.narrow),
        "table": plot.table,
    }


def _swept(groups: Sequence[Group]) -> list[str]:
    """Return the settings that have more than one value."""
    keys = list(dict.fromkeys(key for group in groups for key, _ in group.settings))
    return [key for key in keys if len({dict(g.settings).get(key) for g in groups}) > 1]


def _first_of_policies(groups: Sequence[Group]) -> list[Group]:
    """Return the first group of each policy: the same setting, beside each other."""
    first: dict[str, Group] = {}
    for group in groups:
        first.setdefault(group.policy, group)
    return list(first.values())[:MOST_HEADS]


def _typical(group: Group) -> RunResult:
    middle = group.estimate("goodput_ratio").median
    return min(group.runs, key=lambda run: abs(run.goodput_ratio - middle))


def _paired(each: Difference) -> tuple[str, ...]:
    setting = ", ".join(f"{key}={value}" for key, value in each.settings) or "–"
    value, unit = each.value, " points" if each.measure.endswith("ratio") else ""
    scale = 100.0 if unit else 1.0
    span = "–"
    if value.low is not None and value.high is not None:
        span = f"{scale * value.low:+,.4g} to {scale * value.high:+,.4g}{unit}"
    return (
        setting,
        f"{each.policy} − {each.other}",
        _NAMES[each.measure],
        f"{scale * value.median:+,.4g}{unit}",
        span,
        str(value.n),
    )


def _setting(group: Group, measures: Sequence[str]) -> list[tuple[str, str]]:
    """Return a row's cells, each with what stands small below it."""
    cells = [(group.name or f"policy {group.policy}", ""), (str(len(group.runs)), "")]
    for measure in measures:
        value = group.estimate(measure)
        cells.append((_one(measure, value.median), _span(measure, value)))
    return cells


def _run(run: RunResult, measures: Sequence[str]) -> list[str]:
    values = [_one(measure, MEASURES[measure][1](run)) for measure in measures]
    return [run.policy, setting_of(run) or "–", str(run.seed), *values, f"{run.wall_s:.2f} s"]


def _runs_text(results: Sequence[RunResult]) -> str:
    cpu_s = sum(run.cpu_s for run in results)
    days = sum(run.simulated_s for run in results) / 24 / HOUR_S
    text = f"{days:,.4g} cluster-days in {cpu_s:,.3g} CPU-seconds."
    if len(results) > MOST_TABLE_RUNS:
        text += f" The first {MOST_TABLE_RUNS} of {len(results):,}; all are in runs.parquet."
    return text


def _one(measure: str, value: float) -> str:
    if value != value:  # noqa: PLR0124 - NaN
        return "–"
    return f"{value:.2%}" if measure.endswith("ratio") else _count(value)


def _count(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= _WHOLE else f"{value:.4g}"


def _span(measure: str, value: Estimate) -> str:
    if value.low is None or value.high is None:
        return ""
    return f"{_one(measure, value.low)} to {_one(measure, value.high)}"


def _text(package: str, name: str) -> str:
    return (files(package) / name).read_text(encoding="utf-8")


def _safe(text: str) -> Any:
    """Mark text that we made ourselves: everything else is escaped by the template engine."""
    from markupsafe import Markup  # noqa: PLC0415  # comes with jinja2

    return Markup(text)  # noqa: S704 - drawings escape their own texts


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415  # only the report needs it

    engine = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return engine.from_string(_text("agent.experiments", "report.html"))
