"""What a diagnosis knows beforehand: the links of the graph, and what this fleet has taught."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from rca.graph.links import TEMPLATES
from rca.graph.mechanisms import Mechanisms
from rca.graph.templates import Template


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Known links and fleet priors; the default is the catalogue's, and nothing of this fleet.

    links:  causes and effects, a user's own and learned ones among them
    priors: fault -> shift of its log prior, in nats, from the fleet's own outcomes; none: 0
    mechanisms: fitted earlier, off the incident path; None: fitted on the incident's own past
    """

    links: tuple[Template, ...] = TEMPLATES
    priors: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    mechanisms: Mechanisms | None = None


DEFAULT = Knowledge()
