"""Hard faults: a burst is one fault, a repeat is worse, a program's error is not the hardware's."""

import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.target import Target
from core.topology import Topology
from core.types import Event, Severity, Window
from detectors.detector import Learning
from detectors.faults.catalogue import STEPS, sxid, xid, xids
from detectors.faults.hard_faults import HardFaults
from detectors.faults.memory import MOST_ROWS, FaultMemory
from detectors.faults.xids import sxid_event, xid_event
from tests.fleet import NOW_S, STEP_S, event, gpus, nodes, topology, window

GPU = gpus(4)
CLUSTER = topology(4, jobs={"88": [0, 1], "99": [2]})
OTHERS = topology(4, jobs={"77": [0], "99": [2]})
PORT = Target(node="node-1", port="mlx5_0:1")
HOUR_S = 3600.0


def heard(
    faults: HardFaults, *events: Event, on: Topology | None = CLUSTER, after_s: float = 0.0
) -> list[tuple[str, str, str]]:
    now_s = max((each.time_s for each in events), default=NOW_S) + after_s
    return [
        (str(each.target), each.kind, each.code)
        for each in faults.hear(events, topology=on, now_s=now_s)
    ]


def codes(*found: tuple[Target, int, float]) -> list[Event]:
    return [xid_event(target, NOW_S + after_s, code) for target, code, after_s in found]


def test_the_catalogue_has_every_code_and_a_step_for_each() -> None:
    assert sorted(xids()) == list(range(1, 174))
    assert {known.next for known in xids().values()} <= STEPS.keys()
    assert (xid(79).severity, xid(79).step.action) == (Severity.CRITICAL, "reboot_node")
    assert (xid(94).severity, xid(95).severity) == (Severity.WARNING, Severity.CRITICAL)
    assert {xid(code).severity for code in (43, 45, 63, 92)} == {Severity.INFO}
    assert xid(999).severity is Severity.WARNING


@pytest.mark.parametrize(
    ("code", "severity"),
    [
        (12028, Severity.CRITICAL),
        (19084, Severity.WARNING),
        (20009, Severity.INFO),
        (10004, Severity.WARNING),
        (11001, Severity.CRITICAL),
    ],
)
def test_a_switchs_code_is_rated_by_its_range(code: int, severity: Severity) -> None:
    assert sxid(code).severity is severity
    assert sxid_event(nodes(1)[0], NOW_S, code).severity is severity


@pytest.mark.parametrize(
    ("burst", "said"),
    [
        # A GPU that falls off the bus takes its program and its neighbours' links with it.
        (codes((GPU[0], 79, 0), (GPU[0], 43, 1), (GPU[1], 45, 1), (GPU[2], 74, 2)), ["79"]),
        (codes((GPU[0], 74, 0), (GPU[0], 79, 4)), ["79"]),
        # A double-bit error retires a row and its program is cleaned up.
        (codes((GPU[0], 48, 0), (GPU[0], 63, 1), (GPU[0], 45, 1)), ["48"]),
        (codes((GPU[0], 94, 0), (GPU[0], 95, 1)), ["95"]),
        # A page fault on a broken GPU is no program's error.
        (codes((GPU[0], 31, 0), (GPU[0], 119, 5)), ["119"]),
        # Neighbours with trouble of their own keep it.
        (codes((GPU[0], 79, 0), (GPU[1], 48, 1)), ["79", "48"]),
        # Far apart in time they are two.
        (codes((GPU[0], 48, -300), (GPU[0], 63, 0)), ["48", "63"]),
        # On another node nothing is explained.
        (codes((GPU[0], 79, 0), (GPU[4], 74, 1)), ["79", "74"]),
        (codes((GPU[0], 45, 0)), ["45"]),
        # What the vendor ignores explains nothing that is worse.
        (codes((GPU[0], 92, 0), (GPU[0], 13, 1)), ["92", "13"]),
    ],
)
def test_a_burst_is_said_by_its_cause(burst: list[Event], said: list[str]) -> None:
    for order in itertools.permutations(burst):
        assert sorted(code for *_, code in heard(HardFaults(), *order)) == sorted(said)


def test_what_comes_a_look_later_is_still_part_of_the_burst() -> None:
    faults = HardFaults()

    assert heard(faults, *codes((GPU[0], 79, 0))) == [(str(GPU[0]), "xid", "79")]
    assert heard(faults, *codes((GPU[0], 45, 15), (GPU[1], 45, 15))) == []


@pytest.mark.parametrize(
    ("after", "step"),
    [(63, "drain and reset"), (64, "replace the GPU"), (None, "field diagnostics")],
)
def test_what_follows_a_double_bit_error_says_what_to_do(after: int | None, step: str) -> None:
    burst = codes((GPU[0], 48, 0), *([(GPU[0], after, 2)] if after else []))

    (said,) = HardFaults().hear(burst, topology=CLUSTER, now_s=NOW_S + 5)

    assert step in said.text


