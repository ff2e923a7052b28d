"""Verbs that ask a running controller, or tell it what to do."""

import getpass
from typing import Annotated, Any

import typer
from rich.table import Column, Table
from rich.text import Text

from agent.commands.console import AsJson, at, out, print_json, say, target_name
from agent.commands.options import Url, client, seconds
from core.durations import lasting

PANEL = "A running controller"
Because = Annotated[str, typer.Option("--because", help="Why; it is kept in the journal.")]
By = Annotated[str, typer.Option("--by", help="Who decides.", default_factory=getpass.getuser)]


def status(url: Url = None, as_json: AsJson = False) -> None:
    """Show how things stand, on one screen."""
    found = client(url).get("/v1/status")
    if as_json:
        return print_json(found)
    say(found["sentence"])
    pause = found["pause"]
    if pause:
        say(f"PAUSED by {pause['by']}: {pause['because']}", style="bold yellow")
    rows = {
        "cluster": found["cluster"],
        "open incidents": found["incidents_open"],
        "plans waiting": found["plans_waiting"],
        "nodes ready": f"{found['nodes_ready']} of {len(found['nodes'])}",
        "nodes out by us": f"{found['nodes_out']} of at most {found['nodes_out_limit']}",
        "series": f"{found['series']} ({found['learning']} still learning)",
        "sources": ", ".join(_source(name, lag) for name, lag in found["sources"].items()),
    }
    if found["goodput_ratio"] is not None:
        rows["goodput"] = f"{found['goodput_ratio']:.3f}"
    out.print(_pairs(rows))
    for problem in found["problems"]:
        say(f"{problem['source']}: {problem['text']}", style="yellow")
    return None


