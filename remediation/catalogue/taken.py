"""Which nodes an action takes out of service: those it handles, if its kind takes any."""

from core.types import Action
from remediation.catalogue import CATALOG
from remediation.catalogue.subject import taken_out


def taken(action: Action) -> tuple[str, ...]:
    """Return the nodes that are out of service by our hand once the action is done."""
    return taken_out(action) if CATALOG[action.kind].takes_out else ()
