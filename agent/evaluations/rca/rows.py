"""How often the cause named is the right one, on simulated faults and beside other methods.

Cases are made as ``cases`` says; the suite "held-out" has clusters, seeds and severities that
nothing was tuned on. An answer is right where both its class and its place are, as ``score`` says.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from agent.evaluations.rca import reference, table
from agent.evaluations.rca.cases import Unnoticed, blocks
from agent.evaluations.rca.judging import Judged, judged
from core.figures import Row

# Not 0 and 1: their answers were looked at while the posterior was built.
SEEDS, QUICK_SEEDS = range(2, 6), range(2, 3)
# One attribution takes seconds.
REFERENCES, QUICK_REFERENCES = 60, 3
PROCESSES = 2


def rows(suite: str, *, quick: bool, progress: Callable[[str, int, int], None]) -> Sequence[Row]:
    """Return top-1, top-3, quietness and calibration with what other methods reach.

    The short form makes every fault once in every kind of cluster, the full one four times and
    adds the table for each class.
    """
    todo = blocks(suite, QUICK_SEEDS if quick else SEEDS)
    found: list[Judged | Unnoticed] = []
    for number, part in enumerate(judged(todo, processes=PROCESSES)):
        found += part
        progress("faults", number + 1, len(todo))
    cases = [each for each in found if isinstance(each, Judged)]
    cases.sort(key=lambda case: (case.family, case.seed, case.about))
    cases = _with_reference(cases, QUICK_REFERENCES if quick else REFERENCES, progress)
    gone = Counter(each.about for each in found if isinstance(each, Unnoticed))
    shown = [*table.headline(cases, gone.total()), _not_noticed(cases, gone)]
    shown += table.further(cases)
    return shown if quick else [*shown, *table.by_class(cases, gone)]


def _with_reference(
    cases: Sequence[Judged], most: int, progress: Callable[[str, int, int], None]
) -> list[Judged]:
    """Ask dowhy.gcm of as many cases as there is time for, spread evenly over all."""
    asked = [number for number, case in enumerate(cases) if case.question]
    places = np.linspace(0, len(asked) - 1, min(most, len(asked)), dtype=int)
    chosen = [asked[place] for place in places.tolist()]
    questions = [case.question for case in (cases[number] for number in chosen) if case.question]
    marks = reference.answered(questions, lambda done: progress("dowhy.gcm", done, len(questions)))
    answers = {number: mark for number, mark in zip(chosen, marks, strict=True) if mark}
    return [
        replace(case, marks={**case.marks, reference.NAME: answers[number]})
        if number in answers
        else case
        for number, case in enumerate(cases)
    ]


def _not_noticed(cases: Sequence[Judged], gone: Counter[str]) -> Row:
    """Return the share of faults that opened no incident in time, with the classes that did."""
    broken = sum(not case.quiet for case in cases)
    most = ", ".join(f"{about} {count}" for about, count in gone.most_common(6))
    return Row(
        "not_noticed",
        gone.total() / max(broken + gone.total(), 1),
        "ratio",
        n=broken + gone.total(),
        note=f"faults without an incident within half an hour, slow ones two hours: {most}",
    )
