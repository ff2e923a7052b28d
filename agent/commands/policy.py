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
from core.durations import lasting

if TYPE_CHECKING:
    from agent.adoption import Adopted, Adoption
    from remediation.deciding.chooser import Chooser
    from remediation.evaluation.gate import Verdict
    from remediation.evaluation.intervals import Interval
    from remediation.evaluation.off_policy import Agreement, OffPolicy
    from remediation.policies.trained import Trained

app = typer.Typer(
    help="Which policy acts, and letting another one in after it is proven.", no_args_is_help=True
)
_HOUR_S = 3600.0


@app.command("list")
def list_(config: ConfigFiles = None, as_json: AsJson = False) -> None:
    """List the policies that may act here: which acts, which looks on, how each was proven."""
    from agent.known_policies import FOR_STUDY, known_policies
    from core.codec import to_json

    settings = load_settings(config).settings
    found = known_policies(settings)
    if as_json:
        return print_json({"policies": to_json(list(found)), "for_study": list(FOR_STUDY)})
    grid = Table("policy.use", "version", "what it is", "here", "proven by")
    for each in found:
        name = "adopted" if each.comes == "adopted" else each.name
        here = "acts" if each.acts else "looks on" if each.looks_on else each.comes
        grid.add_row(*map(Text, (name, each.version, each.kind, here, each.evaluation)))
    out.print(grid)
    say(f"For evaluations alone: {', '.join(FOR_STUDY)}.")
    if settings.policy.use == "adopted" and not any(each.comes == "adopted" for each in found):
        say("None was adopted here: the runbook acts.", style="yellow")
    say("Another file is let in by `gpumedic policy promote FILE`, then policy.use = adopted.")
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
                "acts": _who(found.chooser, found.apart),
                "within": _who(found.chooser) if found.apart else None,
                "shadow": _who(found.shadow, found.shadow_apart),
                "explore": settings.policy.explore,
                "problems": [problem.text for problem in found.problems],
                "adopted": None if now is None else _plain(now),
            }
        )
    say(f"acts: {_in_words(_who(found.chooser, found.apart))}")
    if found.apart:
        within = _in_words(_who(found.chooser))
        say(f"  {within} where no answer comes within {lasting(settings.policy.time_limit)}")
    if (beside := _who(found.shadow, found.shadow_apart)) is not None:
        say(f"looks on: {_in_words(beside)}")
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
        int | None,
        typer.Option(min=10, help="Of each family of clusters, the same for all; 100 by default."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="10 lives of each family: wider intervals.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a policy against the runbook, and adopt it where it is better and worse nowhere.

    It breaks no guard, loses less in all with the whole 95 % interval, and in no family of clusters
    more with the whole interval; nor in all more than what was adopted before it. It acts from the
    daemon's next start or reload on, where policy.use = "adopted". Exit code 3 where it may not.
    """
    from agent.evaluations.policies.promotion import adopted_of

    adoption = _adoption(config)
    acts = _other_than(file, adoption)
    with Progress(console=err, transient=True) as bar:
        task = bar.add_task(f"lives with {file.name}", total=None)
        found = adopted_of(
            file,
            by=by,
            acts=acts,
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
    still_open = {each.incident_id for each in found.decisions if each.shadow} - set(found.ended_s)
    if as_json:
        return print_json(_shadow_plain(names, agreed, estimated, len(still_open)))
    _tell_shadow(names, agreed, estimated)
    if still_open:
        say(f"Left out: {len(still_open)} incidents that are still open.")
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


def _shadow_plain(
    names: list[str], agreed: "Agreement", estimated: "OffPolicy", still_open: int
) -> dict[str, Any]:
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
        "incidents_open": still_open,
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


def _who(chooser: "Chooser | None", apart: str = "") -> dict[str, str] | None:
    """Return who chooses: the one in a process of its own where that is named."""
    if apart:
        from remediation.twin.lookahead import TwinLookahead

        return {"name": TwinLookahead.name, "version": TwinLookahead.version}
    return None if chooser is None else {"name": chooser.name, "version": chooser.version}


def _in_words(who: dict[str, str] | None) -> str:
    return "nobody" if who is None else " ".join(who.values())


def _plain(adopted: "Adopted") -> Any:
    from core.codec import to_json

    return to_json(adopted)


def _other_than(file: Path, adoption: "Adoption") -> "Trained | None":
    """Return the adopted policy, where it is another and can be used."""
    from agent.adoption import digest_of
    from core.errors import InputError

    digest = digest_of(file)
    try:
        now = adoption.current()
        return None if now is None or now.digest == digest else adoption.policy()
    except InputError as error:  # who cannot act is nobody to be better than
        tell(str(error), style="yellow")
        return None


def _adoption(config: list[Path] | None) -> "Adoption":
    from agent.adoption import Adoption

    return Adoption(load_settings(config).settings.state_dir)