def test_an_error_on_all_ranks_is_the_programs() -> None:
    burst = codes(*((gpu, 31, n) for n, gpu in enumerate(GPU[:8])))

    assert heard(HardFaults(), *burst) == [("job 88", "xid", "31")]
    assert len(heard(HardFaults(), *burst, on=None)) == 8
    assert heard(HardFaults(), *burst[:1]) == [(str(GPU[0]), "xid", "31")]


def test_hardware_errors_on_all_ranks_are_no_programs() -> None:
    burst = codes(*((gpu, 48, n) for n, gpu in enumerate(GPU[:8])))

    assert {target for target, *_ in heard(HardFaults(), *burst)} == {str(g) for g in GPU[:8]}


def test_the_same_error_in_two_jobs_is_the_gpus() -> None:
    faults = HardFaults()
    assert len(heard(faults, *codes((GPU[0], 31, 0)))) == 1

    second = heard(faults, *codes((GPU[0], 31, 4 * HOUR_S)), on=OTHERS)

    assert second == [(str(GPU[0]), "xid", "31"), (str(GPU[0]), "gpu_suspect", "31")]


def test_a_programs_error_on_all_ranks_twice_blames_no_gpu() -> None:
    faults = HardFaults()
    for n in range(4):
        burst = codes(*((gpu, 13, n * HOUR_S) for gpu in GPU[:8]))
        assert heard(faults, *burst) == [("job 88", "xid", "13")]


def test_a_storm_is_said_once_a_hold_time() -> None:
    faults = HardFaults(hold_s=120.0)
    said = [bool(heard(faults, *codes((GPU[0], 94, after_s)))) for after_s in range(0, 240, 10)]

    assert [n * 10 for n, each in enumerate(said) if each] == [0, 120]


@pytest.mark.parametrize(
    ("told", "apart_s", "worse"),
    [
        (event(GPU[0], code="94"), 4 * HOUR_S, ("94", Severity.CRITICAL)),
        (event(GPU[0], code="92"), 4 * HOUR_S, ("92", Severity.WARNING)),
        (event(PORT, "link_down", ""), HOUR_S, ("flapping", Severity.CRITICAL)),
        (event(PORT, "link_down", ""), 45.0, ("flapping", Severity.CRITICAL)),
        (event(nodes(1)[0], "oom_kill", ""), 600.0, ("", Severity.CRITICAL)),
    ],
)
def test_what_comes_a_third_time_is_worse(
    told: Event, apart_s: float, worse: tuple[str, Severity]
) -> None:
    faults, said = HardFaults(hold_s=30.0), []
    for n in range(3):
        again = replace(told, time_s=NOW_S + n * apart_s, severity=Severity.INFO)
        (one,) = faults.hear([again], topology=None, now_s=again.time_s)
        said.append((one.code, one.severity))

    assert said[-1] == worse
    assert all(each[1].rank < worse[1].rank for each in said[:-1])
    assert "3 times" in one.text


@pytest.mark.parametrize(("kind", "code"), [("xid", "94"), ("link_down", "")])
def test_what_happens_once_a_day_is_not_worse(kind: str, code: str) -> None:
    faults = HardFaults()
    for n in range(5):
        at_s = NOW_S + n * 25 * HOUR_S
        told = event(GPU[0], kind, code, at_s=at_s, severity=Severity.WARNING)
        (one,) = faults.hear([told], topology=None, now_s=at_s)
        assert (one.code, one.severity) == (code, Severity.WARNING)


def test_a_log_and_a_gauge_tell_of_one_occurrence() -> None:
    faults = HardFaults()
    for n in range(2):
        at_s = NOW_S + n * HOUR_S
        for delay_s in (-3.0, 0.0):
            told = event(GPU[0], "xid", "94", at_s=at_s + delay_s, severity=Severity.WARNING)
            said = faults.hear([told], topology=None, now_s=at_s)

    assert all(one.severity is Severity.WARNING for one in said)


def test_a_line_of_the_log_is_said_with_place_and_step() -> None:
    line = event(GPU[0], "xid", "79", severity=Severity.WARNING)

    (said,) = HardFaults().hear([line], topology=None, now_s=NOW_S)

    assert said == xid_event(GPU[0], NOW_S, 79)


def test_a_line_that_names_the_job_hit_is_said_with_it() -> None:
    hits = "; it hits Slurm job 88 of ann"
    line = event(GPU[0], "xid", "48", severity=Severity.WARNING)
    beside = event(GPU[0], "xid", "64", severity=Severity.WARNING)
    lines = [replace(each, text=f"a line{hits}") for each in (line, beside)]

    (said,) = HardFaults().hear(lines, topology=None, now_s=NOW_S)
    (plain,) = HardFaults().hear([line, beside], topology=None, now_s=NOW_S)

    assert said == replace(plain, text=f"{plain.text}{hits}")


