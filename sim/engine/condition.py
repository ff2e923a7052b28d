"""What open faults make of a node: its condition is worked out anew from all of them.

So a fault that ends leaves nothing behind, whatever else is broken. Open faults of a node are a
chain from ``nodes.fault``, those of a leaf, rack, power or cooling domain and of the fleet one from
``domains.fault``; a fault on a job is in the chain of one of its nodes.
"""

from sim.engine import machines
from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.words import GPUS, NONE, Effect, Said, Scope

_INLET_RISE_CELSIUS = 13.0  # at a cooling fault of size 1: assumption, holds clocks near 0.8
# Corrected errors a second as a memory fails, from its first to its last day's rate: assumptions.
_ECC_FIRST, _ECC_GROWTH = 1e-3, 1000.0
_LINK_ERRORS = 5.0  # NVLink errors and PCIe replays a second of a link that fails: assumptions
_REPLAYS = 2.0
# The Xids of NVIDIA's catalogue that are about memory: an error that could not be corrected (48,
# 95 and, held to one process, 94), a row that will be remapped (63) and one that cannot be (64).
_UNCORRECTED, _REMAPPED, _REMAP_FAILED, _NVLINK = (48, 94, 95), (48, 63), 64, 74
CHAINS = 6


@compiled
def is_own(w: Tables, fault: int) -> bool:
    """Say whether a fault is in a node's chain: it is on a GPU, a node or a job."""
    scope = w.classes[w.faults[fault]["class"]]["scope"]
    return bool(scope in (Scope.GPU, Scope.NODE, Scope.JOB))


@compiled
def domain_of(w: Tables, scope: int, index: int) -> int:
    """Return the row of a domain, or NONE where there is none of its scope."""
    first = w.core[0]["domains_at"][scope]
    return int(first + index) if first != NONE else NONE


@compiled
def link(w: Tables, fault: int) -> None:
    """Put a fault that has struck at the head of its chain."""
    row = w.faults[fault]
    home = row["home"]
    if is_own(w, fault):
        row["next"] = w.nodes[home]["fault"]
        w.nodes[home]["fault"] = fault
        w.nodes[home]["faults"] += 1
        w.nodes[home]["heeded"] = NONE
    else:
        row["next"] = w.domains[home]["fault"]
        w.domains[home]["fault"] = fault


@compiled
def unlink(w: Tables, fault: int) -> None:
    """Take a fault out of its chain."""
    row = w.faults[fault]
    home, own = row["home"], is_own(w, fault)
    at = w.nodes[home]["fault"] if own else w.domains[home]["fault"]
    before = NONE
    while at != fault:
        before, at = at, w.faults[at]["next"]
    if before != NONE:
        w.faults[before]["next"] = row["next"]
    elif own:
        w.nodes[home]["fault"] = row["next"]
    else:
        w.domains[home]["fault"] = row["next"]
    if own:
        w.nodes[home]["faults"] -= 1


@compiled
def chain(w: Tables, node: int, which: int) -> int:
    """Return the first open fault that concerns a node of one of its chains, 0 to 5, or NONE."""
    row = w.nodes[node]
    if which == 0:
        return int(row["fault"])
    scope, index = Scope.FLEET, 0
    if which == 1:
        scope, index = Scope.LEAF, row["leaf"]
    elif which == 2:
        scope, index = Scope.RACK, row["rack"]
    elif which == 3:
        scope, index = Scope.POWER, row["power"]
    elif which == 4:
        scope, index = Scope.COOLING, row["cooling"]
    domain = domain_of(w, scope, index)
    return int(w.domains[domain]["fault"]) if domain != NONE else NONE


@compiled
def open_on(w: Tables, node: int, effect: int) -> int:
    """Return an open fault with an effect that concerns a node, or NONE."""
    for which in range(CHAINS):
        fault = chain(w, node, which)
        while fault != NONE:
            if w.classes[w.faults[fault]["class"]]["effect"] == effect:
                return fault
            fault = w.faults[fault]["next"]
    return NONE


@compiled
def kept_down(w: Tables, node: int) -> bool:
    """Say whether a fault keeps a node from running."""
    down = open_on(w, node, Effect.NODE_DOWN)
    return bool(down != NONE or open_on(w, node, Effect.POWER_LOST) != NONE)


@compiled
def is_stopped(w: Tables, node: int) -> bool:
    """Say whether a roll-out that concerns a node was stopped: it boots with the good driver."""
    fault = open_on(w, node, Effect.DRIVER)
    return bool(fault != NONE and w.faults[fault]["stopped"])


@compiled
def refresh(w: Tables, node: int) -> None:
    """Work a node's condition out from all that is open, and draw the conclusions."""
    machines.carry(w, node)
    _make_sound(w, node)
    for which in range(CHAINS):
        fault = chain(w, node, which)
        while fault != NONE:
            _add(w, node, fault)
            fault = w.faults[fault]["next"]
    _add_warning(w, node)
    row = w.nodes[node]
    for gpu in range(row["gpus"]):
        if row["heat"] == 1:
            row["shut"][gpu] = 0
        if row["shut"][gpu]:
            row["alive"][gpu] = 0
    machines.changed(w, node)


