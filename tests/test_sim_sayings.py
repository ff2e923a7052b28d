"""What a world says reads as kernel logs and schedulers do, and is understood by the diagnosis."""

import numpy as np
import pytest

from core.target import Target
from core.types import Event, Severity
from rca.faults.catalogue import sign_of
from sim.engine.tables import SCHEMA
from sim.engine.words import NONE, Ending, Reason, Said
from sim.names import Names
from sim.sayings import REASONS, XIDS, sayings
from sim.scenario import JobSpec, Scenario

NAMES = Names(
    Scenario("small", nodes=2, racks=2, spares=0, jobs=(JobSpec("llm", nodes=2),)),
    7,
    (),
    np.repeat(np.arange(2), 8),
    np.tile(np.arange(8), 2),
    2,
    2,
)


def said(kind: Said, *, code: int = 0, node: int = NONE, gpu: int = NONE, job: int = NONE) -> Event:
    rows = np.zeros(1, dtype=SCHEMA["said"])
    rows[0] = (12.5, kind, code, node, gpu, job)
    (event,) = sayings(rows, NAMES)
    return event


def test_an_xid_is_the_drivers_line_with_the_bus_address() -> None:
    event = said(Said.XID, code=79, node=1, gpu=5)

    assert event == Event(
        Target(node="node-01", gpu=NAMES.gpus[13]),
        12.5,
        "xid",
        "79",
        "NVRM: Xid (PCI:0000:6a:00): 79, GPU has fallen off the bus.",
        Severity.CRITICAL,
    )


def test_a_failed_job_gives_its_reason_and_the_node() -> None:
    event = said(Said.JOB_FAILED, code=Reason.OUT_OF_MEMORY, node=0, job=0)

    assert (event.target, event.code) == (Target(job="llm"), "oom")
    assert event.text == "job llm failed: a rank on node-00 was killed, exit status 137"


def test_a_link_that_flaps_names_one_port_of_the_node_always() -> None:
    down, up = said(Said.LINK_DOWN, node=1), said(Said.LINK_UP, node=1)

    assert down.target == up.target
    assert down.target.node == "node-01"
    assert down.target.port.startswith("mlx5_")
    assert "Link down" in down.text
    assert "Link up" in up.text


def test_a_switch_is_named_by_its_number() -> None:
    assert said(Said.SWITCH_DOWN, code=1).target == Target(switch="leaf-1")


@pytest.mark.parametrize(
    ("kind", "code", "fault"),
    [
        (Said.XID, 79, "gpu_fallen_off_bus"),
        (Said.XID, 48, "gpu_ecc_uncorrectable"),
        (Said.XID, 74, "gpu_nvlink_errors"),
        (Said.XID, 119, "gpu_hang"),
        (Said.PCIE_ERROR, 0, "gpu_fallen_off_bus"),
        (Said.OOM_KILL, 0, "memory_leak"),
        (Said.VOLUME_FULL, 0, "volume_filling"),
        (Said.NODE_DOWN, 0, "node_silent"),
        (Said.LINK_DOWN, 0, "network_link_down"),
        (Said.ROW_REMAP, 0, "gpu_row_remap"),
    ],
)
def test_a_diagnosis_takes_it_for_what_it_is(kind: Said, code: int, fault: str) -> None:
    event = said(kind, code=code, node=0, gpu=3 if kind is Said.XID else NONE)
    sign = sign_of(event.kind, event.code, event.target.kind)

    assert sign is not None
    assert sign.fault == fault


@pytest.mark.parametrize("kind", list(Said))
def test_every_kind_has_words_with_and_without_names(kind: Said) -> None:
    events = (said(kind, node=0, gpu=0, job=0), said(kind, node=0))

    for event in events:
        assert event.kind == kind.name.lower()
        assert event.text
        assert "{" not in event.text


def test_every_reason_and_ending_has_words() -> None:
    assert set(REASONS) == set(Reason)
    assert len({code for code, _ in REASONS.values()}) == len(REASONS)
    for ending in Ending:
        assert said(Said.JOB_COMPLETED, code=ending, job=0).code == ending.name.lower()


def test_the_xids_of_the_drivers_log_end_a_line() -> None:
    assert all(text.endswith(".") for text, _ in XIDS.values())
    assert "catalogue" in said(Said.XID, code=999, node=0, gpu=0).text
