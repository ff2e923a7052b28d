"""A diagnosis reads as sentences a tired operator can act on, the same ones for the same values."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.faults import FaultClass
from core.target import Target
from core.types import Cause, Hop, Severity
from core.units import CATALOG
from rca.explain import explain, say_path, say_plain
from rca.verdict import Verdict, together, verdict_of
from rca.words import say_change, say_clock, say_kind, say_short
from tests.diagnoses import ANSWERS, GPU, NOW_S, cooling, named, no_fault, several, slow_job

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_reads_as_it_did(name: str) -> None:
    lines = explain(slow_job(), ANSWERS[name]()).lines()

    assert lines == tuple((GOLDEN / f"explain_{name}.txt").read_text().splitlines())


@pytest.mark.parametrize("name", ANSWERS)
def test_each_kind_of_answer_is_told_apart(name: str) -> None:
    assert verdict_of(ANSWERS[name]()) is Verdict(name)


def test_rivals_are_not_taken_for_two_causes_at_once() -> None:
    """A rival would explain what the first does; a cause beside it has a part of its own."""
    first, second = several().causes
    rivals = (first, replace(second, beside=False))
    elsewhere = (first, replace(second, impact=0.02))
    unmeasured = (replace(first, impact=None), second)

    assert together(several()) == (first, second)
    assert together(replace(several(), causes=rivals)) == rivals[:1]
    assert together(replace(several(), causes=elsewhere)) == (first,)
    assert together(replace(several(), causes=unmeasured)) == unmeasured
    said = explain(slow_job(), replace(several(), causes=unmeasured))
    assert "(p = 0.50); " in said.root_cause
    assert said.impact.endswith("together they account for 38 % of the symptom")


def test_a_rival_between_two_causes_at_once_is_told_as_another_cause() -> None:
    first, second = several().causes
    rival = Cause(GPU, "gpu_slow", 0.2, impact=0.5)

    said = explain(slow_job(), replace(several(), causes=(first, rival, second)))

    assert "gpu" not in said.root_cause.lower()
    assert len(said.other_causes) == 1


def test_what_came_of_acting_on_these_faults_is_told_once_each() -> None:
    known = {"cooling_degraded": "helped in 3 of 4 cases", "gpu_slow": "helped once"}

    one = explain(slow_job(), named(), experience=known)
    both = explain(slow_job(), several(), experience=known)
    calm = explain(slow_job(), no_fault(), experience=known)

    assert one.experience == ("helped in 3 of 4 cases",)
    assert both.experience == ("cooling degraded: helped in 3 of 4 cases",)
    assert (calm.experience, explain(slow_job(), named()).experience) == ((), ())


def test_where_nothing_is_broken_the_evidence_is_that_of_calm() -> None:
    said = explain(slow_job(), no_fault())

    assert said.path == ()
    assert said.speaks_for == ("+3.2  a checkpoint began with the slow steps and ends with them",)
    assert said.speaks_against == ("-0.3  2 symptoms came together",)
    assert said.other_causes == ("node-13: cooling is degraded (p = 0.04)",)
    open_reason = explain(slow_job(), replace(no_fault(), calm="")).root_cause
    assert open_reason.endswith("the load changed, the work was planned, or a reading was a fluke")


def test_a_cause_that_passes_by_itself_says_so() -> None:
    found = replace(named(), causes=(replace(cooling(), persistent=0.1),))

    assert explain(slow_job(), found).root_cause.endswith(
        "thermal, transient (p = 0.90): it passes by itself or with a restart"
    )


def test_a_reading_beyond_a_limit_names_the_limit_alone() -> None:
    slow = slow_job()
    hot = replace(
        slow.anomalies[0],
        target=GPU,
        metric="gpu_temperature_celsius",
        value=91.2,
        lower=-20.0,
        upper=87.0,
        severity=Severity.CRITICAL,
    )

    said = explain(replace(slow, anomalies=(hot, *slow.anomalies)), named()).critical_failure

    assert said.endswith("GPU core temperature is 91.2 °C, should be at most 87 °C")


def test_a_hop_that_nobody_measures_is_on_the_path_all_the_same() -> None:
    hops = (
        Hop(Target(rack="r2"), "node_inlet_temperature_celsius", None, None),
        Hop(GPU, "gpu_temperature_celsius", 12.44, None, learned=True),
    )

    guess = "(only readings suggest this link)"
    assert say_path(hops) == (
        "rack r2: air at the inlet, which nobody measures",
        f"-> node-13/GPU-3b346151: GPU core temperature +12.4 sigma {guess}",
    )


@pytest.mark.parametrize(
    ("metric", "usual", "level", "text"),
    [
        ("gpu_temperature_celsius", 31.0, 44.2, "31 to 44.2 °C"),
        ("job_step_time_s", 2.1, 2.898, "2.1 to 2.9 s (+38 %)"),
        ("gpu_sm_clock_hz", 1.98e9, 1.32e9, "1980 to 1320 MHz (-33 %)"),
        ("gpu_memory_used_bytes", 2.0**29, 2.0**31, "512 MiB to 2 GiB (+300 %)"),
        ("port_errors_total", 0.0, 0.5, "0 to 30 a minute"),
        ("volume_read_latency_s", 0.004, 2.0, "0.004 to 2 s"),
        ("node_pressure_cpu_ratio", 0.02, 0.81, "2 to 81 %"),
        ("gpu_temperature_celsius", None, 44.0, "now 44 °C"),
        ("gpu_temperature_celsius", 44.0, float("nan"), ""),
    ],
)
def test_a_change_says_from_what_to_what(
    metric: str, usual: float | None, level: float | None, text: str
) -> None:
    assert say_change(metric, usual, level) == text


@given(
    metric=st.sampled_from(sorted(CATALOG)),
    usual=st.none() | st.floats(),
    level=st.none() | st.floats(),
    began_s=st.none() | st.floats(),
)
def test_any_hop_can_be_said(
    metric: str, usual: float | None, level: float | None, began_s: float | None
) -> None:
    (said,) = say_path((Hop(GPU, metric, 1.0, began_s, usual, level),))

    assert said.startswith("node-13/GPU-3b346151: ")
    assert "nan" not in said


def test_a_gpu_is_named_by_the_first_group_of_its_uuid() -> None:
    assert say_short(f"{GPU} and GPU-8") == "node-13/GPU-3b346151 and GPU-8"


def test_names_in_evidence_read_as_words() -> None:
    text = f"gpu_sm_clock_hz 1.3 GHz on {GPU}: would follow from gpu_heat_contact, not Xid 79"

    assert say_plain(text) == (
        "GPU SM clock 1.3 GHz on node-13/GPU-3b346151: would follow from GPU heat contact, "
        "not Xid 79"
    )
    assert say_plain("mlx5_6:1 of job train_v2") == "mlx5_6:1 of job train_v2"


def test_every_class_has_words() -> None:
    assert [kind for kind in FaultClass if "_" in say_kind(kind)] == []
    assert say_clock(NOW_S) == "14:02:11"
