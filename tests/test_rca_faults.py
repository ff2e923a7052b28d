"""The faults and signs are data: every class is there, every sign is heard, every slip is said."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from core.errors import InputError
from core.faults import FaultClass
from core.target import Target, TargetKind
from core.types import Anomaly, Event, Severity
from core.units import CATALOG
from detectors.faults.catalogue import sxid, xids
from detectors.faults.counters import FLAGS, GROWTHS
from detectors.faults.recurrence import SUSPECT
from detectors.progress.hang import DETECTOR as HANG
from detectors.progress.lateness import DETECTOR as LATE
from detectors.progress.loss import NAN, SPIKE
from detectors.progress.slowdown import PARTS
from detectors.progress.straggler import DETECTOR as STRAGGLER
from detectors.silence import EXPORTER, KIND
from rca.faults import catalogue
from rca.faults.catalogue import (
    FAULT_OF_METRIC,
    FAULTS,
    FAULTS_OF_METRIC,
    NO_FAULTS,
    SIGNS,
    named_for,
    persistence,
    signs_of,
    signs_of_anomaly,
)
from rca.faults.read import read_faults, read_signs
from sim.engine.words import Said

DATA = Path(catalogue.__file__).parent
GPU, NODE, JOB = Target("node-1", gpu="GPU-1"), Target("node-1"), Target(job="train")
FAULT_DATA = tomllib.loads((DATA / "faults.toml").read_text())
SIGN_DATA = tomllib.loads((DATA / "signs.toml").read_text())
NAMES = [*FAULTS, *NO_FAULTS]


def event(kind: str, code: str = "", text: str = "", *, on: Target = NODE) -> Event:
    return Event(on, 0.0, kind, code, text, Severity.CRITICAL)


def line(text: str) -> Event:
    return event("kernel_log", text=text)


def said(found: Event) -> list[str]:
    return [sign.fault for sign in signs_of(found)]


def all_signs() -> list[str]:
    told = [rule.signs for rule in SIGNS.events] + [rule.signs for rule in SIGNS.lines]
    return [sign.fault for signs in (*told, *SIGNS.anomalies.values()) for sign in signs]


@pytest.mark.parametrize("kind", sorted(set(FaultClass) - {FaultClass.UNKNOWN}))
def test_every_class_has_a_fault(kind: FaultClass) -> None:
    assert any(fault.kind is kind for fault in FAULTS.values())


@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda fault: fault.name)
def test_every_fault_can_show(fault: Any) -> None:
    assert fault.metrics or fault.name in all_signs()


@pytest.mark.parametrize("name", list(NO_FAULTS))
def test_what_is_no_fault_can_show_too(name: str) -> None:
    assert name in all_signs()


def test_no_prior_beats_unknown_and_no_fault_is_of_no_class() -> None:
    assert all(-4.5 < fault.prior <= -3.0 for fault in FAULTS.values())
    assert all(fault.kind is not FaultClass.UNKNOWN for fault in FAULTS.values())


@pytest.mark.parametrize("data", [FAULT_DATA, SIGN_DATA], ids=["faults", "signs"])
def test_every_source_is_of_use(data: dict[str, Any]) -> None:
    """A source that nobody cites, or a citation of none, is a slip of the data."""
    cited = str({key: table for key, table in data.items() if key != "sources"})

    assert all(f"'source': '{key}'" in cited for key in data["sources"])


@pytest.mark.parametrize("known", xids().values(), ids=lambda known: str(known.code))
def test_every_xid_says_whose_fault_the_vendor_holds_it_for(known: Any) -> None:
    found = signs_of(event("xid", str(known.code), on=GPU))
    classes = {FAULTS[sign.fault].kind for sign in found}

    match known.origin:
        case "unused" | "test":
            assert found == ()
        case "application":
            assert FaultClass.SOFTWARE in classes
        case "link":
            assert FaultClass.NVLINK in classes
        case "driver":
            assert classes & {FaultClass.DRIVER, FaultClass.CONFIGURATION}
        case "hardware":
            assert classes & {
                FaultClass.GPU_HARDWARE,
                FaultClass.GPU_MEMORY,
                FaultClass.POWER,
            }
    if known.immediate in ("RESET_GPU", "RESTART_BM", "WORKFLOW_XID_48", "CHECK_MECHANICALS"):
        assert found[0].weight >= 6.0, "what the vendor resets a GPU for names a fault"


def test_an_xid_that_no_catalogue_knows_says_nothing() -> None:
    assert signs_of(event("xid", "999", on=GPU)) == ()


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (12020, "nvswitch_fault"),
        (23005, "nvswitch_fault"),
        (18003, "gpu_nvlink_errors"),
        (11001, "nvswitch_fault"),
        (10004, "cooling_degraded"),
        (11012, None),
        (22013, None),
    ],
)
def test_an_nvswitch_code_speaks_by_its_range(code: int, fault: str | None) -> None:
    found = said(event("sxid", str(code)))

    assert (found[0] if found else None) == fault
    assert (fault is None) is (sxid(code).kind == "harmless")


@pytest.mark.parametrize("kind", list(Said))
def test_every_kind_that_the_simulator_says_is_known(kind: Said) -> None:
    assert kind.name.lower() in {rule.kind for rule in SIGNS.events}


@pytest.mark.parametrize(
    "kind",
    sorted({*(rule.kind for rule in (*GROWTHS, *FLAGS)), SUSPECT, KIND, EXPORTER, "xid", "sxid"}),
)
def test_every_kind_that_a_detector_says_is_known(kind: str) -> None:
    assert kind in {rule.kind for rule in SIGNS.events}


def test_detectors_that_a_sign_names_are_there() -> None:
    there = {HANG, LATE, STRAGGLER, NAN, SPIKE, *(part.detector for part in PARTS)}

    assert set(SIGNS.anomalies) == there


@pytest.mark.parametrize("rule", SIGNS.lines, ids=lambda rule: rule.example[:40])
def test_a_lines_example_speaks_for_what_the_line_is_about(rule: Any) -> None:
    best = max(rule.signs, key=lambda sign: sign.weight)

    assert best.fault in said(line(rule.example))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("NVRM: Xid (PCI:0000:6a:00): 79, GPU has fallen off the bus.", "gpu_fallen_off_bus"),
        ("The NVIDIA GPU 0000:18:00.0 has fallen off the bus", "gpu_fallen_off_bus"),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", "software_error"),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory.", "software_error"),
        ("NCCL WARN recv from 10.1.2.3<4> failed: Connection reset by peer", "network_error"),
        ("NCCL WARN NET/IB : mlx5_0:1 Got async event : IBV_WC_RETRY_EXC_ERR(12)", "network_error"),
        ("[rank3]:[E] [PG 0 Rank 3] Watchdog caught collective operation timeout", "job_hang"),
        ("ls: cannot access '/data': Stale file handle", "storage_error"),
        ("nfs: server filer-2 not responding, still trying", "storage_slow"),
        ("cp: error writing '/scratch/x': No space left on device", "volume_filling"),
        ("EDAC MC1: 1 UE memory read error on CPU_SrcID#1", "host_machine_check"),
        ("Kernel panic - not syncing: Fatal machine check", "host_machine_check"),
        ("Kernel panic - not syncing: Fatal exception in interrupt", "kernel_panic"),
        ("watchdog: BUG: soft lockup - CPU#3 stuck for 22s!", "kernel_panic"),
        ("RuntimeError: DataLoader worker (pid(s) 77) exited unexpectedly", "data_loader_failed"),
        ("epoch 3 loss=nan grad_norm=inf", "nan_loss"),
        ("loss is NaN", "nan_loss"),
        ("mlx5_core 0000:3b:00.0 ens1: Link down", "network_link_down"),
        ("Failed to initialize NVML: Driver/library version mismatch", "version_mismatch"),
        ("nvme nvme0: Disabling device after reset failure: -19", "storage_error"),
        ("save_checkpoint failed: timed out after 1800 s", "checkpoint_failing"),
        ("slurmstepd: error: *** JOB 7 CANCELLED AT 2026 DUE TO PREEMPTION ***", "ordered_stop"),
    ],
)  # fmt: skip
def test_a_line_of_a_log_names_its_fault_first(text: str, fault: str) -> None:
    assert said(line(text))[0] == fault


@pytest.mark.parametrize(
    "text",
    [
        "",
        "step 18432 loss 2.3141 grad_norm 0.81 lr 3e-4",
        "NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64",
        "mlx5_core 0000:3b:00.0: mlx5_0 port 1: Link up",
        "checkpoint of step 1200 saved in 41 s",
        "job train runs again from step 1200",
        "financial information inferred",
        "nanosecond timer information",
    ],
)
def test_an_ordinary_line_names_none(text: str) -> None:
    assert signs_of(line(text)) == ()


def test_text_is_read_where_kind_and_code_say_little() -> None:
    bare = event("job_failed", "cuda_error", "job failed: exit status 1", on=JOB)
    told = event("job_failed", "cuda_error", "an uncorrectable ECC error was encountered", on=JOB)
    sure = event("xid", "79", "GPU has fallen off the bus; Out of memory: Killed process", on=GPU)

    assert said(bare)[0] != said(told)[0] == "gpu_ecc_uncorrectable"
    assert "memory_leak" not in said(sure)


def test_two_rules_that_name_one_fault_saw_one_thing() -> None:
    (first, *_) = signs_of(event("job_failed", "137", "Out of memory: Killed process", on=JOB))

    assert (first.fault, first.weight) == ("memory_leak", 5.0)


@pytest.mark.parametrize(
    ("on", "fault"),
    [(NODE, "node_silent"), (GPU, "gpu_fallen_off_bus"), (JOB, None)],
)
def test_what_falls_silent_tells_by_what_it_is(on: Target, fault: str | None) -> None:
    found = said(event(KIND, "no_readings", on=on))

    assert (found[0] if found else None) == fault


def test_an_exporter_alone_that_stops_is_no_fault() -> None:
    assert said(event(EXPORTER))[0] in NO_FAULTS


def test_a_hang_may_be_the_programs_or_a_machines() -> None:
    hang = Anomaly(JOB, "job_steps_total", 0, 1, 0, 0, 1, 1, HANG, Severity.CRITICAL, "")
    kinds = {FAULTS[sign.fault].kind for sign in signs_of_anomaly(hang)}

    assert {FaultClass.SOFTWARE, FaultClass.GPU_HARDWARE, FaultClass.DRIVER} <= kinds


def test_a_metric_speaks_first_for_the_fault_it_is_about() -> None:
    assert FAULTS_OF_METRIC["node_pressure_cpu_ratio"] == ("cpu_contention", "noisy_neighbour")
    assert FAULT_OF_METRIC["port_up"] == "network_link_down"
    assert set(FAULTS_OF_METRIC) <= set(CATALOG)


def test_what_all_on_one_target_have_is_that_targets_fault() -> None:
    assert named_for("network_link_down", TargetKind.SWITCH) == "switch_down"
    assert named_for("network_link_down", TargetKind.NODE) == "network_link_down"
    assert named_for("node_silent", TargetKind.RACK) == "power_lost"


@pytest.mark.parametrize(
    ("codes", "stays"),
    [
        (["94"], 0.05),
        (["94", "48"], 0.9),
        (["94", "95"], 0.95),
        (["92"], 0.9),
        ([], 0.9),
    ],
)
def test_a_contained_memory_error_alone_ends_with_its_process(
    codes: list[str], stays: float
) -> None:
    signs = [sign for code in codes for sign in signs_of(event("xid", code, on=GPU))]

    assert persistence("gpu_ecc_uncorrectable", signs) == stays


@pytest.mark.parametrize("code", ["13", "31", "43", "45"])
def test_what_a_program_did_to_a_gpu_ends_with_it(code: str) -> None:
    found = persistence("software_error", signs_of(event("xid", code, on=GPU)))

    assert found is not None
    assert found < 0.25


def test_a_pending_remap_stays_until_a_reset_and_no_fault_does_not_stay() -> None:
    pending = persistence("gpu_row_remap", signs_of(event("row_remap", "pending", on=GPU)))

    assert pending is not None
    assert pending > 0.95
    assert persistence("planned_work") == 0.0
    assert persistence("no such fault") is None


def changed(data: Any, *path: str | int, to: object) -> Any:
    """Return a copy of nested data with one value changed, or added."""
    if not path:
        return to
    key, *rest = path
    copy: Any = list(data) if isinstance(data, list) else dict(data)
    copy[key] = changed(copy[key], *rest, to=to) if rest else to
    return copy


@pytest.mark.parametrize(
    ("path", "to", "said"),
    [
        (("class",), "gpu_hardwear", "did you mean 'gpu_hardware'?"),
        (("scope",), "gpus", "did you mean 'gpu'?"),
        (("metrics",), ["gpu_sm_clock"], "did you mean 'gpu_sm_clock_hz'?"),
        (("prior",), {"value": 1.0, "source": "llama3"}, "from -10 to 0"),
        (("prior",), -3.0, "a value and a source"),
        (("persistent",), {"value": 0.5, "source": "lama3"}, "did you mean 'llama3'?"),
        (("persistent",), {"value": 2, "source": "llama3"}, "from 0 to 1"),
        (("text",), " ", "a text"),
        (("shared",), {"rack": "gpu_hnag"}, "did you mean 'gpu_hang'?"),
        (("shared",), {"room": "gpu_hang"}, "one of"),
        (("metric",), [], "did you mean 'metrics'?"),
    ],
)
def test_a_slip_in_a_fault_is_said_with_its_place(path: Any, to: object, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_faults(changed(FAULT_DATA, "fault", "gpu_slow", *path, to=to))

    assert said in str(caught.value)
    assert "gpu_slow" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "to", "said"),
    [
        (("event", 0, "says"), {"gpu_hnag": 1.0}, "did you mean 'gpu_hang'?"),
        (("event", 0, "says"), {"gpu_hang": 99.0}, "from 0 to 10"),
        (("event", 0, "source"), "xids", "did you mean 'xid'?"),
        (("event", 0, "stays"), 1.5, "from 0 to 1"),
        (("event", 0, "on"), ["nod"], "did you mean 'node'?"),
        (("event", 0, "code"), "1", "did you mean 'codes'?"),
        (("event", 1, "codes"), ["79"], "in one entry only"),
        (("line", 0, "line"), "(", "a regular expression"),
        (("line", 0, "example"), "all is well", "a line that the pattern finds"),
        (("anomaly", 0), {"detector": "hang", "source": "xid"}, "with says too"),
    ],
)
def test_a_slip_in_a_sign_is_said_with_its_place(path: Any, to: object, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_signs(changed(SIGN_DATA, *path, to=to), NAMES)

    assert said in str(caught.value)
