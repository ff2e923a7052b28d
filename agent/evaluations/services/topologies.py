"""Random service topologies with a fault in one component.

A call graph is drawn, load flows from callers to callees, latency and errors flow back, and every
component's processor, memory, disk and network react to its load and to the fault. A family says
what kind of system it is, what of it is measured, how often, and how well.
"""

import numpy as np

from agent.evaluations.services.cases import Case
from agent.evaluations.services.families import Family
from agent.evaluations.services.living import run
from agent.evaluations.services.metering import measure, watched
from agent.evaluations.services.wiring import links_of, place, system_of

# Systems in which the watched metric does not move are drawn again, save for this share of the
# tries: fault injectors keep such cases too.
UNNOTICED = 0.125
TRIES = 20


def case(family: Family, rng: np.random.Generator, *, fault: bool = True) -> Case:
    """Draw one system, let it run, and return what was measured before and during a fault."""
    for _ in range(TRIES):
        found, moved = _drawn(family, rng, fault=fault)
        if not fault or moved or rng.random() < UNNOTICED:
            break
    return found


def _drawn(family: Family, rng: np.random.Generator, *, fault: bool) -> tuple[Case, bool]:
    system = system_of(family, rng)
    normal, abnormal = (int(rng.integers(a, b + 1)) for a, b in (family.normal, family.abnormal))
    name = str(rng.choice(family.faults)) if fault else "none"
    on = np.zeros(normal + abnormal)
    late = int(family.late * rng.random() * abnormal)
    on[normal + late :] = 1.0
    hit = place(system, name, rng)
    truth = (system.names[hit],) if fault else ()
    strength = float(np.exp(rng.uniform(*np.log(family.strength)))) if fault else 0.0
    state = run(family, system, (name, hit, strength, on), rng)
    columns, value = measure(family, system, state, normal, rng)
    time_s = 1.7e9 + family.step_s * np.arange(normal + abnormal, dtype=np.float64)
    links = links_of(family, system, rng) if rng.random() < family.graph else None
    target, moved = watched(columns, value, normal, f"{system.names[0]}|{family.target}")
    found = Case(
        columns, value[:normal], value[normal:], time_s[:normal], time_s[normal:], links, target,
        truth, name,
    )  # fmt: skip
    return found, moved
