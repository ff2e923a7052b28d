"""``gpumedic policy``: which policy acts, letting another one in, and what a shadow would do."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from agent.commands.console import AsJson, at, err, out, print_json, say, tell
from agent.commands.options import ConfigFiles, load_settings, seconds

if TYPE_CHECKING:
    from agent.adoption import Adopted, Adoption
    from remediation.evaluation.gate import Verdict
    from remediation.evaluation.intervals import Interval
    from remediation.evaluation.off_policy import Agreement, OffPolicy

app = typer.Typer(
    help="Which policy acts, and letting another one in after it is proven.", no_args_is_help=True
)
_HOUR_S = 3600.0


@app.command("list")
def list_(config: ConfigFiles = None, as_json: AsJson = False) -> None:
    """List the policies there are, and those that were adopted here, the one that acts first."""
    from remediation.evaluation.policies import BUILT_IN

    adoption = _adoption(config)
    now, before = adoption.current(), adoption.before()
    adopted = [*([now] if now else []), *before]
    if as_json:
        return print_json({"built_in": BUILT_IN, "adopted": [_plain(each) for each in adopted]})
    say(f"built in: {', '.join(BUILT_IN)}")
    for each in adopted:
        found, acts = each.verdict, " (acts)" if each is now else ""
        say(f"{found.policy} {found.version}{acts}: adopted {at(each.at_s)} by {each.by}")
        over = f"{found.ratio:.3f} ({found.low:.3f} to {found.high:.3f})"
        say(f"  loses {over} times what {found.rule} does; file {each.digest[:12]}")
    if not adopted:
        say("None was adopted here: the runbook acts.")
    return None


@app.command()
def show(config: ConfigFiles = None, as_json: AsJson = False) -> None:
    """Show who acts by the settings, who looks on, and what the adopted policy was let in on."""
    from agent.acting import acting

    settings = load_settings(config).settings
    found, now = acting(settings), _adoption(config).current()
    if as_json:
        return print_json(
            {
                "use": settings.policy.use,
                "acts": _who(found.chooser),
                "shadow": None if found.shadow is None else _who(found.shadow),
                "explore": settings.policy.explore,
                "problems": [problem.text for problem in found.problems],
                "adopted": None if now is None else _plain(now),
            }
        )
    say(f"acts: {' '.join(_who(found.chooser).values())}")
    if found.shadow is not None:
        say(f"looks on: {' '.join(_who(found.shadow).values())}")
    for problem in found.problems:
        tell(problem.text, style="yellow")
    if now is not None:
        say(f"adopted: {now.verdict.policy}, {at(now.at_s)} by {now.by}, `{now.command}`")
        _tell_verdict(now.verdict)
    return None


@app.command()
def promote(
    file: Annotated[Path, typer.Argument(help="What `gpumedic train` wrote.")],
    by: Annotated[str, typer.Option("--by", help="Who decides.", default_factory=getpass.getuser)],
    config: ConfigFiles = None,
    lives: Annotated[
        int | None, typer.Option(min=2, help="Of each family of clusters, the same for both.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer lives: wider intervals.")] = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a policy against the runbook, and adopt it where it is better and worse nowhere.

    It breaks no guard, loses less in all with the whole 95 % interval, and in no family of clusters
    more with the whole interval. It acts from the daemon's next start or reload on, where
    policy.use = "adopted". Exit code 3 where it may not.
    """
    from agent.evaluations.policies.promotion import adopted_of

    adoption = _adoption(config)
    with Progress(console=err, transient=True) as bar:
        task = bar.add_task(f"evaluating {file.name}", total=None)
        found = adopted_of(
            file,
            by=by,
            lives=lives,
            quick=quick,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    if not as_json:
        _tell_verdict(found.verdict)
    adoption.adopt(file, found)
    if as_json:
        return print_json(_plain(found))
    say(f"Adopted {file.name}. It acts from the next start or reload, with policy.use = adopted.")
    return None


@app.command()
def rollback(config: ConfigFiles = None, as_json: AsJson = False) -> None:
    """Let the policy act again that did before; the runbook, where none did."""
    now = _adoption(config).roll_back()
    if as_json:
        return print_json({"adopted": None if now is None else _plain(now)})
    who = "The runbook" if now is None else f"{now.verdict.policy} ({now.digest[:12]})"
    say(f"{who} acts from the next start or reload on.")
    return None


@app.command()
def shadow(
    config: ConfigFiles = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="DURATION", help="Only this far back.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how often the shadow agrees with who acts, and what it would have lost.

    The second can be told only where policy.explore left choices to chance.
    """
    from agent.decisions_kept import kept
    from core.clock import RealClock
    from remediation.evaluation.journal import logged
    from remediation.evaluation.off_policy import agreement, estimate

    since_s = 0.0 if since is None else RealClock().now_s() - seconds(since, "--since")
    found = kept(load_settings(config).settings.state_dir, since_s=since_s)
    log = logged(found.decisions, found.ended_s)
    agreed, estimated = agreement(log), estimate(log)
    names = sorted({each.shadow for each in found.decisions if each.shadow})
    if as_json:
        return print_json(_shadow_plain(names, agreed, estimated))
    _tell_shadow(names, agreed, estimated)
    return None


def _tell_shadow(names: list[str], agreed: "Agreement", estimated: "OffPolicy") -> None:
    who = ", ".join(names) or "the shadow"
    if agreed.decisions:
        say(f"{who} chose the same on {agreed.same} of {agreed.decisions} decisions.")
        grid = Table("where", "the same", "decisions")
        for title, parts in (("chosen", agreed.by_choice), ("cause", agreed.by_cause)):
            for word, (same, count) in parts.items():
                grid.add_row(*map(Text, (f"{title} {word}", str(same), str(count))))
        out.print(grid)
        say(f"lost an incident, as acted: {_span(estimated.acting)}")
    if estimated.why_not:
        say(f"What {who} would have lost cannot be told: {estimated.why_not}")
        return
    say(f"the same under {who}, doubly robust: {_span(estimated.doubly_robust)}")
    say(f"by weights alone: {_span(estimated.snips)}; unscaled: {_span(estimated.ips)}")
    say(f"It rests on {estimated.effective:.0f} of {estimated.incidents} incidents' worth.")


def _shadow_plain(names: list[str], agreed: "Agreement", estimated: "OffPolicy") -> dict[str, Any]:
    from core.codec import to_json

    return {
        "shadow": names,
        "decisions": agreed.decisions,
        "same": agreed.same,
        "by_choice": {word: list(pair) for word, pair in agreed.by_choice.items()},
        "by_cause": {word: list(pair) for word, pair in agreed.by_cause.items()},
        "lost_gpu_s_an_incident": {
            name: to_json(list(getattr(estimated, name)))
            for name in ("acting", "doubly_robust", "snips", "ips")
        },
        "incidents": estimated.incidents,
        "effective_incidents": estimated.effective,
        "why_not": estimated.why_not,
    }


def _span(found: "Interval") -> str:
    value, low, high = (each / _HOUR_S for each in found)
    return f"{value:.2f} GPU-hours ({low:.2f} to {high:.2f})"


def _tell_verdict(found: "Verdict") -> None:
    grid = Table("family", "lives", f"loss over {found.rule}'s", "95 % interval")
    rows = [(each.name, each.lives, each.ratio, each.low, each.high) for each in found.families]
    for name, lives, value, low, high in (
        *rows,
        ("all", found.lives, found.ratio, found.low, found.high),
    ):
        grid.add_row(*map(Text, (name, str(lives), f"{value:.3f}", f"{low:.3f} to {high:.3f}")))
    out.print(grid)
    say(f"guard breaches: {found.breaches}")


def _who(chooser: Any) -> dict[str, str]:
    return {"name": chooser.name, "version": chooser.version}


def _plain(adopted: "Adopted") -> Any:
    from core.codec import to_json

    return to_json(adopted)


def _adoption(config: list[Path] | None) -> "Adoption":
    from agent.adoption import Adoption

    return Adoption(load_settings(config).settings.state_dir)
