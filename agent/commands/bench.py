"""``gpumedic bench``: measure the parts on this machine, in the one form for figures."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands.console import AsJson, err, out
from agent.commands.learn import PANEL, Quick, Strict

if TYPE_CHECKING:
    from core.figures import Row

RESULTS = Path("docs/results")


def _fleet(quick: bool) -> "Sequence[Row]":
    from agent.bench import fleet

    nodes, runs = (256, 3) if quick else (2048, 7)
    parts = (fleet.history_rows, fleet.detect_rows, fleet.forecast_rows)
    return [row for part in parts for row in part(nodes, runs=runs)]


def _forecast(quick: bool) -> "Sequence[Row]":
    from agent.bench.forecasts import forecast_rows

    return forecast_rows(quick=quick)


def _detect(quick: bool) -> "Sequence[Row]":
    from agent.bench.detectors import detector_rows

    return detector_rows(quick=quick)


def _diagnose(quick: bool) -> "Sequence[Row]":
    from agent.bench.diagnoses import diagnose_rows

    return diagnose_rows((16, 128) if quick else (16, 128, 512, 2048), runs=3 if quick else 5)


def _rca(quick: bool) -> "Sequence[Row]":
    from agent.bench.rca import rca_rows

    return rca_rows(quick=quick)


def _loop(quick: bool) -> "Sequence[Row]":
    from agent.bench.loops import loop_rows

    return loop_rows(tuple(range(2 if quick else 8)))


def _sim(quick: bool) -> "Sequence[Row]":
    from agent.bench.sim import sim_rows

    return sim_rows(quick=quick)


def _policy(quick: bool) -> "Sequence[Row]":
    from agent.bench.policy import policy_rows

    return policy_rows(quick=quick)


def _checkpoints(quick: bool) -> "Sequence[Row]":
    from agent.bench.checkpoints import checkpoint_rows

    return checkpoint_rows(quick=quick)


def _recovery(quick: bool, peers: Path | None = None) -> "Sequence[Row]":
    from agent.bench.recovery import recovery_rows

    return recovery_rows(quick=quick, peers=peers, tell=partial(err.print, soft_wrap=True))


def _progress(quick: bool) -> "Sequence[Row]":
    from agent.bench.progress import progress_rows

    return progress_rows(quick=quick)


def _kubernetes(quick: bool) -> "Sequence[Row]":
    from agent.bench.kubernetes import kubernetes_rows

    return kubernetes_rows(quick=quick)


def _node(quick: bool) -> "Sequence[Row]":
    from agent.bench.node import node_rows

    return node_rows(quick=quick)


# Each measures when called; the argument asks for the short form.
MEASURES: "Mapping[str, Callable[[bool], Sequence[Row]]]" = {
    "fleet": _fleet,
    "forecast": _forecast,
    "detect": _detect,
    "diagnose": _diagnose,
    "rca": _rca,
    "loop": _loop,
    "sim": _sim,
    "policy": _policy,
    "recovery": _recovery,
    "checkpoints": _checkpoints,
    "kubernetes": _kubernetes,
    "progress": _progress,
    "node": _node,
}


def bench(
    what: Annotated[str, typer.Argument(help=f"{', '.join(MEASURES)}, all, page or plot.")] = "all",
    quick: Quick = False,
    strict: Strict = False,
    as_json: AsJson = False,
    folder: Annotated[
        Path, typer.Option("--results", help="For page: where the figures' JSON is kept.")
    ] = RESULTS,
    peers: Annotated[
        Path | None, typer.Option(help="For recovery: the folder with the peers' environments.")
    ] = None,
) -> None:
    """Measure the parts on this machine: fleet (the cycle's arrays), forecast, detect,
    diagnose, rca (causal graphs, beside DoWhy), loop, sim (the simulator), policy (a decision),
    checkpoints (verifying them), recovery (a training that is killed, beside others),
    kubernetes (a look at a large one), node (the node service, beside node_exporter),
    progress (what telling it costs a training).

    page prints docs/results.md from the JSON that was kept, plot docs/results/sim_cost.svg.
    """
    from agent.figures import emit, figures, results_page

    if what == "page":
        out.file.write(results_page(folder))
        return
    if what == "plot":
        out.file.write(_plot(folder))
        return
    if what not in ("all", *MEASURES):
        raise typer.BadParameter(f"{what!r} is none of {', '.join(MEASURES)}, all, page, plot")
    worst = 0
    for name in MEASURES if what == "all" else (what,):
        with err.status(f"Measuring {name} ..."):
            rows = _recovery(quick, peers) if name == "recovery" else MEASURES[name](quick)
            shown = figures(f"bench {name}", rows)
        worst = max(worst, emit(shown, as_json=as_json, strict=strict, console=out))
    raise typer.Exit(worst)


def _plot(folder: Path) -> str:
    import json

    from agent.bench.sim_plot import cost_svg
    from core.codec import from_json
    from core.errors import InputError
    from core.figures import Figures

    path = folder / "sim.json"
    if not path.is_file():
        raise InputError(
            f"Reading what an event costs: found no {path}. "
            "Make it with `gpumedic bench sim --json > sim.json`."
        )
    return cost_svg(from_json(Figures, json.loads(path.read_text(encoding="utf-8"))))


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel=PANEL)(bench)
