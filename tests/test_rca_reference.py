"""The DoWhy reference and our fast path agree on who is the root, and it refuses what it cannot."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest

from core.errors import InputError
from rca.diagnose import DiagnoseSettings, diagnose
from rca.posterior.case import open_case
from rca.posterior.standing import Spans
from rca.reference.gcm import MAX_VARIABLES, AttributionTask, attribute, task_of
from tests.rca_scenes import NOW_S, ONSET, READINGS, STEP_S, node_inlet, scene

BROKEN = 1


def chain(broken: int = BROKEN) -> AttributionTask:
    """inlet -> temperature -> throttle -> clock -> step, one mechanism shifted by 8 sigma."""
    rng = np.random.default_rng(7)
    gain, noise, rows = (1.0, 0.9, 0.05, -2.0, -1.5), (0.5, 0.5, 0.02, 0.02, 0.02), 300
    normal, abnormal = np.zeros((5, rows)), np.zeros(5)
    for v in range(5):
        parent = normal[v - 1] if v else 0.0
        normal[v] = gain[v] * parent + rng.normal(0, noise[v], rows)
        abnormal[v] = gain[v] * (abnormal[v - 1] if v else 0.0) + 8 * noise[v] * (v == broken)
    names = ("inlet", "temperature", "throttle", "clock", "step")
    return AttributionTask(names, ((0, 1), (1, 2), (2, 3), (3, 4)), normal, abnormal, 4)


def test_the_reference_runs_in_a_worker_and_finds_the_root() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(attribute, chain()).result(timeout=120)

    name, nats = found.ranked()[0]
    assert name == "temperature"
    assert nats > 3 * found.ranked()[1][1]


def test_its_task_holds_what_the_fast_path_blames() -> None:
    case = scene(node_inlet, 11, nodes=3)
    onset_s = NOW_S - (READINGS - 1 - ONSET) * STEP_S
    spans = Spans(NOW_S - 5000, onset_s, NOW_S)
    fast = diagnose(
        case.incident, case.windows, case.state, now_s=NOW_S, settings=DiagnoseSettings()
    )

    opened = open_case(case.incident, case.windows, case.state, spans=spans)
    task = task_of(opened, fast)
    assert len(task.names) <= MAX_VARIABLES
    assert task.names[task.target].startswith("job_step_time_s")
    assert any(case.truth.node in name and "inlet" in name for name in task.names)
    assert fast.causes[0].target == case.truth


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"normal": np.full((5, 300), np.nan)}, "0 complete normal readings"),
        ({"abnormal": np.array([0, np.nan, 0, 0, 0])}, "no reading of temperature"),
        ({"names": tuple("abcdefghijklm")}, "13 variables"),
    ],
)
def test_it_says_what_it_would_need(change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        attribute(replace(chain(), **change))  # type: ignore[arg-type]
