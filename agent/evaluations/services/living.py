"""How load, latency and errors flow through one service topology while a fault is on."""

import numpy as np

from agent.evaluations.services.families import (
    CRASH,
    DELAY,
    DISK,
    ERRORS,
    HOG,
    LEAK,
    LOSS,
    QUEUES,
    SURGE,
    Family,
)
from agent.evaluations.services.wiring import System
from core.types import Floats

# Share of delays on the way to a component, which only its callers see.
OUTSIDE = 0.3


def smooth(rng: np.random.Generator, shape: tuple[int, ...], keep: float = 0.8) -> Floats:
    """Return noise of unit variance that remembers ``keep`` of the step before."""
    fresh = rng.standard_normal(shape) * np.sqrt(1 - keep**2)
    fresh[..., 0] /= np.sqrt(1 - keep**2)
    for t in range(1, shape[-1]):
        fresh[..., t] += keep * fresh[..., t - 1]
    return np.asarray(fresh)


def run(
    family: Family,
    system: System,
    fault: tuple[str, int, float, Floats],
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Let the system live: (C, T) of load, busy share, latency, error share and so on."""
    name, hit, strength, on = fault
    count, steps = len(system.names), on.size
    users = 20 * (1 + family.season * np.sin(np.arange(steps) / steps * rng.uniform(3, 20)))
    users = users * np.exp(0.08 * smooth(rng, (steps,)))
    hog, delay, loss, errors, leak, disk, gone = (np.zeros((count, steps)) for _ in range(7))
    ramp = np.cumsum(on) / max(1.0, on.sum())
    if name == SURGE:
        users = users * (1 + strength * on)
    hog[hit] = on * (name == HOG) * min(0.95, 0.5 * strength)
    typical = system.own_s.mean() * rng.uniform(2, 10)
    delay[hit] = (
        on * (name in (DELAY, DISK, LOSS)) * strength * typical * (1 if name == DELAY else 0.5)
    )
    loss[hit] = on * (name == LOSS) * 0.2 * strength
    errors[hit] = on * (name == ERRORS) * min(0.9, 0.3 * strength)
    leak[hit] = (name == LEAK) * ramp * strength
    disk[hit] = on * (name == DISK) * strength
    gone[hit] = on * (name == CRASH)
    between = delay * (rng.random() < OUTSIDE)  # only callers see it
    faults = (hog, delay - between, loss, errors, leak, gone, between)
    back = np.zeros(steps)
    flow = queue_flow if family.shape == QUEUES else _flow
    for _ in range(2 if family.closed else 1):  # users who wait send less
        state = flow(family, system, users / (1 + back), faults, rng)
        usual = np.median(state["latency"][0][on == 0])
        back = np.maximum(0, state["latency"][0] / usual - 1) * 0.5
    state["disk"] = (
        state["load"] * system.bytes[:, None] * np.exp(0.2 * rng.standard_normal((count, steps)))
    )
    state["disk"] *= 1 + 3 * disk
    state["leak"], state["gone"], state["delay"] = leak, gone, delay + loss
    return state


def _flow(
    family: Family,
    system: System,
    users: Floats,
    faults: tuple[Floats, ...],
    rng: np.random.Generator,
) -> dict[str, Floats]:
    hog, delay, loss, errors, leak, gone, between = faults
    count, steps = hog.shape
    own_error = np.clip(errors + 0.3 * loss + 0.9 * gone, 0, 0.95)
    own_error = np.clip(own_error + 0.002 * np.exp(rng.standard_normal((count, steps))), 0, 0.97)
    load = np.zeros((count, steps))
    load[0] = users
    for k in range(count):  # callers first
        sent = load[k] * (1 - 0.7 * own_error[k]) * (1 - 0.5 * gone[k])
        load += system.calls[k][:, None] * sent * np.exp(0.05 * rng.standard_normal((count, steps)))
    usual = np.median(load, axis=1, keepdims=True) + 1e-9
    use = np.clip(
        system.busy[:, None] * load / usual * np.exp(0.05 * smooth(rng, (count, steps))), 0, 1
    )
    busy = np.clip(use + hog * (1 - use), 0, 0.98)
    own = system.own_s[:, None] * (1 + 0.6 * busy / (1 - busy)) * (1 + 0.5 * leak) + delay
    own *= np.exp(family.noise * smooth(rng, (count, steps), 0.4))
    if family.burst:  # lone slow readings
        own *= np.where(rng.random(own.shape) < family.burst, rng.uniform(2, 20, own.shape), 1.0)
    latency, error = own + between, own_error.copy()
    for k in range(count - 1, -1, -1):  # callees first
        asked = np.minimum(system.calls[k], 3.0)
        latency[k] += (asked[:, None] * latency).sum(axis=0)
        passed = 1 - 0.8 * np.minimum(asked, 1.0)[:, None] * error
        error[k] = 1 - (1 - error[k]) * passed.prod(axis=0)
        latency[k] *= 1 - 0.3 * error[k]  # a failed request is short
    return {"load": load, "busy": busy, "latency": latency - between, "error": error}


def queue_flow(
    family: Family,
    system: System,
    users: Floats,
    faults: tuple[Floats, ...],
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Let messages flow through stages with queues: a slow stage fills its own and starves others.

    The first component is the last stage; ``system.calls`` says which stage is fed by which.
    """
    hog, delay, _, errors, leak, gone, between = faults
    count, steps = hog.shape
    load, queue, age = (np.zeros((count, steps)) for _ in range(3))
    spare = rng.uniform(1.3, 3.0, (count,))
    own = system.own_s[:, None] * np.exp(family.noise * smooth(rng, (count, steps), 0.4))
    slow = 1 + 3 * hog + 0.5 * leak + (delay + between) / system.own_s[:, None]
    sent = np.zeros((count, steps))
    for k in range(count - 1, -1, -1):  # feeders first
        feeders = np.flatnonzero(system.calls[k])
        load[k] = sent[feeders].sum(axis=0) if feeders.size else users
        load[k] *= np.exp(0.05 * rng.standard_normal(steps))
        able = spare[k] * np.median(load[k]) / slow[k] * (1 - gone[k])
        waiting = 0.0
        for t in range(steps):
            done = min(able[t], waiting + load[k, t])
            waiting += load[k, t] - done
            queue[k, t], sent[k, t] = waiting, done * (1 - errors[k, t])
        wait = family.step_s * queue[k] / np.maximum(able, 0.05 * np.median(load[k]))
        age[k] = age[feeders].max(axis=0, initial=0.0) + own[k] * slow[k] + wait
    use = system.busy[:, None] * load / np.median(load, axis=1, keepdims=True)
    busy = np.clip(use * np.exp(0.05 * smooth(rng, (count, steps))) + hog, 0, 0.98)
    queue += rng.poisson(2.0, queue.shape)
    return {"load": load, "busy": busy, "latency": age, "error": errors, "queue": queue}
