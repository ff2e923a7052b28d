"""What a world says reads as kernel logs and schedulers do, and is understood by the diagnosis."""

import numpy as np
import pytest

from agent.kernel.lines import finding
from agent.kernel.records import kmsg_record
from agent.lab.logs import kmsg_line
from core.target import Target
from core.types import Event, Severity
from rca.faults.catalogue import FAULTS, SIGNS, Sign, signs_of
from sim.catalogue import CLASSES
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
        (Said.XID, 119, "driver_hang"),
        (Said.PCIE_ERROR, 0, "gpu_pcie_errors"),
        (Said.OOM_KILL, 0, "memory_leak"),
        (Said.VOLUME_FULL, 0, "volume_filling"),
        (Said.NODE_DOWN, 0, "node_silent"),
        (Said.LINK_DOWN, 0, "network_link_down"),
        (Said.ROW_REMAP, 0, "gpu_row_remap"),
        (Said.KERNEL_PANIC, 0, "kernel_panic"),
        (Said.KERNEL_PANIC, 18, "host_machine_check"),
        (Said.SWITCH_DOWN, 1, "switch_down"),
        (Said.POWER_LOST, 0, "power_lost"),
        (Said.POWER_CAPPED, 0, "power_capped"),
        (Said.CANARY, 0, "bad_release"),
        (Said.DRIVER_CHANGED, 0, "driver_rollout"),
        (Said.NAN_LOSS, 0, "nan_loss"),
        (Said.FALSE_ALARM, 0, "passed_check"),
    ],
)
def test_a_diagnosis_takes_it_for_what_it_is(kind: Said, code: int, fault: str) -> None:
    event = said(kind, code=code, node=0, gpu=3 if kind is Said.XID else NONE)

    assert signs_of(event)[0].fault == fault


@pytest.mark.parametrize("name", [n for n, fault in CLASSES.items() if fault.cause in FAULTS])
def test_what_shows_of_a_class_speaks_for_its_cause(name: str) -> None:
    """Its own line, how its job ends, a reading, or the hang: one of them names the cause."""
    fault = CLASSES[name]
    parameter = {key: each.value for key, each in fault.parameters.items()}
    told: list[Sign] = list(SIGNS.anomalies["hang"]) if parameter["hangs"] else []
    if parameter["said"]:
        told += signs_of(said(Said[parameter["said"]], code=parameter["code"], node=0, gpu=0))
    told += signs_of(said(Said.JOB_FAILED, code=Reason[parameter["reason"]], node=0, job=0))

    assert fault.cause in {sign.fault for sign in told} or FAULTS[fault.cause].metrics


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


HEARD = (
    *(Said.PCIE_ERROR, Said.OOM_KILL, Said.LINK_DOWN, Said.LINK_UP, Said.KERNEL_PANIC),
    *(Said.DISK_ERROR, Said.MOUNT_LOST),
)


def test_what_a_simulated_kernel_says_is_read_as_a_real_one() -> None:
    """The node service's reader hears in a line of kmsg what the simulator meant by it."""
    xids = [said(Said.XID, code=code, node=1, gpu=5) for code in XIDS]
    events = [*xids, *(said(kind, code=18, node=1, gpu=5) for kind in HEARD)]

    for event in events:
        record = kmsg_record(kmsg_line(event, 7, booted_s=0.0).encode())
        assert record is not None
        found = finding(record.text)
        assert found is not None
        assert (found.kind, record.boot_s) == (event.kind, event.time_s)
        assert event.kind != "xid" or (found.code, found.device) == (event.code, "0000:6a:00")
        assert event.kind != "link_down" or found.device == event.target.port
