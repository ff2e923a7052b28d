"""The lowest energy for the same work within a bound of slowdown, by power limit and clocks.

At a share f of its clock a GPU draws P(f) = idle + (P(1) - idle) f^2.4, and a step takes
T(f) = (1 - c) + c / f of its time, of which a share c is computing, 0.6 to 0.8. A step of work then
takes (P(f) + host) T(f). Power grows faster than time shrinks, so there is a best f below 1; the
bound of slowdown is kept for the c that is worst for it. The law is the simulator's, as the public
figures have it (docs/energy.md); measured on neither our GPUs nor yours.
"""

from dataclasses import dataclass

import numpy as np

POWER_EXPONENT = 2.4
# Share of a step that is computing: likely, and the most that is likely.
CLOCK_SHARE, MOST_CLOCK_SHARE = 0.7, 0.8
# nvidia-smi -q of an H100 SXM: about 100 W idle, 200 to 700 W can be set.
IDLE_WATTS, LEAST_WATTS, MOST_WATTS = 100.0, 200.0, 700.0
# Clocks below this share were not looked at by any of the sources.
LEAST_SHARE = 0.4
_LOOKED_AT = 61
# An H100's clocks are taken back from 87 degC on: a limit is advised that keeps it this cool.
HOT_CELSIUS = 84.0
INLET_CELSIUS = 30.0


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU under its job: what it draws at full clock, idle, and what limits can be set, W."""

    full_watts: float
    idle_watts: float = IDLE_WATTS
    least_watts: float = LEAST_WATTS
    most_watts: float = MOST_WATTS
    host_watts: float = 0.0


@dataclass(frozen=True, slots=True)
class Saving:
    """What to set, and what comes of it.

    watts:  limit of each GPU, whole watts; share: of the clock, for those who hold clocks instead
    slowdown: how much longer a step takes, likely and at most; 0.05: 5 %
    energy_ratio: energy for the same work against that at full clock, hosts and all
    cool:   the limit is there to keep the GPU cool, whatever the bound of slowdown
    """

    watts: float
    share: float
    slowdown: float
    most_slowdown: float
    energy_ratio: float
    cool: bool = False


def watts_at(share: float, card: Card) -> float:
    """Return what a GPU under its job draws at a share of its clock."""
    dynamic: float = share**POWER_EXPONENT
    return card.idle_watts + (card.full_watts - card.idle_watts) * dynamic


def share_within(watts: float, card: Card) -> float:
    """Return the highest share of its clock at which a GPU under its job draws so much."""
    room = (watts - card.idle_watts) / (card.full_watts - card.idle_watts)
    return float(min(max(room, 0.0) ** (1.0 / POWER_EXPONENT), 1.0))


def step_ratio(share: float, clock_share: float = CLOCK_SHARE) -> float:
    """Return how many times longer a step takes at a share of the clock."""
    return (1.0 - clock_share) + clock_share / share


def energy_ratio(share: float, card: Card) -> float:
    """Return the energy for the same work at a share of the clock against that at full clock."""
    drawn = watts_at(share, card) + card.host_watts
    return drawn * step_ratio(share) / (card.full_watts + card.host_watts)


def cheapest(card: Card, *, most_slowdown: float) -> Saving | None:
    """Return what takes the least energy within the bound of slowdown; None where nothing saves.

    The limit is whole watts that can be set; the bound holds even where all of it is computing
    that is likely to be.
    """
    if card.full_watts <= max(card.idle_watts, card.least_watts):
        return None
    least = MOST_CLOCK_SHARE / (most_slowdown + MOST_CLOCK_SHARE)  # where T = 1 + most_slowdown
    shares = np.linspace(1.0, max(least, LEAST_SHARE), _LOOKED_AT).tolist()
    best = min(shares, key=lambda share: energy_ratio(share, card))
    found = _saving(float(np.ceil(max(watts_at(best, card), card.least_watts))), card)
    return found if found.energy_ratio < 1.0 else None


def cooling(card: Card, celsius: float, inlet_celsius: float = INLET_CELSIUS) -> Saving | None:
    """Return the limit that keeps a hot GPU below where its clocks are taken back, else None.

    A die's temperature rises above its air in proportion to its power.
    """
    if not celsius > HOT_CELSIUS or celsius <= inlet_celsius:
        return None
    watts = card.full_watts * (HOT_CELSIUS - inlet_celsius) / (celsius - inlet_celsius)
    return _saving(float(np.floor(max(watts, card.least_watts))), card, cool=True)


def _saving(watts: float, card: Card, *, cool: bool = False) -> Saving:
    watts = min(watts, card.most_watts)
    share = share_within(watts, card)
    return Saving(
        watts=watts,
        share=share,
        slowdown=step_ratio(share) - 1.0,
        most_slowdown=step_ratio(share, MOST_CLOCK_SHARE) - 1.0,
        energy_ratio=energy_ratio(share, card),
        cool=cool,
    )