@compiled
def _make_sound(w: Tables, node: int) -> None:
    row = w.nodes[node]
    for gpu in range(GPUS):
        row["alive"][gpu] = 1 if gpu < row["gpus"] else 0
        row["slow"][gpu] = 1.0
        row["xid"][gpu], row["uncorrected"][gpu] = 0, 0
        row["remap_pending"][gpu], row["remap_failed"][gpu] = 0, 0
        row["ecc_rate"][gpu] = 0.0
    row["network"], row["host"], row["cap"], row["heat"] = 1.0, 1.0, 1.0, 1.0
    row["inlet_goal"], row["driver"] = row["inlet_base"], 0
    row["replays"], row["link_errors"] = 0.0, 0.0
    row["silent"], row["stale_s"], row["skew_s"] = False, float("inf"), 0.0


@compiled
def _add(w: Tables, node: int, fault: int) -> None:
    """Add what one open fault does to a node."""
    effect = w.classes[w.faults[fault]["class"]]["effect"]
    size, share = w.faults[fault]["size"], w.faults[fault]["share"]
    row = w.nodes[node]
    if effect in (Effect.GPU_LOST, Effect.GPU_ERROR, Effect.SLOW_GPU, Effect.ECC_GROWTH):
        _add_to_gpu(w, node, fault, effect)
    elif effect in (Effect.SLOW_HOST, Effect.NOISY_NEIGHBOUR):
        row["host"] *= 1.0 + (size - 1.0) * share
    elif effect == Effect.SLOW_NETWORK:
        row["network"] *= 1.0 - (1.0 - size) * share
    elif effect in (Effect.LINK_FLAP, Effect.LEAF_DOWN):
        row["network"] *= 1.0 - share
    elif effect == Effect.COOLING:
        row["heat"] += size * share
        row["inlet_goal"] += _INLET_RISE_CELSIUS * size * share
    elif effect == Effect.POWER_CAP:
        row["cap"] = min(row["cap"], size)
    else:
        _add_rest(w, node, fault, effect)
    if w.classes[w.faults[fault]["class"]]["said"] == Said.PCIE_ERROR:
        row["replays"] += _REPLAYS


@compiled
def _add_rest(w: Tables, node: int, fault: int, effect: int) -> None:
    """Add what a driver's roll-out and an exporter's fault do to a node."""
    row, size = w.nodes[node], w.faults[fault]["size"]
    if effect == Effect.DRIVER and node < w.faults[fault]["phase"] and not row["pinned"]:
        row["driver"] = 1
        for gpu in range(row["gpus"]):
            row["slow"][gpu] *= size
    elif effect == Effect.DROPOUT:
        row["silent"] = True
    elif effect == Effect.STALE:
        row["stale_s"] = min(row["stale_s"], w.faults[fault]["onset_s"])
    elif effect == Effect.SKEW:
        row["skew_s"] += size


@compiled
def _add_to_gpu(w: Tables, node: int, fault: int, effect: int) -> None:
    row, gpu = w.nodes[node], w.faults[fault]["gpu"]
    size, share = w.faults[fault]["size"], w.faults[fault]["share"]
    if effect == Effect.GPU_LOST:
        row["alive"][gpu] = 0
    elif effect == Effect.SLOW_GPU:
        row["slow"][gpu] *= 1.0 + (size - 1.0) * share
    elif effect == Effect.ECC_GROWTH:
        row["ecc_rate"][gpu] += _ECC_FIRST * _ECC_GROWTH**share
    kind = w.classes[w.faults[fault]["class"]]
    if kind["said"] == Said.XID and (effect != Effect.ECC_GROWTH or share >= 1.0):
        _mark(w, node, gpu, kind["code"])


@compiled
def _mark(w: Tables, node: int, gpu: int, xid: int) -> None:
    """Leave what an Xid leaves in a GPU's counters."""
    row = w.nodes[node]
    row["xid"][gpu] = xid
    if xid in _UNCORRECTED:
        row["uncorrected"][gpu] += 1
    if xid in _REMAPPED:
        row["remap_pending"][gpu] = 1
    if xid == _REMAP_FAILED:
        row["remap_failed"][gpu] = 1
    if xid == _NVLINK:
        row["link_errors"] += _LINK_ERRORS


@compiled
def _add_warning(w: Tables, node: int) -> None:
    """Add what already shows of a fault to come."""
    row = w.nodes[node]
    if row["warn"] == NONE:
        return
    gpu, share = row["warn_gpu"], row["warn_share"]
    if row["warn"] == Effect.ECC_GROWTH:
        row["ecc_rate"][gpu] += _ECC_FIRST * _ECC_GROWTH**share
    elif row["warn"] == Effect.SLOW_GPU:
        row["slow"][gpu] *= 1.0 + WARNED_SLOWER * share


WARNED_SLOWER = 0.1  # most that a GPU is slower before its fault comes: assumption
