"""Settings that contradict each other, and those that work but deserve a word."""

import fnmatch
import json
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from agent.addresses import host_and_port
from agent.config.forms import CREDENTIAL, loopback
from agent.config.own_links import known_and_own
from agent.config.settings import CausalLink, Settings
from agent.quantities import format_duration
from agent.times import from_rfc3339
from core.errors import ConfigError, InputError
from core.units import CATALOG as METRICS
from rca.graph.links import joins_of
from rca.graph.templates import Join
from remediation.catalogue import CATALOG

# A series of this length takes 400 kB; beyond it the history of a large cluster fills the memory.
MAX_READINGS = 100_000

Finding = tuple[str, str]


def contradictions(settings: Settings) -> Iterator[Finding]:
    """Yield (dotted key, sentence) for each setting that another one makes useless."""
    yield from _spans(settings)
    yield from _limits(settings)
    yield from _autonomy(settings)
    yield from _maintenance(settings)
    yield from _site(settings)
    yield from _links(settings)
    yield from _checkpoints(settings)
    names = Counter(webhook.name for webhook in settings.webhooks)
    for name in (name for name, count in names.items() if count > 1):
        text = f"{names[name]} webhooks have the name {name!r}: give each its own."
        yield "webhooks", text


def _spans(settings: Settings) -> Iterator[Finding]:
    step, span = settings.history.step, settings.history.span
    forecast, detect = settings.forecast, settings.detect
    for key, value, other, least in (
        ("forecast.horizon", forecast.horizon, "twice history.step", 2 * step),
        ("history.span", span, "twice forecast.horizon, to learn from", 2 * forecast.horizon),
        ("history.span", span, "diagnose.normal_span", settings.diagnose.normal_span),
        ("cycle.refit", settings.cycle.refit, "cycle.interval", settings.cycle.interval),
        ("detect.silence_after", detect.silence_after, "twice history.step", 2 * step),
        (
            "guards.evidence_max_age",
            settings.guards.evidence_max_age,
            "cycle.interval, or all evidence is too old",
            settings.cycle.interval,
        ),
    ):
        if value < least:
            yield key, _too_short(key, value, other, least)
    if 0 < forecast.sustain < step:
        key, other = "forecast.sustain", "history.step, or 0s for a single reading"
        yield key, _too_short(key, forecast.sustain, other, step)
    if span / step > MAX_READINGS:
        text = (
            f"history.span = {format_duration(span)} at a step of {format_duration(step)} is "
            f"{span / step:,.0f} readings a series, more than {MAX_READINGS:,}: "
            "shorten the span or lengthen history.step."
        )
        yield "history.span", text


def _checkpoints(settings: Settings) -> Iterator[Finding]:
    jobs = Counter(each.job for each in settings.checkpoints.folder)
    for number, each in enumerate(settings.checkpoints.folder):
        key = f"checkpoints.folder.{number}"
        if jobs[each.job] > 1:
            text = f"{key}.job = {json.dumps(each.job)} is there twice: give a job one folder."
            yield f"{key}.job", text
        if each.copies.startswith("/") and Path(each.copies).is_relative_to(each.path):
            text = (
                f"{key}.copies = {json.dumps(each.copies)} lies within its path, so that copies "
                "would be taken for checkpoints and be lost with them: name another disk."
            )
            yield f"{key}.copies", text


def _too_short(key: str, value: float, other: str, least: float) -> str:
    return (
        f"{key} = {format_duration(value)} is too short: "
        f"it must be at least {format_duration(least)} ({other})."
    )


def _limits(settings: Settings) -> Iterator[Finding]:
    for name, limit in settings.forecast.limits.items():
        metric = METRICS[name]
        if not metric.plausible(limit):
            unit = f" {metric.unit}" if metric.unit else ""
            key = f"forecast.limits.{name}"
            yield (
                key,
                f"{key} = {limit:g} can never be crossed: "
                f"the metric lies between {metric.low:g} and {metric.high:g}{unit}.",
            )


def _autonomy(settings: Settings) -> Iterator[Finding]:
    named = {f"autonomy.{n}.action": rule.action for n, rule in enumerate(settings.autonomy)}
    named |= {
        f"guards.owners_agree.{n}": kind for n, kind in enumerate(settings.guards.owners_agree)
    }
    for key, pattern in named.items():
        if not fnmatch.filter(CATALOG, pattern):
            near = get_close_matches(pattern, CATALOG, n=1, cutoff=0.0)[0]
            yield key, f"{key} = {json.dumps(pattern)} matches no action; the nearest is {near}."


def _maintenance(settings: Settings) -> Iterator[Finding]:
    for number, window in enumerate(settings.guards.maintenance):
        if from_rfc3339(window.end) <= from_rfc3339(window.start):
            key = f"guards.maintenance.{number}.end"
            yield key, f"{key} = {json.dumps(window.end)} is not after its start, {window.start}."