def test_other_events_pass_as_they_came() -> None:
    told = (event(nodes(1)[0], "job_failed", "oom"), event(nodes(1)[0], "link_up", ""))

    assert HardFaults().hear(told, topology=CLUSTER, now_s=NOW_S) == told


def looked(faults: HardFaults, value: float, before: float, *, now_s: float = NOW_S) -> int:
    readings = np.full((1, 41), before)
    readings[0, -4:] = value
    at = window("volume_readonly", [Target(node="node-1", volume="/data")], readings)
    moved = Window(at.metric, at.targets, at.time_s + now_s - NOW_S, at.value)
    return len(faults.look({at.metric: moved}, topology=None, now_s=now_s).anomalies)


def test_a_volume_that_turned_read_only_is_said_until_it_is_writable() -> None:
    faults = HardFaults()

    assert looked(faults, 1.0, 0.0) == 1
    assert looked(faults, 1.0, 1.0, now_s=NOW_S + HOUR_S) == 1
    assert looked(faults, 0.0, 0.0, now_s=NOW_S + 2 * HOUR_S) == 0


def test_a_volume_that_never_was_writable_is_so_by_intent() -> None:
    assert looked(HardFaults(), 1.0, 1.0) == 0


def test_the_same_windows_twice_say_the_same_and_count_once() -> None:
    faults = HardFaults()
    value = np.zeros((8, 41))
    value[1, -2:] = 94
    at = {"gpu_xid_code": window("gpu_xid_code", GPU[:8], value)}

    looks = [faults.look(at, topology=CLUSTER, now_s=NOW_S + STEP_S * n) for n in range(4)]

    assert looks[0].events
    assert all(look == looks[0] for look in looks)


CODES = st.sampled_from([13, 31, 43, 45, 48, 63, 74, 79, 92, 94, 95, 119])
BURSTS = st.lists(
    st.lists(st.tuples(st.sampled_from(GPU[:8]), CODES, st.floats(0, 50)), max_size=6),
    max_size=5,
)


@given(BURSTS)
def test_what_was_learned_outlives_the_process(
    bursts: list[list[tuple[Target, int, float]]],
) -> None:
    whole, first = HardFaults(), HardFaults()
    for n, burst in enumerate(bursts):
        told = codes(*((gpu, code, 900.0 * n + after_s) for gpu, code, after_s in burst))
        second = HardFaults()
        second.restore(_stored(first.state()))
        now_s = NOW_S + 900.0 * n + 60
        assert whole.hear(told, topology=CLUSTER, now_s=now_s) == second.hear(
            told, topology=CLUSTER, now_s=now_s
        )
        first = second


@given(BURSTS)
def test_of_every_burst_something_is_said(bursts: list[list[tuple[Target, int, float]]]) -> None:
    for burst in bursts:
        told = codes(*burst)
        said = HardFaults().hear(told, topology=CLUSTER, now_s=NOW_S + 60)
        assert bool(said) is bool(told)
        assert max((e.severity.rank for e in said), default=0) >= max(
            (e.severity.rank for e in told), default=0
        )


def _stored(state: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """As a file without pickle has it."""
    assert all(not column.dtype.hasobject for column in state.values())
    return {
        name: np.frombuffer(column.tobytes(), column.dtype).reshape(column.shape)
        if column.size
        else column
        for name, column in state.items()
    }


def test_a_detector_that_learns_has_no_more_than_a_bounded_memory() -> None:
    memory = FaultMemory()
    for n in range(MOST_ROWS + 100):
        memory.count(event(Target(node=f"node-{n}"), at_s=NOW_S + n / 10), "")
    memory.forget(NOW_S + MOST_ROWS)

    assert len(memory.rows) == MOST_ROWS
    memory.forget(NOW_S + 3 * 86_400)
    assert not memory.rows
    assert isinstance(HardFaults(), Learning)


def test_a_clock_that_is_set_back_leaves_no_fault_in_the_future() -> None:
    faults = HardFaults()
    heard(faults, *codes((GPU[0], 79, 7200)))

    assert heard(faults, *codes((GPU[0], 79, 0))) == [(str(GPU[0]), "xid", "79")]


def test_a_state_that_does_not_fit_is_refused() -> None:
    faults = HardFaults()
    heard(faults, *codes((GPU[0], 79, 0)))
    state = dict(faults.state())

    with pytest.raises(ValueError, match="times_s"):
        faults.restore(state | {"times_s": state["times_s"][:, :3]})
    with pytest.raises(ValueError, match="kind has 0 rows"):
        faults.restore(state | {"kind": state["kind"][:0]})
