"""Which machine is at fault, beside Minder: our own detectors, as docs/results has them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from agent.scoreboard.entries import Entry, Goal
from core.figures import Row

SOURCE = "Minder, NSDI'25 (reported by a survey): 150 faults in 9 months, 4 to 1,500 machines"


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure of ours: the rows of a file in docs/results that it comes from, and where they hold.

    also: the second row, of which the first's share is taken; "" for none
    """

    name: str
    published: float
    goal: float
    file: str
    row: str
    also: str
    value: float
    note: str


_RCA = (
    "simulated clusters held out from tuning, 849 incidents of 58 classes; root cause's first place"
)
MEASURED = (
    Measured(
        "minder_precision",
        0.904,
        0.95,
        "evaluate_rca.json",
        'place1{method="gpumedic"}',
        "",
        0.9493521790341578,
        _RCA,
    ),
    Measured(
        "minder_recall",
        0.883,
        0.93,
        "evaluate_rca.json",
        'place1{method="gpumedic"}',
        "not_noticed",
        0.9493521790341578 * (1 - 0.04391891891891892),
        f"{_RCA}, times the share of faults that open an incident",
    ),
    Measured(
        "minder_precision_slow_machines",
        0.904,
        0.95,
        "evaluate_progress.json",
        "straggler_precision",
        "",
        1.0,
        "slow ranks of 5 to 50 % among healthy jobs",
    ),
    Measured(
        "minder_recall_slow_machines",
        0.883,
        0.93,
        "evaluate_progress.json",
        "straggler_recall",
        "",
        1.0,
        "slow ranks of 10 % and more",
    ),
)
BY_NAME: Mapping[str, Measured] = {part.name: part for part in MEASURED}


def rows(name: str) -> Iterator[Row]:
    """Yield a measured figure beside Minder's."""
    found = BY_NAME[name]
    yield from Entry(
        name=name,
        unit="",
        published=found.published,
        source=SOURCE,
        tolerance=0.0,
        reproduced=None,
        why="Minder's networks and its machines' readings are not public",
        ours=np.array([found.value]),
        goal=Goal(True, found.goal),
        note=found.note,
        measured=f"measured, docs/results/{found.file}: {found.row}"
        + (f" x (1 - {found.also})" if found.also else ""),
    ).rows()
