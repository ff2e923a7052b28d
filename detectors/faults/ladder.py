"""Which of several Xids is the cause of the others, by what the vendor says of each."""

from core.types import Severity
from detectors.faults.catalogue import xid

_LINKS = (74, 136, 144, 145, 146, 147, 148, 149, 150, 155)
# Nearest to the cause first; those of one step do not explain each other. The bus and the power
# come before all that a GPU can say about itself; an uncontained error before a contained one;
# what the driver cleans up comes last. Codes that are on no step are explained by none of these,
# unless the catalogue calls them the program's.
_STEPS: tuple[tuple[int, ...], ...] = (
    (79, 167),
    (54,),
    (95, 140),
    (48,),
    (64, 157, 161),
    (143,),
    (119, 120),
    (46, 62, 109, 110, 158, 169),
    _LINKS,
    (94,),
    (63, 156, 160, 171, 172),
    (92,),
)
_STEP = {code: step for step, codes in enumerate(_STEPS) for code in codes}
_PROGRAM_STEP = len(_STEPS)
_CONSEQUENCE_STEP = len(_STEPS) + 1
# What the driver does to a program whose GPU has failed, on all GPUs the program had.
_CLEANUP = frozenset({43, 45})
# A GPU that is off the bus or without power takes its neighbours' links with it.
_TAKES_LINKS = frozenset({79, 167, 54})
NOWHERE = -1


def step(code: int) -> int:
    """Return how far from the cause a code stands, 0 nearest; NOWHERE for one on no step."""
    if code in _CLEANUP or xid(code).origin == "consequence":
        return _CONSEQUENCE_STEP
    if code in _STEP:
        return _STEP[code]
    return _PROGRAM_STEP if of_program(code) else NOWHERE


def of_program(code: int) -> bool:
    """Say whether the vendor takes the code for the program's fault until shown otherwise."""
    return xid(code).origin == "application"


def explains(cause: int, effect: int) -> bool:
    """Say whether an Xid explains another one on the same GPU, a moment before or after."""
    above, below = step(cause), step(effect)
    is_as_bad = xid(cause).severity.rank >= xid(effect).severity.rank
    return NOWHERE not in {above, below} and above < below and is_as_bad


def explains_beside(cause: int, effect: int) -> bool:
    """Say whether an Xid explains another one on another GPU of its node."""
    if effect in _CLEANUP:
        return xid(cause).severity is Severity.CRITICAL
    return effect in _LINKS and cause in _TAKES_LINKS
