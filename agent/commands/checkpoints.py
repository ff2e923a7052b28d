"""``gpumedic checkpoints``: which there are and which are whole, back-up copies, and going back."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from agent.commands.console import AsJson, ExitCode, at, err, out, print_json, say, tell
from core.durations import lasting

if TYPE_CHECKING:
    from agent.checkpoints.found import Checkpoint, Listing
    from agent.checkpoints.keeping import BackedUp
    from agent.checkpoints.restore import Restored
    from agent.checkpoints.verifying import Verified

app = typer.Typer(
    help="Which checkpoints there are and which are whole; copies of them, and going back.",
    no_args_is_help=True,
)
Tell = Callable[[str], object]


def here(path: Path) -> Path:
    """Refuse an address where a folder of this machine is meant."""
    scheme, colon, rest = str(path).partition(":/")
    if colon and scheme.isalnum():
        text = (
            f"{scheme}://{rest.lstrip('/')} is a second place, not a folder: see what is there "
            "with `gpumedic checkpoints copies`, or mount it"
        )
        raise typer.BadParameter(text, param_hint="DIR")
    return path


Folder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR", callback=here, help="A folder with checkpoints, or one checkpoint."
    ),
]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="NAME", help="Only these, as list names them.")
]
Limit = Annotated[
    str | None,
    typer.Option("--limit", metavar="SIZE", help="At most so much a second, such as 100MB."),
]
_NO_COST = (
    "How often to save cannot be told: no manifest says how long the job stood for a save (save_s)."
)
# Short enough for a table of 80 columns; --json has them in full.
_FORMATS = {"torch.distributed.checkpoint": "dcp", "torch.save (legacy)": "torch old"}
_COMPLETE = {"headers": "headers fit", "no checksums": "complete, no checksums"}


@app.command("list")
def list_(
    folder: Folder,
    read: Annotated[
        str, typer.Option("--read", metavar="SIZE", help="Read contents of the newest, so much.")
    ] = "2GiB",
    nodes: Annotated[
        int | None,
        typer.Option("--nodes", min=1, help="The job's nodes: say how often it should save."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the checkpoints with their state, the newest first, and name the newest valid one.

    Exit code 1 where there are some and none is valid.
    """
    from agent.checkpoints.catalogue import Look
    from agent.checkpoints.work import Looker, idle_threads
    from core.clock import RealClock

    size = _size(read, "--read")
    how = Look(read_bytes=size, threads=idle_threads())

    async def look() -> "Listing":
        async with Looker() as looker:
            return await looker.look(folder, how, now_s=RealClock().now_s())

    with err.status(f"Looking at {folder} ..."):
        found = asyncio.run(look())
    advised = None if nodes is None else _advice(found, nodes)
    if as_json:
        print_json({**_plain(found), **({} if nodes is None else {"advice": advised})})
    else:
        _tell(found)
        if nodes is not None:
            say(advised["text"] if advised else _NO_COST)
    raise typer.Exit(ExitCode.DONE if found.newest_valid else ExitCode.FAILED)


