"""The weights of the kinds of evidence, as data, with how they were fitted."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from rca.posterior.hypothesis import KINDS, Kind


@dataclass(frozen=True, slots=True)
class Weights:
    """A conditional logit over hypotheses.

    of:      multiplies the nats of each kind of evidence
    unknown: score of "none of these" with nothing missing, nats
    calm:    score of "nothing is broken" before its evidence, nats
    lapse:   share of answers, however plain, that are wrong for a reason that no evidence shows;
             it goes to "unknown"
    """

    of: Mapping[Kind, float]
    unknown: float
    calm: float
    lapse: float


@lru_cache(maxsize=1)
def fitted() -> Weights:
    """Return the weights of ``weights.toml``; a kind that it does not name counts as it is."""
    text = (files("rca.posterior") / "weights.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    return Weights(
        of={kind: float(data["weight"].get(kind.value, 1.0)) for kind in KINDS},
        unknown=float(data["unknown"]),
        calm=float(data["calm"]),
        lapse=float(data["lapse"]),
    )
