"""The hand-written policies at the engine's speed: the same functions, compiled.

In life they run interpreted, without the simulator; inside roll-outs and searches they are called
some hundred thousand times.
"""

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from remediation import rulebook
from sim.engine.jit import compiled


def compiled_together(functions: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    """Return the last of a module's functions compiled; each may call those before it."""
    made: dict[str, Any] = {}
    for function in functions:
        code, names = function.__code__, {**function.__globals__, **made}
        bound = FunctionType(code, names, function.__name__)
        bound.__annotations__ = function.__annotations__
        made[function.__name__] = compiled(bound)
    last: Callable[..., Any] = made[functions[-1].__name__]
    return last


recommend: Callable[..., int] = compiled_together(rulebook.PARTS)