@app.command()
def verify(
    folder: Folder,
    names: Names = None,
    load: Annotated[
        bool, typer.Option("--load", help="Load each with torch and weights_only too.")
    ] = False,
    seal: Annotated[
        bool, typer.Option("--seal", help="Write a manifest beside each whole one without.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read every byte of the checkpoints and hold it against what was saved.

    Exit code 1 where one is not whole; one that is still being written does not count.
    """
    from agent.checkpoints.verifying import verified
    from agent.checkpoints.work import Looker
    from core.clock import RealClock

    async def work(tell: Tell) -> "Verified":
        wanted = tuple(names or ())
        async with Looker() as looker:
            return await verified(
                looker, folder, wanted, load=load, seal=seal, clock=RealClock(), tell=tell
            )

    with err.status(f"Looking at {folder} ...") as status:
        found = asyncio.run(work(status.update))
    if as_json:
        loads = {} if not load else {"loads": found.loads}
        print_json({**_plain(found.listing), **loads, "sealed": list(found.sealed)})
    else:
        _tell(found.listing)
        for name, why in found.loads.items():
            say(f"{name} loads with weights_only" if not why else f"{name} does not load: {why}")
        for name in found.sealed:
            say(f"{name}: its manifest was written")
    raise typer.Exit(ExitCode.DONE if found.whole else ExitCode.FAILED)


@app.command()
def backup(
    folder: Folder,
    to: Annotated[
        str, typer.Option("--to", metavar="PLACE", help="A folder, or an address: s3://bucket/job.")
    ],
    names: Names = None,
    limit: Limit = None,
    keep: Annotated[
        int | None, typer.Option("--keep", min=1, help="Keep the newest so many copies; else all.")
    ] = None,
    keep_every: Annotated[
        int, typer.Option("--keep-every", min=0, help="And those whose step this divides.")
    ] = 0,
    read_back: Annotated[
        bool, typer.Option("--read-back", help="Read each new copy back and compare.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy the newest valid checkpoint to a second place, or those named; only whole ones are.

    A copy that was interrupted is gone on with. The newest whole copy is never dropped.
    """
    from agent.checkpoints.backup import Kept
    from agent.checkpoints.keeping import How, back_up
    from agent.checkpoints.places import Place
    from agent.checkpoints.work import Looker
    from core.clock import RealClock

    if keep is None and keep_every:
        text = "says which copies to keep beside the newest: give --keep too"
        raise typer.BadParameter(text, param_hint="--keep-every")
    how = How(
        bytes_per_s=None if limit is None else _size(limit, "--limit"),
        keep=None if keep is None else Kept(keep, keep_every),
        read_back=read_back,
    )
    place = Place(to)

    async def work(tell: Tell) -> "BackedUp":
        wanted = tuple(names or ())
        async with Looker() as looker:
            return await back_up(
                looker, folder, place, wanted, how=how, clock=RealClock(), tell=tell
            )

    with err.status(f"Looking at {folder} ...") as status:
        done = asyncio.run(work(status.update))
    if as_json:
        gone = [each.name for each in done.dropped]
        sent = [each.name for each in done.sent]
        return print_json({"place": place.url, "sent": sent, "there": done.there, "dropped": gone})
    for each in done.sent:
        say(f"{each.name} was copied to {place.url} ({_short(each.manifest.size_bytes)}).")
    for name in done.there:
        say(f"{name} is at {place.url} already.")
    for each in done.dropped:
        say(f"{each.name} was dropped there.")
    return None


@app.command()
def restore(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", callback=here, help="The folder that the job reads from."),
    ],
    from_: Annotated[
        str, typer.Option("--from", metavar="PLACE", help="Where the copies are: as for backup.")
    ],
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Which; the newest whole copy if left out."),
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Even where a newer valid one is there.")
    ] = False,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Bring a checkpoint back from a second place and verify it there.

    Exit code 3 where a newer valid one is there. What has its name and differs is put aside.
    """
    from agent.checkpoints.keeping import bring_back
    from agent.checkpoints.places import Place
    from agent.checkpoints.work import Looker
    from core.clock import RealClock

    rate = None if limit is None else _size(limit, "--limit")
    place = Place(from_)

    async def work(tell: Tell) -> "tuple[Restored, Checkpoint]":
        async with Looker() as looker:
            return await bring_back(
                *(looker, folder, place, name),
                anyway=anyway,
                bytes_per_s=rate,
                clock=RealClock(),
                tell=tell,
            )

    with err.status(f"Looking at {place.url} ...") as status:
        done, found = asyncio.run(work(status.update))
    if as_json:
        aside = None if done.aside is None else str(done.aside)
        return print_json(
            {"name": found.name, "path": found.path, "restored": done.done, "aside": aside}
        )
    if not done.done:
        say(f"{found.name} is there already, and every byte of it is as in the copy.")
        return None
    say(f"{found.name} is back: {found.path} ({found.reason}).")
    if done.aside is not None:
        say(f"What had its name before is kept as {done.aside}.")
    return None


@app.command()
def copies(
    place: Annotated[str, typer.Argument(metavar="PLACE", help="A folder or an address.")],
    as_json: AsJson = False,
) -> None:
    """List the copies at a second place, the newest first."""
    from agent.checkpoints.places import Place

    there = Place(place)
    with err.status(f"Looking at {there.url} ..."):
        there.see_folder()
        found, halves = there.copies(), there.partial()
    if as_json:
        rows = [
            {
                "name": each.name,
                "step": each.manifest.step,
                "saved_at": at(each.manifest.saved_s),
                "size_bytes": each.manifest.size_bytes,
                "whole": each.whole,
                "missing": list(each.missing),
            }
            for each in found
        ]
        return print_json({"place": there.url, "copies": rows, "unfinished_files": len(halves)})
    grid = Table("name", "step", "saved", "size", "whole")
    for each in found:
        step = "" if each.manifest.step is None else str(each.manifest.step)
        size = _short(each.manifest.size_bytes)
        whole = "yes" if each.whole else f"NO: {_files(len(each.missing))} missing"
        grid.add_row(*map(Text, (each.name, step, at(each.manifest.saved_s), size, whole)))
    out.print(grid if found else f"No copy is at {there.url}.")
    if halves:
        say(f"{_files(len(halves))} of a copy that was not finished: backup goes on with it.")
    return None


def _advice(found: "Listing", nodes: int) -> dict[str, Any] | None:
    """Return how often a job of so many nodes should save, by published failure rates."""
    from agent.checkpoints import advice
    from core.codec import to_json

    mean_s = advice.FailureRate().mean_failure_s(nodes)
    best = advice.advice(found.checkpoints, mean_s)
    if best is None:
        return None
    plain: dict[str, Any] = to_json(best)
    return {**plain, "text": advice.said(best)}


def _tell(found: "Listing") -> None:
    if not found.checkpoints:
        others = f"; it has {found.passed_over} other files" if found.passed_over else ""
        tell(
            f"No checkpoint is in {found.folder}{others}. Looked for torch.distributed.checkpoint "
            "(.metadata, *.distcp), torch.save (*.pt, *.pth, *.ckpt), safetensors and Hugging Face "
            "folders, six folders deep."
        )
        return
    grid = Table()
    for title in ("name", "step", "age", "size", "format", "state"):
        grid.add_column(title, overflow="fold", min_width=4)
    for each in found.checkpoints:
        step = "" if each.step is None else str(each.step)
        age = lasting(max(0.0, found.looked_s - each.saved_s))
        form = _FORMATS.get(each.format, each.format)
        state = _COMPLETE.get(each.checked, each.state) if each.valid else each.state
        row = (each.name, step, age, _short(each.size_bytes), form, state)
        grid.add_row(*map(Text, row), style="" if each.valid else "yellow")
    out.print(grid)
    for each in found.checkpoints:
        if not each.valid:
            say(f"{each.name} ({each.state}): {each.reason}.")
        for note in each.notes:
            say(f"{each.name}: {note}.")
    say(_newest(found))


def _newest(found: "Listing") -> str:
    best = found.newest_valid
    if best is None:
        return "None of them is whole: there is nothing here that a job can go back to."
    step = "" if best.step is None else f", step {best.step}"
    age = lasting(max(0.0, found.looked_s - best.saved_s))
    return f"newest valid: {best.name}{step}, {age} old ({best.reason})"


def _plain(found: "Listing") -> dict[str, Any]:
    from core.codec import to_json

    best = found.newest_valid
    return {
        "folder": found.folder,
        "looked_at": at(found.looked_s),
        "newest_valid": None if best is None else best.name,
        "checkpoints": [_plain_one(each, found.looked_s) for each in found.checkpoints],
        "other_files": to_json(found.passed_over),
    }


def _plain_one(each: "Checkpoint", now_s: float) -> dict[str, Any]:
    from core.codec import to_json

    plain: dict[str, Any] = to_json(each)
    return {
        **plain,
        "valid": each.valid,
        "saved_at": at(each.saved_s),
        "age_s": max(0.0, now_s - each.saved_s),
    }


def _size(text: str, option: str) -> int:
    from agent.quantities import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}", param_hint=option) from None


def _files(number: int) -> str:
    return f"{number} file{'' if number == 1 else 's'}"


def _short(size: int) -> str:
    """Write a size with three digits, in powers of 1000 as disks are sold."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            return f"{value:.3g} {unit}"
        value /= 1000
    return ""
