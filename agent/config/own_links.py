"""The causal links in force: those known and a user's own of the settings."""

from agent.config.settings import CausalLink, Settings
from rca.graph.links import TEMPLATES, check_links, with_links
from rca.graph.templates import Provenance, Template


def known_and_own(settings: Settings) -> tuple[Template, ...]:
    """Return the known links with ``diagnose.link`` laid over them; InputError for a cycle."""
    own = tuple(_template(link) for link in settings.diagnose.link)
    check_links(own, "reading diagnose.link")
    return with_links(TEMPLATES, own)


def _template(link: CausalLink) -> Template:
    return Template(
        cause=link.cause,
        effect=link.effect,
        join=link.join,
        sign=link.sign,
        lag_least_s=link.lag_least,
        lag_s=link.lag,
        strength=link.strength,
        provenance=Provenance.USER,
        why="as the settings say",
        source="diagnose.link",
    )
