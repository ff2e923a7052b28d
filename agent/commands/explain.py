"""``gpumedic explain``: why an incident happened, in words, as JSON or as a plot of the path."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.commands.ask import PANEL, say_heading
from agent.commands.console import (
    AsJson,
    ExitCode,
    err,
    print_json,
    say,
    target_name,
    tell,
    write_plot,
)
from agent.commands.options import Url, client
from core.errors import GpumedicError

if TYPE_CHECKING:
    from agent.client import Client
    from rca.reference.change import ChangeShares
    from rca.reference.gcm import Attribution
    from rca.reference.what_if import WhatIf

# Three questions of a minute each (forecast.time_limit); a queue of fits may be before them.
DEEP_LIMIT_S = 300.0
LEAST_SHARE = 0.01  # less is not printed
MOST_SHARE = 1.5  # of a symptom; beyond it what shares it out is as small as the noise
Deep = Annotated[bool, typer.Option("--deep", help="Also ask DoWhy, in a worker: a minute.")]
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
    from core.codec import from_json
    from rca.explain import Explanation

    say_heading(found["incident"])
    if found["explanation"] is None:
        return say("Not diagnosed yet.")
    for line in from_json(Explanation, found["explanation"]).lines():
        say(line)
    return None


def _draw(asked: "Client", found: dict[str, Any], file: Path) -> None:
    from agent.path_plot import PathTitle, path_png
    from core.codec import from_json
    from rca.hops import HopSeries

    incident = found["incident"]
    hops = asked.get(f"/v1/incidents/{incident['id']}/path")["hops"]
    # "node-13: cooling is degraded (p = 0.93); thermal, persistent ...": the answer, its nature.
    answer, end, nature = found["explanation"]["root_cause"].partition("); ")
    title = PathTitle(answer + end[:1], nature, f"incident {incident['id']}: {incident['title']}")
    picture = path_png(title, tuple(from_json(HopSeries, hop) for hop in hops))
    write_plot(file, picture)


def _deep(asked: "Client", incident_id: str) -> dict[str, Any]:
    """Return what DoWhy says, or why it says nothing: the rest is worth showing without it."""
    began_s = time.perf_counter()
    with err.status("Asking DoWhy what brought the symptom, and what would return it ..."):
        try:
            found = asked.get(f"/v1/incidents/{incident_id}/deep", timeout_s=DEEP_LIMIT_S)
        except GpumedicError as error:
            found = {"problems": [str(error)]}
    return {**found, "run_s": time.perf_counter() - began_s}


def _say_deep(deep: dict[str, Any], diagnosis: dict[str, Any] | None) -> None:
    from core.codec import from_json
    from rca.reference.change import ChangeShares
    from rca.reference.gcm import Attribution
    from rca.reference.what_if import WhatIf

    say(f"DoWhy, in {deep['run_s']:.1f} s", style="bold")
    if given := deep.get("own"):
        _say_attribution(from_json(Attribution, given), None)
    if given := deep.get("attribution"):
        _say_attribution(from_json(Attribution, given), diagnosis)
    if given := deep.get("what_if"):
        _say_what_if(from_json(WhatIf, given))
    if given := deep.get("change"):
        _say_change(from_json(ChangeShares, given))
    for problem in deep["problems"]:
        tell(f"DoWhy has no answer to a question: {problem}", style="yellow")
    if not any(deep.get(part) for part in ("attribution", "what_if", "change")):
        raise typer.Exit(ExitCode.FAILED)


def _say_attribution(found: "Attribution", diagnosis: dict[str, Any] | None) -> None:
    total = sum(max(nats, 0.0) for nats in found.contribution) or 1.0
    say(f"What brought the symptom's oddness ({found.method}):")
    _say_shares([(name, nats / total, f"{nats:6.2f} nats") for name, nats in found.ranked()])
    first = diagnosis["causes"][0] if diagnosis and diagnosis["causes"] else None
    if first and first["impact"] is not None:
        named = f"{first['fault'].replace('_', ' ')} on {target_name(first['target'])}"
        say(f"  By the diagnosis above {100 * first['impact']:.0f} % come from {named}.")


def _say_what_if(found: "WhatIf") -> None:
    say(f"How much of the symptom would go were one put back to normal ({found.method}):")
    _say_shares([(name, share, "") for name, share in found.returned()])


def _say_change(found: "ChangeShares") -> None:
    change = found.mean_change or 1.0
    say(f"Whose mechanism changed, by its part in the symptom's change ({found.method}):")
    _say_shares([(name, share / change, "") for name, share in found.ranked()])


def _say_shares(rows: Sequence[tuple[str, float, str]]) -> None:
    """Print a line for each variable with a share of 1 % or more, and how many have less."""
    from rca.explain import say_plain

    if any(abs(share) > MOST_SHARE for _, share, _ in rows):
        say("  not told: the symptom is hardly there in these readings, so shares of it run away.")
        return
    large = [row for row in rows if abs(row[1]) >= LEAST_SHARE]
    for name, share, size in large:
        say(f"  {size}{100 * share:5.0f} %  {say_plain(name)}")
    if len(large) < len(rows):
        say(f"  {len(rows) - len(large)} others have less than 1 %.")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel=PANEL)(explain)
