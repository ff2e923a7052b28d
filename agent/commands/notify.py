"""``gpumedic notify``: try the receivers, see what failed, send it again."""

import asyncio
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from agent.commands.console import AsJson, ExitCode, at, err, out, print_json, say
from agent.commands.options import ConfigFiles, Url, client, load_settings

app = typer.Typer(
    help="Try the receivers of messages; see and repeat what failed.", no_args_is_help=True
)


@app.command(name="test")
def try_out(config: ConfigFiles = None, as_json: AsJson = False) -> None:
    """Send one test message to every receiver now, past the outbox; exit 1 where one fails."""
    from agent.receivers import try_receivers

    settings = load_settings(config).settings
    with err.status("Sending to every receiver ..."):
        results = asyncio.run(try_receivers(settings))
    if as_json:
        print_json([{"receiver": name, "status": d.status, "text": d.text} for name, d in results])
    else:
        for name, delivery in results:
            say(f"{name}: {delivery.status}: {delivery.text}")
        if not results:
            say("No receiver is set: add [[webhooks]] with a name and a url to the settings.")
    failed = not results or any(d.status != "delivered" for _, d in results)
    raise typer.Exit(ExitCode.FAILED if failed else ExitCode.DONE)


@app.command()
def failed(url: Url = None, as_json: AsJson = False) -> None:
    """List the messages the controller gave up on, and the receivers' last words."""
    found = client(url).get("/v1/messages/failed")
    if as_json:
        print_json(found)
        return
    grid = Table("id", "receiver", "what", "tries", "since", "last answer")
    for each in found["messages"]:
        row = (str(each["id"]), each["receiver"], each["announcement"], str(each["attempts"]))
        grid.add_row(*map(Text, (*row, at(each["created_s"]), each["last_text"])))
    out.print(grid if grid.row_count else "No message was given up.")


@app.command()
def redeliver(
    message: Annotated[
        int | None, typer.Argument(help="A message's id; all that failed if left out.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Queue failed messages again; the controller sends them at once."""
    found = client(url).post("/v1/messages/redeliver", message=message)
    print_json(found) if as_json else out.print(f"{found['queued']} queued again.")
