"""``gpumedic graph``: the causal links in force, what readings say of them, and links to add."""

import asyncio
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.commands.console import AsJson, err, print_json, say, tell, write_plot
from agent.commands.options import ConfigFiles, load_settings
from core.errors import InputError

if TYPE_CHECKING:
    from agent.graph_work import Seen
    from rca.graph.falsify import Tested
    from rca.graph.templates import Template

app = typer.Typer(
    help="The causal graph of a diagnosis: show, check and learn links.", no_args_is_help=True
)
File = Annotated[
    Path,
    typer.Argument(help='CSV or Parquet; series named like node_up{node="n1"}, in normal times.'),
]
TimeColumn = Annotated[
    str | None, typer.Option("--time", help="The column with the times; found if left out.")
]
Deep = Annotated[bool, typer.Option("--deep", help="Also ask DoWhy and PC: some minutes.")]


@app.command()
def show(
    config: ConfigFiles = None,
    metric: Annotated[str | None, typer.Option(help="Only links of this metric.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw them into this PNG.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the links in force: what moves what, how late, how surely, and who says so."""
    links = _links(config)
    shown = [link for link in links if metric is None or metric in (link.cause, link.effect)]
    if not shown:
        names = sorted({name for link in links for name in (link.cause, link.effect)})
        near = get_close_matches(str(metric), names, n=3)
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        raise InputError(
            f"showing the links of {metric}: no link has a metric of that name{hint}. Leave "
            "--metric out to see all of them."
        )
    if plot is not None:
        from agent.graph_plot import graph_png

        write_plot(plot, graph_png(shown))
    if as_json:
        return print_json([as_plain(link) for link in shown])
    for link in shown:
        say(sentence(link))
    return None


@app.command()
def check(
    file: File,
    config: ConfigFiles = None,
    time_column: TimeColumn = None,
    deep: Deep = False,
    as_json: AsJson = False,
) -> None:
    """Hold the links against readings: which are supported, which contradicted, what is missing."""
    seen, notes = _look(file, _links(config), time_column, deep=deep)
    if as_json:
        return print_json({**_plain_of(seen), "notes": list(notes)})
    _say_tested(seen.tested)
    _say_suggested(seen)
    for line in (seen.dowhy, seen.pc):
        if line:
            say(line)
    _say_notes(notes)
    return None


@app.command()
def learn(
    file: File,
    into: Annotated[
        Path | None, typer.Option("--out", help="Write them as settings into this .toml.")
    ] = None,
    config: ConfigFiles = None,
    time_column: TimeColumn = None,
    as_json: AsJson = False,
) -> None:
    """Suggest links that readings of normal times show and nobody knows; none is in force yet."""
    seen, notes = _look(file, _links(config), time_column, deep=False)
    if into is not None:
        _write(into, seen)
    if as_json:
        return print_json({**_plain_of(seen), "notes": list(notes)})
    _say_suggested(seen)
    _say_notes(notes)
    return None


def _links(config: list[Path] | None) -> "tuple[Template, ...]":
    from agent.config.own_links import known_and_own
    from rca.graph.links import ALL_LINKS

    forward = known_and_own(load_settings(config).settings)
    return (*forward, *(link for link in ALL_LINKS if link.feedback))


def _look(
    file: Path, links: "tuple[Template, ...]", time_column: str | None, *, deep: bool
) -> "tuple[Seen, tuple[str, ...]]":
    from agent.graph_table import read_windows
    from agent.graph_work import Asked

    with err.status(f"Reading {file} ..."):
        windows, notes = read_windows(file, time_column=time_column)
    with err.status("Testing links ..."):
        return asyncio.run(_work(Asked(windows, links, deep))), notes


async def _work(asked: object) -> "Seen":
    from agent.graph_work import LIMIT_S, MEMORY_BYTES, RUN
    from agent.workers import WorkerPool

    async with WorkerPool(1, time_limit_s=LIMIT_S, memory_bytes=MEMORY_BYTES) as pool:
        seen: Seen = await pool.run(RUN, asked)
        return seen


def sentence(link: "Template") -> str:
    """Say a link in a line: what moves what, which targets, sign, lag, strength, who says so."""
    moves = "raises" if link.sign > 0 else "lowers"
    late = (
        f"within {link.lag_s:g} s"
        if not link.lag_least_s
        else (f"{link.lag_least_s:g} to {link.lag_s:g} s later")
    )
    marks = [str(link.provenance), f"strength {link.strength:g}"]
    marks += ["barrier"] if link.barrier else []
    marks += ["feedback, no part of the graph"] if link.feedback else []
    return (
        f"{link.cause} {moves} {link.effect} ({link.join}) {late}: {link.why} "
        f"[{', '.join(marks)}; {link.source}]"
    )


def as_plain(link: "Template") -> dict[str, Any]:
    """Return a link as JSON has it."""
    return {
        "cause": link.cause,
        "effect": link.effect,
        "join": str(link.join),
        "sign": link.sign,
        "lag_s": [link.lag_least_s, link.lag_s],
        "strength": link.strength,
        "barrier": link.barrier,
        "feedback": link.feedback,
        "provenance": str(link.provenance),
        "why": link.why,
        "source": link.source,
    }


def _plain_of(seen: "Seen") -> dict[str, Any]:
    return {
        "links": [
            {
                **as_plain(one.link),
                "verdict": str(one.verdict),
                "contradicted": one.contradicted,
                "correlation": one.found.r,
                "error": one.found.error if one.found.excited else None,
            }
            for one in seen.tested
        ],
        "suggested": [
            {
                **as_plain(one.link),
                "directed": one.directed,
                "correlation": one.found.r,
                "p": one.found.p,
            }
            for one in seen.suggested
        ],
        "dowhy": seen.dowhy,
        "pc": seen.pc,
    }


def _say_tested(tested: "Sequence[Tested]") -> None:
    from collections import Counter

    from rca.graph.falsify import contradictions

    counts = Counter(str(one.verdict) for one in tested)
    say(f"{len(tested)} links have readings: " + ", ".join(f"{n} {v}" for v, n in counts.items()))
    for one in contradictions(tested):
        seen = f"{one.found.r:+.2f} ± {one.found.error:.2f}"
        say(f"contradicted, {one.verdict} ({seen}): {sentence(one.link)}", style="yellow")


def _say_suggested(seen: "Seen") -> None:
    known = [one for one in seen.suggested if one.directed]
    open_ones = [one for one in seen.suggested if not one.directed]
    say(f"{len(known)} links are suggested by the readings alone, as hypotheses:")
    for one in known:
        say(f"  {sentence(one.link)}")
    if open_ones:
        say(f"{len(open_ones)} pairs depend on each other and nothing says which is the cause:")
    for one in open_ones:
        say(f"  {one.link.cause} and {one.link.effect} ({one.link.join}): {one.link.why}")


def _say_notes(notes: Sequence[str]) -> None:
    for note in notes:
        tell(f"note: {note}", style="dim")


def _write(into: Path, seen: "Seen") -> None:
    """Write the suggestions as settings; the reader takes over what makes sense."""
    from agent.config.own_links import as_settings
    from rca.graph.learned import proposed

    try:
        into.write_text(as_settings(proposed(seen.suggested)), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"Writing links into {into}: {error.strerror}. Name a file in a folder you may write."
        ) from error
    tell(f"links: {into}")
