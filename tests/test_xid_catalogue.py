"""The Xid catalogue: complete, decided where sources disagree, and at one with diagnosis."""

import pytest

from core.target import Target
from core.types import Event, Severity
from detectors.faults.catalogue import STEPS, Xid, xid, xids
from detectors.faults.hard_faults import HardFaults
from detectors.faults.recovery import KIND, RECOVERY_ACTIONS, RECOVERY_STEPS, action_of
from detectors.faults.xids import recovery_event, xid_event
from rca.faults.catalogue import signs_of
from remediation.catalogue import CATALOG

GPU = Target(node="node-1", gpu="GPU-1")
NOW_S = 1_700_000_000.0
# Codes on which the vendor, gpud, NVSentinel, DCGM and GCM give different actions.
DISPUTED = (32, 38, 44, 60, 63, 68, 69, 94, 109, 155, 156, 158, 160, 162)
MENDS_GPU = {"reset_gpu", "reboot_node"}


@pytest.mark.parametrize("code", DISPUTED)
def test_where_sources_disagree_the_row_says_why_it_sides_with_whom(code: int) -> None:
    assert len(xid(code).why) > 40


def test_no_action_of_ours_is_harder_than_the_vendors_where_it_gives_one() -> None:
    """It restarts a program or ignores the code: then no GPU is reset and no node restarted."""
    mild = [known for known in xids().values() if known.immediate in ("RESTART_APP", "IGNORE")]

    assert [k.code for k in mild if k.step.action in MENDS_GPU] == [63]
    assert xid(63).next == "reset_gpu_when_idle"


def test_every_row_is_whole() -> None:
    rows = xids().values()

    assert all(row.meaning and row.source.date.year >= 2025 for row in rows)
    assert [row.code for row in rows if not row.mnemonic] == [173]  # nobody has published its name
    assert all(row.why or row.immediate for row in rows)


def test_every_step_is_an_action_that_can_be_done() -> None:
    steps = (*STEPS.values(), *RECOVERY_STEPS.values())

    assert {step.action for step in steps} - {""} <= CATALOG.keys()
    assert RECOVERY_STEPS.keys() == {*RECOVERY_ACTIONS.values()} - {"none"}


def test_what_is_not_on_its_own_resets_nothing() -> None:
    beside = [known for known in xids().values() if not known.alone]

    assert [known.code for known in beside] == [43, 45, 154, 159, 171, 172]
    assert all(known.step.action not in MENDS_GPU for known in beside)


@pytest.mark.parametrize(
    ("code", "recovery", "action", "by"),
    [
        (79, "", "reboot_node", "catalogue"),
        (62, "", "reset_gpu", "catalogue"),
        (62, "a word of a later driver", "reset_gpu", "catalogue"),
        # The driver knows better than the table, in both directions.
        (62, "reboot_node", "reboot_node", "driver"),
        (13, "reset_gpu", "reset_gpu", "driver"),
        (95, "none", "", "driver"),
        (109, "drain_and_reset", "reset_gpu", "driver"),
        (74, "drain_p2p", "drain", "driver"),
        # Its "none" is about the GPU: the program still has to start again.
        (94, "none", "restart_job", "catalogue"),
        (54, "none", "page_person", "catalogue"),
        (999, "", "page_person", "catalogue"),
    ],
)
def test_the_drivers_word_comes_before_the_table(
    code: int, recovery: str, action: str, by: str
) -> None:
    advice = action_of(code, recovery)

    assert (advice.step.action, advice.by) == (action, by)


def test_an_xid_is_said_with_what_the_driver_says_that_the_gpu_needs() -> None:
    faults = HardFaults()
    line = Event(GPU, NOW_S, "xid", "62", "NVRM: ...", Severity.WARNING)
    word = Event(GPU, NOW_S + 1, KIND, "reboot_node", "NVRM: ...", Severity.WARNING)

    first, second = faults.hear([line, word], topology=None, now_s=NOW_S + 2)

    assert first.text.endswith("; restart the node (the driver says so)")
    assert second == recovery_event(GPU, NOW_S + 1, "reboot_node")
    assert second.severity is Severity.CRITICAL
    assert xid_event(GPU, NOW_S, 62).text.endswith("; reset the GPU")


@pytest.mark.parametrize("action", ["none", "a word of a later driver"])
def test_a_driver_that_asks_for_nothing_is_no_trouble(action: str) -> None:
    assert recovery_event(GPU, NOW_S, action).severity is Severity.INFO


def test_diagnosis_and_catalogue_agree_on_what_is_hard() -> None:
    """What the GPU is reset for is no program's fault, and what a program did resets no GPU."""
    programs = [known for known in xids().values() if known.origin == "application"]
    resets = [
        known for known in xids().values() if known.step.action in MENDS_GPU and known.immediate
    ]

    assert [known.code for known in programs if known.step.action in MENDS_GPU] == []
    assert [known.code for known in resets if _first_fault(known) in ("", "software_error")] == []


def _first_fault(known: Xid) -> str:
    found = signs_of(Event(GPU, NOW_S, "xid", str(known.code), "", Severity.INFO))
    return found[0].fault if found else ""