def incidents(
    url: Url = None,
    only_open: Annotated[bool, typer.Option("--open", help="Leave out the resolved ones.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the incidents, newest first."""
    found = client(url).get("/v1/incidents", {"open": "true"} if only_open else {})
    if as_json:
        return print_json(found)
    # Names and words that are typed or searched for stay whole on a narrow terminal.
    whole = (Column(name, no_wrap=True, min_width=8) for name in ("id", "state", "severity"))
    grid = Table(*whole, "opened", "what")
    for each in found["incidents"]:
        row = (each["id"], each["state"], each["severity"], at(each["opened_s"]), each["title"])
        grid.add_row(*map(Text, row))
    out.print(grid if grid.row_count else Text("No incident so far."))
    return None


def show(
    incident_id: Annotated[str, typer.Argument(metavar="ID")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show one incident: its cause in short, plans, timeline. `explain` says why."""
    found = client(url).get(f"/v1/incidents/{incident_id}")
    if as_json:
        return print_json(found)
    say_heading(found["incident"])
    _print_answer(found["explanation"])
    for record in found["plans"]:
        _print_plan(record)
    for entry in found["timeline"]:
        say(f"{at(entry['time_s'])}  {entry['words']}")
    return None


def plan(
    plan_id: Annotated[str | None, typer.Argument(metavar="ID")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show a plan: steps, cost with and without it, what the guards said. Without ID, list all."""
    found = client(url).get(f"/v1/plans/{plan_id}" if plan_id else "/v1/plans")
    if as_json:
        return print_json(found)
    return _print_plan(found["plan"]) if plan_id else _print_plans(found["plans"])


def approve(
    plan_id: Annotated[str, typer.Argument(metavar="ID")],
    by: By,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Let a proposed plan run."""
    _decided(client(url).post(f"/v1/plans/{plan_id}/approve", by=by), as_json)


def deny(
    plan_id: Annotated[str, typer.Argument(metavar="ID")],
    because: Because,
    by: By,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Turn a proposed plan down."""
    _decided(client(url).post(f"/v1/plans/{plan_id}/deny", by=by, because=because), as_json)


def ack(
    plan_id: Annotated[str, typer.Argument(metavar="ID")],
    by: By,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Take over what a page is about: gpumedic does nothing more about it."""
    _decided(client(url).post(f"/v1/plans/{plan_id}/acknowledge", by=by), as_json)


def pause(
    because: Because,
    by: By,
    lasting_for: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="Such as 2h; else until resumed.")
    ] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Stop acting; watching, forecasting and telling go on."""
    for_s = seconds(lasting_for, "--for") if lasting_for else None
    found = client(url).post("/v1/pause", by=by, because=because, for_s=for_s)
    if as_json:
        return print_json(found)
    until = "until resumed" if for_s is None else f"for {lasting(for_s)}"
    say(f"Paused {until}.")
    return None


def resume(by: By, url: Url = None, as_json: AsJson = False) -> None:
    """Act again."""
    found = client(url).post("/v1/resume", by=by)
    if as_json:
        return print_json(found)
    pause_left = found["pause"]
    say(f"Still paused: {pause_left['because']}" if pause_left else "Resumed.")
    return None


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    for verb in (status, incidents, show, plan, approve, deny, ack, pause, resume):
        app.command(rich_help_panel=PANEL)(verb)


def _source(name: str, lag_s: float | None) -> str:
    return f"{name} DOWN" if lag_s is None else f"{name} ({lasting(lag_s)} old)"


def _pairs(rows: dict[str, object]) -> Table:
    grid = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows.items():
        grid.add_row(Text(name, style="dim"), Text(str(value)))
    return grid


def say_heading(incident: dict[str, Any]) -> None:
    """Print which incident this is."""
    head = f"Incident {incident['id']}  {incident['severity']}  {incident['state']}"
    say(f"{head}  opened {at(incident['opened_s'])}", style="bold")
    say(incident["title"])
    if incident["part_of"]:
        say(f"Part of incident {incident['part_of']}, which has what shows of it now.")


def _print_answer(explanation: dict[str, Any] | None) -> None:
    if explanation is None:
        return say("Not diagnosed yet.")
    say(f"Root cause  {explanation['root_cause']}")
    parts = {"For": "speaks_for", "Against": "speaks_against", "Missing": "missing"}
    for word, part in parts.items():
        for text in explanation[part]:
            say(f"  {word:8}{text}")
    return None


def _print_plans(records: list[dict[str, Any]]) -> None:
    whole = (Column(name, no_wrap=True, min_width=8) for name in ("id", "state", "mode"))
    grid = Table(*whole, "incident", "made", "what")
    for record in records:
        plan_ = record["plan"]
        what = ", ".join(action["kind"] for action in plan_["actions"])
        row = (plan_["id"], record["state"], record["mode"], plan_["incident_id"])
        cause = f"{what} for {target_name(plan_['cause']['target'])}"
        grid.add_row(*map(Text, (*row, at(plan_["made_at_s"]), cause)))
    out.print(grid if grid.row_count else Text("No plan so far."))


def _print_plan(record: dict[str, Any]) -> None:
    plan_, outcomes = record["plan"], {o["action"]["key"]: o for o in record["outcomes"]}
    say(f"Plan {plan_['id']}  {record['state']}  ({record['mode']})", style="bold")
    say(plan_["rationale"])
    for number, action in enumerate(plan_["actions"], 1):
        came = outcomes.get(action["key"])
        ending = f"  {came['status']}: {came['text']}" if came else ""
        say(f"  {number}. {action['kind']} {target_name(action['target'])}{ending}")
    without, with_ = plan_["lost_gpu_s_without"], plan_["lost_gpu_s_with"]
    say(f"  expected loss {with_ / 3600:.1f} GPU-hours, without it {without / 3600:.1f}")
    for refusal in record["refusals"]:
        say(f"  refused by {refusal['guard']}: {refusal['reason']}", style="yellow")
        say(f"    {refusal['remedy']}")


def _decided(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        _print_plan(found["plan"])
