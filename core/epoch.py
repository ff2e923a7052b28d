"""Epoch times of whatever unit, told by their size."""

import numpy as np

from core.types import Floats

# 1e11 seconds is the year 5138, 1e11 milliseconds is 1973.
UNITS = ((1e17, 1e-9, "nanoseconds"), (1e14, 1e-6, "microseconds"), (1e11, 1e-3, "milliseconds"))


def in_seconds(epoch: Floats) -> tuple[Floats, tuple[str, ...]]:
    """Return epoch times as seconds, and what they were taken for where that is something else."""
    for above, factor, unit in UNITS:
        if epoch.size and np.nanmedian(np.abs(epoch)) > above:
            return epoch * factor, (f"times were taken as {unit} since the epoch",)
    return epoch, ()
