"""The causal links in force: those known and a user's own, as settings and from them."""

import json
from collections.abc import Iterable

from agent.config.settings import CausalLink, Settings
from agent.quantities import format_duration
from rca.graph.links import TEMPLATES, check_links, with_links
from rca.graph.templates import LEARNED_STRENGTH, Provenance, Template

_HEAD = """\
# Links that `gpumedic graph learn` suggests. Take over what makes sense to you: a list of links
# replaces the whole earlier list, so put them beside those you already have.
"""


def known_and_own(settings: Settings) -> tuple[Template, ...]:
    """Return the known links with ``diagnose.link`` laid over them; InputError for a cycle."""
    own = tuple(_template(link) for link in settings.diagnose.link)
    check_links(own, "reading diagnose.link")
    return with_links(TEMPLATES, own)


def _template(link: CausalLink) -> Template:
    """Return a link as the graph has it; one that was learned stays weak, whatever is written."""
    return Template(
        cause=link.cause,
        effect=link.effect,
        join=link.join,
        sign=link.sign,
        lag_least_s=link.lag_least,
        lag_s=link.lag,
        strength=min(link.strength, LEARNED_STRENGTH) if link.learned else link.strength,
        provenance=Provenance.LEARNED if link.learned else Provenance.USER,
        why="as the readings suggest" if link.learned else "as the settings say",
        source="diagnose.link",
    )


def as_settings(links: Iterable[Template]) -> str:
    """Return learned links as the text of a settings file, each with what speaks for it."""
    lines = [_HEAD]
    for link in links:
        lines += [
            f"# {link.why}",
            "[[diagnose.link]]",
            f"cause = {json.dumps(link.cause)}",
            f"effect = {json.dumps(link.effect)}",
            f"join = {json.dumps(link.join)}",
            f"sign = {link.sign}",
            f"lag_least = {json.dumps(format_duration(link.lag_least_s))}",
            f"lag = {json.dumps(format_duration(link.lag_s))}",
            f"strength = {link.strength:g}",
            "learned = true\n",
        ]
    return "\n".join(lines)