def _site(settings: Settings) -> Iterator[Finding]:
    site = settings.site
    for key, value in (("reboot", site.reboot), ("validate_node", site.validate_node)):
        if value > site.repair:
            yield (
                f"site.{key}",
                f"site.{key} = {format_duration(value)} is longer than a repair takes "
                f"(site.repair = {format_duration(site.repair)}): nobody would wait for it.",
            )


def _links(settings: Settings) -> Iterator[Finding]:
    for number, link in enumerate(settings.diagnose.link):
        key = f"diagnose.link.{number}"
        if link.lag < link.lag_least:
            yield key, _too_short(f"{key}.lag", link.lag, f"{key}.lag_least", link.lag_least)
        if link.join not in (fitting := joins_of(link.cause, link.effect)):
            yield key, _misfit(f"{key}.join", link, fitting)
    try:
        known_and_own(settings)
    except InputError as error:
        yield "diagnose.link", str(error)


def _misfit(key: str, link: CausalLink, fitting: tuple[Join, ...]) -> str:
    can = f"write {' or '.join(fitting)}" if fitting else "no join can: leave this link out"
    return f'{key} = "{link.join}" cannot link {link.cause} to {link.effect}: {can}.'


def secret_path(reference: str, environ: Mapping[str, str]) -> Path:
    """Return the file a secret is in; systemd lays credentials in $CREDENTIALS_DIRECTORY."""
    if not reference.startswith(CREDENTIAL):
        return Path(reference)
    name, folder = reference.removeprefix(CREDENTIAL), environ.get("CREDENTIALS_DIRECTORY", "")
    if not folder:
        raise ConfigError(
            f"Looking for the credential {name}: systemd has given this process none. "
            f"Add LoadCredential={name}:FILE to the unit, or name the file itself."
        )
    return Path(folder) / name


def read_secret(reference: str, *, environ: Mapping[str, str]) -> str:
    """Read a secret and strip the line's end; ConfigError where there is none to read."""
    path = secret_path(reference, environ)
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else "") or "not UTF-8 text"
        raise ConfigError(
            f"Reading the secret in {path}: {why}. It must be a text file that the user "
            "gpumedic runs as may read."
        ) from None
    if not secret:
        raise ConfigError(f"Reading the secret in {path}: it is empty. Write the secret into it.")
    return secret


def secret_keys(settings: Settings) -> dict[str, str]:
    """Return each dotted key that names a secret's file, with what it names."""
    named = {
        "prometheus.token_file": settings.prometheus.token_file,
        "scheduler.token_file": settings.scheduler.token_file,
        "slurm.rest_token_file": settings.slurm.rest_token_file,
        "alertmanager.token_file": settings.alertmanager.token_file,
        "server.alerts_secret_file": settings.server.alerts_secret_file,
    }
    for number, webhook in enumerate(settings.webhooks):
        named[f"webhooks.{number}.secret_file"] = webhook.secret_file
    return {key: reference for key, reference in named.items() if reference}


def missing_files(settings: Settings) -> Iterator[Finding]:
    """Yield each file that a key names and that is not there."""
    named = secret_keys(settings)
    if settings.prometheus.ca_file:
        named["prometheus.ca_file"] = settings.prometheus.ca_file
    if settings.scheduler.ca_file:
        named["scheduler.ca_file"] = settings.scheduler.ca_file
    if settings.slurm.conf:
        named["slurm.conf"] = settings.slurm.conf
    if settings.kubernetes.kubeconfig:
        named["kubernetes.kubeconfig"] = settings.kubernetes.kubeconfig
    if settings.slurm.bin:
        named["slurm.bin"] = settings.slurm.bin
    for key, reference in named.items():
        if not reference.startswith(CREDENTIAL) and _gone(Path(reference)):
            yield (
                key,
                f"{key} names {reference}, which is not there: create it or correct the path.",
            )


def _gone(path: Path) -> bool:
    try:
        path.stat()
    except PermissionError:
        return False
    except OSError:
        return True
    return False


def warnings(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what works, but is not as safe as it could be."""
    for key, reference in secret_keys(settings).items():
        yield from ((key, text) for text in _secret_warnings(key, reference, environ))
    host, _ = host_and_port(settings.server.listen)
    if not loopback(host):
        text = (
            f"server.listen = {settings.server.listen} lets other machines see the page; "
            "put it behind a proxy that asks who they are, or listen on 127.0.0.1."
        )
        yield "server.listen", text


def _secret_warnings(key: str, reference: str, environ: Mapping[str, str]) -> Iterator[str]:
    try:
        path = secret_path(reference, environ)
    except ConfigError as error:
        yield str(error)
        return
    try:
        mode = path.stat().st_mode
    except OSError as error:
        yield f"{key} names {path}, which cannot be looked at here ({error.strerror})."
        return
    if mode & stat.S_IROTH:
        yield f"{key} names {path}, which every user may read: chmod 0640 {path}."
    elif not os.access(path, os.R_OK):
        yield f"{key} names {path}, which this user may not read."
