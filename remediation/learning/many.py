"""Many lives a step at once: one call of compiled code for all lanes."""

from typing import Any

import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

from core.choice import Choice
from remediation.policies.compiled import fill_features
from remediation.twin.rolling import priced
from sim.engine import decisions
from sim.engine.handle import TABLES
from sim.engine.jit import compiled, compiled_with_arrays
from sim.engine.tables import Array, Tables

# What a step of a lane came to.
CAME = np.dtype([("status", "i8"), ("priced_gpu_s", "f8"), ("now_s", "f8")])
# Of a lane: where its tables are, when its life ends, and what a late request is priced at.
LIFE = np.dtype([("address", "i8"), ("end_s", "f8"), ("late_gpu_s", "f8")])
Ways = tuple[Array, Array, Array, Array]


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def _at(context: Any, address: Any) -> Any:
    """Return the tables at ``Tables.address``; whoever has it keeps them alive."""

    def made(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.inttoptr(given[0], cgutils.voidptr_t)

    return TABLES(types.int64), made


@compiled
def _tables(address: int) -> Tables:
    return _at(address)  # type: ignore[call-arg]


@compiled_with_arrays
def step_all(lives: Array, chosen: Array, ways: Ways, came: Array) -> None:
    """Carry out the choice of each lane and let its time pass to the next decision.

    lives: (n,) of LIFE; chosen: (n,) i8, one that is not open counts as waiting; ways: (n, ...) of
    each lane what ``decisions.step`` has: causes, terms, and facts and open, which are overwritten;
    came: (n,) of CAME, is filled
    """
    causes, terms, facts, opened = ways
    for lane in range(len(lives)):
        w, choice = _tables(lives[lane]["address"]), chosen[lane]
        if not opened[lane, choice]:
            choice = Choice.WAIT.value
            chosen[lane] = choice
        own = (causes[lane], terms[lane], facts[lane], opened[lane])
        came[lane]["status"] = decisions.step(w, choice, lives[lane]["end_s"], *own)
        came[lane]["priced_gpu_s"] = priced(w, terms[lane], lives[lane]["late_gpu_s"])
        came[lane]["now_s"] = w.core[0]["now_s"]


@compiled_with_arrays
def see_all(facts: Array, opened: Array, seen: Array) -> None:
    """Write what is seen of each lane's decision to ``seen`` (n, SIZE)."""
    for lane in range(len(seen)):
        fill_features(facts[lane], opened[lane], seen[lane])
