"""Whether anything is wrong at all: how far the whole window is from a normal one."""

import numpy as np

from core.types import Floats
from rca.frames.evidence import Evidence
from rca.frames.inputs import Tables
from rca.frames.oddness import MOST_ODD, Oddness

NAMES = (
    "watched",  # oddness of the watched column, logarithm of scales
    "trouble",  # worst component by what is passed on, logarithm
    "change",  # largest clear change of a resource or of what is passed on, logarithm of times
    "windows",  # normal windows there are to compare with, logarithm
    "columns",  # how many there are, logarithm: the oddest of many is odder
    "suspect",  # score of the most suspect component: all that speaks for one and the same
)
MOST_COMPARED = 60  # windows; beyond it the tails are no better known


def signs(tables: Tables, odd: Oddness, found: Evidence, score: Floats) -> Floats:
    """Return (len(NAMES),) what tells a window with a fault from one without.

    score: (C,) of the components, by rca.frames.weights.SUSPECT
    """
    windows = tables.normal.shape[1] / tables.abnormal.shape[1]
    return np.array(
        [
            np.log1p(min(abs(odd.z[tables.target]), MOST_ODD)),
            np.log1p(found.trouble.max()),
            found.change.max(),
            np.log(np.clip(windows, 1.0, MOST_COMPARED)),
            np.log(odd.z.size),
            score.max(),
        ]
    )
