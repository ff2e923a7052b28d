"""The hand-written policies at the engine's speed: the same functions, compiled.

In life they run interpreted, without the simulator; inside roll-outs and searches they are called
some hundred thousand times.
"""

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from remediation.policies import greedy, rulebook
from sim.engine.jit import compiled, compiled_with_arrays


def compiled_together(
    functions: Sequence[Callable[..., Any]], *, arrays: bool = False
) -> Callable[..., Any]:
    """Return the last of a module's functions compiled; each may call those before it.

    arrays: whether they make arrays
    """
    compile = compiled_with_arrays if arrays else compiled
    made: dict[str, Any] = {}
    for function in functions:
        code, names = function.__code__, {**function.__globals__, **made}
        bound = FunctionType(code, names, function.__name__)
        bound.__annotations__ = function.__annotations__
        made[function.__name__] = compile(bound)
    last: Callable[..., Any] = made[functions[-1].__name__]
    return last


recommend: Callable[..., int] = compiled_together(rulebook.PARTS)
choose_greedily: Callable[..., int] = compiled_together(greedy.PARTS, arrays=True)
