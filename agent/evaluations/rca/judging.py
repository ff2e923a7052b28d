"""Every case of a block diagnosed, by us and by the published methods, and marked."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context

from agent.evaluations.rca.baselines import BASELINES
from agent.evaluations.rca.cases import Block, Case, Unnoticed, made
from agent.evaluations.rca.reference import Question, question_of
from agent.evaluations.rca.score import Mark, mark
from agent.evaluations.rca.variables import arrays_of, named
from core.types import Diagnosis
from rca.diagnose import DiagnoseSettings, diagnose
from sim.warm import warm

OURS = "gpumedic"


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What came of one case.

    kinds: classes of what broke, what the case is about first; none where nothing did
    marks: by method; a method that has nothing to go by has a mark for an empty answer
    run_s: processor time of our diagnosis; series: how many readings it had
    question: what the reference is asked of the same case; None where there is nothing to ask
    """

    about: str
    family: str
    seed: int
    kinds: tuple[str, ...]
    marks: Mapping[str, Mark]
    run_s: float
    series: int
    question: Question | None = None

    @property
    def quiet(self) -> bool:
        """Say whether nothing broke."""
        return not self.kinds


def judged(blocks: Sequence[Block], *, processes: int) -> Iterator[list[Judged | Unnoticed]]:
    """Yield what came of each block, in the order in which they are done."""
    if processes == 1:
        for block in blocks:
            yield judge(block)
        return
    warm()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(judge, block) for block in blocks]):
            yield done.result()


def judge(block: Block) -> list[Judged | Unnoticed]:
    """Diagnose and mark the cases of one block."""
    return [case if isinstance(case, Unnoticed) else _judged(case) for case in made(block)]


def _judged(case: Case) -> Judged:
    topology = case.state.topology
    settings = DiagnoseSettings()
    begun = time.process_time()
    ours = diagnose(
        case.incident,
        case.windows,
        case.state,
        now_s=case.now_s,
        settings=settings,
        told=case.told,
    )
    run_s = time.process_time() - begun
    arrays = arrays_of(case)
    answers = {OURS: ours}
    for name, baseline in BASELINES.items():
        answers[name] = _nothing(case)
        if arrays is not None:
            score = baseline(arrays.normal, arrays.abnormal, arrays.links, arrays.target)
            answers[name] = Diagnosis(case.incident.id, case.now_s, named(arrays, score), 0.0, name)
    own_first = sorted(case.truths, key=lambda truth: truth.sim != case.about)
    return Judged(
        about=case.about,
        family=case.family,
        seed=case.seed,
        kinds=tuple(truth.kind.value for truth in own_first),
        marks={name: mark(answer, case.truths, topology) for name, answer in answers.items()},
        run_s=run_s,
        series=sum(len(window.targets) for window in case.windows.values()),
        question=question_of(arrays, case.truths, topology) if arrays and case.truths else None,
    )


def _nothing(case: Case) -> Diagnosis:
    return Diagnosis(case.incident.id, case.now_s, (), 1.0, "nothing to go by")
