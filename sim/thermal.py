"""How warm GPUs get and how fast they may run: first-order lag, power by clock, throttling.

H100 SXM draws 700 W at most and about 100 W idle and slows its clocks at 87 to 89 degC (nvidia-smi
-q). Assumptions, as no public figure was found: power grows with clock^2.4; the die follows the air
and its power with a lag of 60 to 120 s; a step's compute time is (1-c) + c/clock with c of 0.6 to
0.8.
"""

from enum import IntEnum

import numpy as np

from core.types import Floats
from sim.trail import Rows


class Load(IntEnum):
    """What a node's GPUs do."""

    IDLE = 0
    STARTING = 1
    WAITING = 2
    COMPUTING = 3


LOAD_WATTS = np.array([100.0, 150.0, 260.0, 640.0])  # at full clock; WAITING spins in a collective
IDLE_WATTS = 100.0
POWER_EXPONENT = 2.4
CLOCK_SHARE = 0.7  # c: how much of a step's compute time follows the clock
LAG_S = 90.0
INLET_LAG_S = 75.0
THROTTLE_CELSIUS = 87.0
HOLD_CELSIUS = 88.0  # what the clock control settles at, between its limits of 87 and 89
SLOWEST_CLOCK = 0.3
INLET_CELSIUS = 24.0
HEAT_RESISTANCE = 0.062  # degC per watt: 64 degC at 640 W in air of 24
_SETTLED_CELSIUS = 0.3
_CHECK_EVERY_S = 15.0


def watts(load: Floats, clock: Floats) -> Floats:
    """Return board power of GPUs at a relative clock; shapes as given."""
    return IDLE_WATTS + (LOAD_WATTS[load.astype(np.int64)] - IDLE_WATTS) * clock**POWER_EXPONENT


def slowdown(clock: Floats) -> Floats:
    """Return how many times longer a step's compute takes at a relative clock."""
    return (1 - CLOCK_SHARE) + CLOCK_SHARE / clock


def inlet_at(rows: Rows, time_s: Floats) -> Floats:
    """Return the air at the inlet; shape of ``rows`` and ``time_s`` together."""
    lag = np.exp(-np.maximum(time_s - rows["start_s"], 0) / INLET_LAG_S)
    inlet: Floats = rows["inlet_goal"] + (rows["inlet"] - rows["inlet_goal"]) * lag
    return inlet


def temperature_at(rows: Rows, time_s: Floats) -> Floats:
    """Return GPU temperatures, (..., 8)."""
    lag = np.exp(-np.maximum(time_s - rows["start_s"], 0) / LAG_S)[..., None]
    celsius: Floats = rows["goal"] + (rows["celsius"] - rows["goal"]) * lag
    return celsius


def settle(rows: Rows, resistance: Floats) -> None:
    """Set clocks and the temperatures they lead to, in place, from where the rows start.

    rows: (K) node rows whose ``celsius``, ``inlet``, ``load`` and ``heat`` are those of now
    resistance: (K, 8) degC per watt of each GPU as built; ``heat`` multiplies it
    """
    load = np.broadcast_to(rows["load"][:, None], rows["celsius"].shape).astype(np.float64)
    full = np.ones_like(rows["celsius"])
    path = resistance * rows["heat"][:, None]
    inlet = rows["inlet"][:, None]
    dynamic = watts(load, full) - IDLE_WATTS
    room = ((HOLD_CELSIUS - inlet) / path - IDLE_WATTS) / np.maximum(dynamic, 1e-9)
    held = np.clip(np.maximum(room, 0) ** (1 / POWER_EXPONENT), SLOWEST_CLOCK, 1.0)
    hot = (rows["celsius"] >= THROTTLE_CELSIUS) | (rows["clock"] < 1)
    rows["clock"] = np.where(hot & (dynamic > 0), held, full)
    power = watts(load, rows["clock"]) * rows["alive"]
    rows["goal"] = inlet + path * power


def next_check_s(row: Rows) -> float | None:
    """Return in how many seconds a node's clocks must be looked at again; None: they are settled.

    Only a node whose cooling is impaired, or whose GPUs are held back, can need it.
    """
    impaired = float(row["heat"]) != 1 or bool((row["clock"] < 1).any())
    gap = np.abs(row["goal"] - row["celsius"]).max()
    air_gap = abs(float(row["inlet_goal"]) - float(row["inlet"]))
    moving = max(float(gap), air_gap) > _SETTLED_CELSIUS
    return _CHECK_EVERY_S if impaired and moving else None
