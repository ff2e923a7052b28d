"""What DoWhy is asked about an incident: three questions on the same few variables, and answers."""

from dataclasses import dataclass

import numpy as np

from core.types import Diagnosis, Floats, Ints
from rca.posterior.case import Case
from rca.posterior.standing import readings
from rca.reference.change import MAX_VARIABLES, ChangeShares, ChangeTask
from rca.reference.gcm import Attribution, AttributionTask, task_of
from rca.reference.what_if import WhatIf, WhatIfTask


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """Who brought the symptom's oddness, what would return it, whose mechanism changed.

    Of the last two None where nothing measured could have caused the symptom.
    """

    attribution: AttributionTask
    what_if: WhatIfTask | None
    change: ChangeTask | None


@dataclass(frozen=True, slots=True)
class Answers:
    """What DoWhy says to the questions; None where it could not, and ``problems`` says why.

    own: what gpumedic's closed form says to the first of them
    """

    attribution: Attribution | None
    what_if: WhatIf | None
    change: ChangeShares | None
    problems: tuple[str, ...] = ()
    own: Attribution | None = None


def questions(case: Case, diagnosis: Diagnosis) -> Questions:
    """Return what to ask; InputError where the incident has no symptom among the readings."""
    whole = task_of(case, diagnosis)
    causes = _causes(whole)
    if not causes:
        return Questions(whole, None, None)
    what_if = WhatIfTask(
        names=whole.names,
        links=whole.links,
        normal=whole.normal,
        abnormal=whole.abnormal,
        candidates=causes,
        target=whole.target,
        seed=whole.seed,
    )
    return Questions(whole, what_if, _change(case, whole, causes))


def _causes(task: AttributionTask) -> tuple[int, ...]:
    """Return the variables from which links lead to the target."""
    found, waiting = set[int](), [task.target]
    while waiting:
        effect = waiting.pop()
        new = {cause for cause, end in task.links if end == effect} - found
        found |= new
        waiting += new
    return tuple(sorted(found - {task.target}))


def _change(case: Case, task: AttributionTask, causes: tuple[int, ...]) -> ChangeTask:
    """Compare the oddest causes and the target before and after the onset."""
    odd = np.abs(np.nan_to_num(case.standing.odd[list(task.variables)]))
    kept = sorted([task.target, *sorted(causes, key=lambda c: -odd[c])[: MAX_VARIABLES - 1]])
    where = {variable: number for number, variable in enumerate(kept)}
    return ChangeTask(
        names=tuple(task.names[index] for index in kept),
        links=tuple((where[c], where[e]) for c, e in task.links if c in where and e in where),
        before=task.normal[kept],
        after=_abnormal(case, np.array([task.variables[index] for index in kept])),
        target=where[task.target],
        seed=task.seed,
    )


def _abnormal(case: Case, variables: Ints) -> Floats:
    """(V, N) readings of the variables after the onset, cut to their common length."""
    rows = []
    for variable in variables.tolist():
        name = case.graph.metrics[int(case.graph.metric[variable])]
        window = case.windows[name]
        columns = case.spans.abnormal(window.time_s)
        rows.append(readings(window, columns)[variable - case.graph.span(name).start])
    length = min(len(row) for row in rows)
    return np.stack([row[len(row) - length :] for row in rows])
