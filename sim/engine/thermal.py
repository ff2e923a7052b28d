"""How warm GPUs get and how fast they may run: first-order lag, power by clock, throttling.

H100 SXM draws 700 W at most and about 100 W idle, slows its clocks at 87 to 89 degC and shuts down
8 degC above where it begins to (nvidia-smi -q); other types differ by their row of ``types``.
Assumptions, as no public figure was found: power grows with clock^2.4; the die follows the air and
its power with a lag of 60 to 120 s; a step's compute time is (1-c) + c/clock with c of 0.6 to 0.8.
"""

import math

import numpy as np

from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.words import GPUS

POWER_EXPONENT = 2.4
CLOCK_SHARE = 0.7  # c: how much of a step's compute time follows the clock
INLET_LAG_S = 75.0
SLOWEST_CLOCK = 0.3
SHUTDOWN_MARGIN_CELSIUS = 8.0
_SETTLED_CELSIUS = 0.3
_CHECK_EVERY_S = 15.0


@compiled
def watts(w: Tables, node: int, clock: float) -> float:
    """Return the power of one of a node's GPUs under the node's load, at a relative clock."""
    kind, load = w.types[w.nodes[node]["type"]], w.nodes[node]["load"]
    dynamic = kind["load_watts"][load] - kind["idle_watts"]
    share = 1.0 if clock == 1.0 else clock**POWER_EXPONENT
    return float(kind["idle_watts"] + dynamic * share)


@compiled
def slowdown(clock: float) -> float:
    """Return how many times longer a step's compute takes at a relative clock."""
    return (1.0 - CLOCK_SHARE) + CLOCK_SHARE / clock


@compiled
def follow(w: Tables, node: int, passed_s: float) -> None:
    """Let the air at a node's inlet and its GPUs come nearer to their goals.

    What has reached its goal stays there, and most have: then nothing is worked out. All places of
    a node are gone through, those without a GPU too: so it is one instruction, not eight.
    """
    row = w.nodes[node]
    if row["inlet"] != row["inlet_goal"]:
        left = math.exp(-passed_s / INLET_LAG_S)
        row["inlet"] = _nearer(row["inlet"], row["inlet_goal"], left)
    moving = False
    for gpu in range(GPUS):
        moving |= row["celsius"][gpu] != row["goal"][gpu]
    if not moving:
        return
    left = math.exp(-passed_s / w.types[row["type"]]["lag_s"])
    for gpu in range(GPUS):
        row["celsius"][gpu] = _nearer(row["celsius"][gpu], row["goal"][gpu], left)


@compiled
def settle(w: Tables, node: int) -> None:
    """Set a node's clocks and the temperatures they lead to from what is true of it now."""
    row = w.nodes[node]
    limit, most = w.types[row["type"]]["throttle_celsius"], most_clock(w, node)
    hot, free = False, False
    for gpu in range(GPUS):
        hot |= row["celsius"][gpu] >= limit or row["clock"][gpu] < most
        free |= row["clock"][gpu] > most
    if hot or free:
        row["slowest"] = 0.0
    if hot:
        _hold_back(w, node)
        return
    power, inlet, heat = watts(w, node, most) if row["up"] else 0.0, row["inlet"], row["heat"]
    total = 0.0
    for gpu in range(GPUS):
        row["clock"][gpu] = most
        own = power if row["alive"][gpu] else 0.0
        row["goal"][gpu] = inlet + row["resistance"][gpu] * heat * own
        total += own
    row["watts"] = total


@compiled
def most_clock(w: Tables, node: int) -> float:
    """Return the share of its clock that a node's GPUs may run at, by power and by order."""
    row = w.nodes[node]
    most = float(row["cap"] if row["limit"] == 0 else min(row["cap"], row["limit"]))
    if row["power_limit"] > 0:
        most = min(most, _clock_within(w, node, row["power_limit"]))
    return most


@compiled
def _clock_within(w: Tables, node: int, most_watts: float) -> float:
    """Return the clock at which a node's GPUs under its load draw so much; as clocks are kept."""
    kind, load = w.types[w.nodes[node]["type"]], w.nodes[node]["load"]
    dynamic = kind["load_watts"][load] - kind["idle_watts"]
    if most_watts >= kind["idle_watts"] + dynamic:
        return 1.0
    share = max((most_watts - kind["idle_watts"]) / dynamic, 0.0) ** (1.0 / POWER_EXPONENT)
    return float(np.float32(max(share, SLOWEST_CLOCK)))


@compiled
def next_check_s(w: Tables, node: int) -> float:
    """Return in how many seconds a node's clocks must be looked at again; inf: they are settled.

    Only a node whose cooling is impaired, or whose GPUs are held back by heat, can need it.
    """
    row = w.nodes[node]
    impaired, most = row["heat"] != 1, most_clock(w, node)
    for gpu in range(GPUS):
        impaired |= row["clock"][gpu] < most
    if not impaired:
        return math.inf
    gap = abs(row["inlet_goal"] - row["inlet"])
    for gpu in range(row["gpus"]):
        gap = max(gap, abs(row["goal"][gpu] - row["celsius"][gpu]))
    return _CHECK_EVERY_S if gap > _SETTLED_CELSIUS else math.inf


@compiled
def too_hot(w: Tables, node: int, gpu: int) -> bool:
    """Say whether a GPU that runs is so hot that it shuts itself down."""
    row = w.nodes[node]
    limit = w.types[row["type"]]["throttle_celsius"] + SHUTDOWN_MARGIN_CELSIUS
    return bool(row["alive"][gpu] and row["up"] and row["celsius"][gpu] >= limit)


@compiled
def _nearer(value: float, goal: float, left: float) -> float:
    return goal + (value - goal) * left


@compiled
def _hold_back(w: Tables, node: int) -> None:
    """Do as ``settle`` where GPUs are hot: those run as fast as the air keeps them from more."""
    row = w.nodes[node]
    kind = w.types[row["type"]]
    dynamic = kind["load_watts"][row["load"]] - kind["idle_watts"]
    most, total = most_clock(w, node), 0.0
    for gpu in range(row["gpus"]):
        path = row["resistance"][gpu] * row["heat"]
        hot = row["celsius"][gpu] >= kind["throttle_celsius"] or row["clock"][gpu] < most
        clock = most
        if hot and dynamic > 0:
            room = ((kind["hold_celsius"] - row["inlet"]) / path - kind["idle_watts"]) / dynamic
            held = max(room, 0.0) ** (1.0 / POWER_EXPONENT)
            clock = min(max(held, SLOWEST_CLOCK), clock)
        row["clock"][gpu] = clock
        power = watts(w, node, clock) if row["alive"][gpu] and row["up"] else 0.0
        row["goal"][gpu] = row["inlet"] + path * power
        total += power
    row["watts"] = total
