"""``gpumedic explain``: why an incident happened, in words, as JSON or as a plot of the path."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.commands.ask import PANEL, say_heading
from agent.commands.console import AsJson, err, print_json, say, tell, write_plot
from agent.commands.options import Url, client
from core.codec import from_json
from core.errors import GpumedicError

if TYPE_CHECKING:
    from agent.client import Client

# The worker has its own limit; a queue of fits may be before it.
DEEP_LIMIT_S = 180.0
Deep = Annotated[bool, typer.Option("--deep", help="Also ask DoWhy, in a worker: some seconds.")]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE.png", help="Draw the path from cause to symptom."),
]


def explain(
    incident_id: Annotated[str, typer.Argument(metavar="ID")],
    deep: Deep = False,
    plot: Plot = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Explain an incident: root cause, evidence, path, what was ruled out, what would decide it."""
    asked = client(url)
    found = asked.get(f"/v1/incidents/{incident_id}")
    if plot is not None:
        _draw(asked, found, plot)
    shown = {key: found[key] for key in ("incident", "diagnosis", "explanation")}
    if deep:
        shown["deep"] = _deep(asked, incident_id)
    if as_json:
        return print_json(shown)
    _say(found)
    if deep:
        _say_deep(shown["deep"], found["diagnosis"])
    return None


def _say(found: dict[str, Any]) -> None:
    from rca.explain import Explanation

    say_heading(found["incident"])
    if found["explanation"] is None:
        return say("Not diagnosed yet.")
    for line in from_json(Explanation, found["explanation"]).lines():
        say(line)
    return None


def _draw(asked: "Client", found: dict[str, Any], file: Path) -> None:
    from agent.path_plot import PathTitle, path_png
    from rca.hops import HopSeries

    incident = found["incident"]
    hops = asked.get(f"/v1/incidents/{incident['id']}/path")["hops"]
    answer, _, nature = found["explanation"]["root_cause"].partition("; ")
    title = PathTitle(answer, nature, f"incident {incident['id']}: {incident['title']}")
    picture = path_png(title, tuple(from_json(HopSeries, hop) for hop in hops))
    write_plot(file, picture)


def _deep(asked: "Client", incident_id: str) -> dict[str, Any]:
    """Return DoWhy's attribution, or why there is none: the rest is worth showing without it."""
    began_s = time.perf_counter()
    with err.status("Attributing the symptom to its causes with DoWhy ..."):
        try:
            found = asked.get(f"/v1/incidents/{incident_id}/deep", timeout_s=DEEP_LIMIT_S)
        except GpumedicError as error:
            return {"error": str(error)}
    return {**found, "run_s": time.perf_counter() - began_s}


def _say_deep(deep: dict[str, Any], diagnosis: dict[str, Any] | None) -> None:
    if "error" in deep:
        tell(f"No attribution by DoWhy: {deep['error']}", style="yellow")
        raise typer.Exit(1)
    shares = deep["contributions"]
    total = sum(max(share["nats"], 0.0) for share in shares) or 1.0
    say(f"By {deep['method']}, in {deep['run_s']:.1f} s, the symptom's oddness comes from:")
    for share in shares:
        part = 100 * max(share["nats"], 0.0) / total
        say(f"  {share['nats']:6.2f} nats  {part:3.0f} %  {share['variable']}")
    first = diagnosis["causes"][0] if diagnosis and diagnosis["causes"] else None
    if first and first["impact"] is not None:
        named = first["fault"].replace("_", " ")
        say(f"The diagnosis above: {100 * first['impact']:.0f} % of the symptom from {named}.")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel=PANEL)(explain)
