"""Lines of the kernel's log are read as their drivers write them, and nothing else is read in."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.kernel.forms import FORMS
from agent.kernel.hearing import Hearing
from agent.kernel.lines import MAX_TEXT, Finding, finding, pci_of, recovery
from agent.kernel.records import Record, joined, journal_record, kmsg_record
from core.target import Target
from detectors.faults.catalogue import xids

UUID = "GPU-8bf2cd34-1f0c-11ef-b3c2-7bfa81a40b6a"

# line, kind, code, device
GOLDEN = Path(__file__).parent / "golden" / "kernel_lines.txt"
LINES = [
    tuple(line.replace("\\n", "\n").split("|", 3))
    for line in GOLDEN.read_text().splitlines()
    if line and not line.startswith("#")
]
QUIET = [
    "",
    "NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  575.57.08",
    "nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 28006, Severity 0 Engine instance 46 Sub-engine 00",
    "nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 28006, Data {0x00200000, 0x00200000, 0x00000000}",
    "EXT4-fs (nvme0n1p2): mounted filesystem with ordered data mode. Quota mode: none.",
    "oom_reaper: reaped process 48213 (python), now anon-rss:0kB",
    "pcieport 0000:17:01.0: AER: enabled with IRQ 34",
    "mlx5_core 0000:3b:00.0: Port module event: module 0, Cable plugged",
    "nvme nvme0: 16/0/0 default/read/poll queues",
    "nfs: server filer-2 OK",
    "usb 1-1: reset high-speed USB device number 2 using xhci_hcd",
    "Xid 79 is a number in a sentence",
]


def test_a_line_is_read_for_what_it_says() -> None:
    read = [(*said(line), line) for *_, line in LINES]

    assert read == [tuple(each) for each in LINES]


def said(line: str) -> tuple[str, str, str]:
    found = finding(line)
    if found is None:
        return "", "", ""
    assert len(found.text) <= MAX_TEXT
    assert "\n" not in found.text
    return found.kind, found.code, found.device


def test_every_form_reads_a_line_that_its_word_lets_through() -> None:
    lines = [line for *_, line in LINES]
    idle = [
        form.pattern.pattern
        for form in FORMS
        if not any(form.word in line.lower() and form.pattern.search(line) for line in lines)
    ]

    assert idle == []


def test_ordinary_lines_say_nothing() -> None:
    assert [line for line in QUIET if finding(line)] == []


def test_an_xid_is_as_bad_as_the_catalogue_says() -> None:
    found = [finding(f"NVRM: Xid (PCI:0000:3b:00): {code}, text") for code in xids()]

    assert [f.severity for f in found if f] == [known.severity for known in xids().values()]


def test_the_driver_names_what_the_gpu_needs() -> None:
    line = (
        "NVRM: Xid (PCI:0000:01:00): 154, GPU recovery action changed from 0x0 (None) to 0x2 "
        "(Node Reboot Required)"
    )

    found = recovery(line)

    assert found is not None
    assert (found.kind, found.code, found.device) == ("gpu_recovery", "reboot_node", "0000:01:00")
    later = recovery(line.replace("0x2 (", "0x63 ("))
    assert later is not None
    assert later.code == "unknown_99"


@pytest.mark.parametrize(
    "address", ["00000000:3B:00.0", "0000:3b:00.0", "0000:3b:00", "PCI:0000:3b:00", "3b:00.0"]
)
def test_a_bus_address_has_one_form(address: str) -> None:
    assert pci_of(address) == "0000:3b:00"


def hear(hearing: Hearing, *lines: str) -> list[tuple[str, str, Target]]:
    return [(f.kind, f.code, target) for line in lines for f, target in hearing.hear(line)]


def test_a_gpu_that_is_gone_is_said_on_three_lines_too() -> None:
    hearing = Hearing("n1", {"0000:18:00": UUID})

    said = hear(
        hearing,
        "NVRM: The NVIDIA GPU 0000:18:00.0",
        "NVRM: (PCI ID: 10de:2330) installed in this system has",
        "NVRM: fallen off the bus and is not responding to commands.",
        "NVRM: fallen off the bus and is not responding to commands.",
    )

    assert said == [("xid", "79", Target(node="n1", gpu=UUID))]


def test_a_gpu_is_known_by_what_the_driver_once_said() -> None:
    hearing = Hearing("n1")

    said = hear(
        hearing,
        "NVRM: Xid (PCI:0000:18:00): 31, first",
        f"NVRM: GPU at PCI:0000:18:00: {UUID}",
        "NVRM: Xid (PCI:0000:18:00): 31, second",
        "nvidia 0000:18:00.0: PCIe Bus Error: severity=Corrected, type=Data Link Layer",
        "nvme 0000:5e:00.0: PCIe Bus Error: severity=Corrected, type=Data Link Layer",
    )

    assert [target.gpu for *_, target in said] == ["0000:18:00", UUID, UUID, ""]


def test_a_disk_is_named_by_where_it_is_mounted(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    lines = (b"/dev/sdb1 /d\xe9", b"/dev/sda1 /data/deep", b"/dev/sda1 /data")
    mounts.write_bytes(b"".join(line + b" ext4 rw 0 0\n" for line in lines))
    hearing = Hearing("n1", mounts=mounts)

    said = hear(
        hearing,
        "EXT4-fs (sda1): Remounting filesystem read-only",
        "EXT4-fs (sdz9): Remounting filesystem read-only",
    )

    assert [target for *_, target in said] == [Target(node="n1", volume="/data"), Target(node="n1")]


def test_a_record_is_what_the_kernels_document_says() -> None:
    raw = (
        b"4,854,81333759062,-;nvidia 0000:18:00.0: a\\x09b \\xc3\\xa9\n"
        b" SUBSYSTEM=pci\n DEVICE=+pci:0000:18:00.0\n"
    )

    record = kmsg_record(raw)

    assert record == Record(
        854, 81333.759062, "nvidia 0000:18:00.0: a\tb é", device="pci:0000:18:00.0"
    )
    assert kmsg_record(raw[:19]) is None


def test_fragments_of_a_line_are_put_together() -> None:
    raws = (b"4,1,10,-;NVRM: Xid (PCI:0000:3b:00)", b"4,2,11,c;: 79, gone", b"4,3,12,-;next")

    lines = list(joined(record for raw in raws if (record := kmsg_record(raw)) is not None))

    assert [line.text for line in lines] == ["NVRM: Xid (PCI:0000:3b:00): 79, gone", "next"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            b'{"__CURSOR":"s=1","MESSAGE":"Xid (PCI:0000:3b:00): 79","SYSLOG_IDENTIFIER":"NVRM"}',
            "NVRM: Xid (PCI:0000:3b:00): 79",
        ),
        (b'{"__CURSOR":"s=1","MESSAGE":"a b","SYSLOG_IDENTIFIER":"kernel"}', "a b"),
        (b'{"__CURSOR":"s=1","MESSAGE":[97,255,98]}', "a\N{REPLACEMENT CHARACTER}b"),
        (b'{"__CURSOR":"s=1"}', ""),
    ],
)
def test_a_line_of_the_journal_is_the_kernels(line: bytes, text: str) -> None:
    found = journal_record(line)

    assert found is not None
    assert (found[0].text, found[1]) == (text, "s=1")


NOISE = st.one_of(
    st.binary(max_size=200),
    st.from_regex(rb"\A\d{1,12},\d{1,22},\d{1,22},[-c+],?[a-z=]{0,9};.{0,80}", fullmatch=True),
    st.from_regex(rb'\A\{"__CURSOR":"s","MESSAGE":(\[-?\d{1,4}\]|"x"|null|\{\})\}', fullmatch=True),
)


@settings(max_examples=60)
@given(st.lists(NOISE, max_size=5), st.integers(0, len(LINES) - 1), st.binary(max_size=30))
def test_garbage_breaks_nothing(noise: list[bytes], at: int, tail: bytes) -> None:
    records = [r for raw in noise if (r := kmsg_record(raw)) is not None]
    texts = [record.text for record in joined(records)]
    texts += [found[0].text for raw in noise if (found := journal_record(raw)) is not None]
    line = LINES[at][-1]
    half = line[: len(line) // 2] + tail.decode("latin-1") + line[len(line) // 2 :]

    for text in (*texts, half):
        said = finding(text)
        assert said is None or isinstance(said, Finding)
        assert list(Hearing("n").hear(text)) is not None


def test_no_line_takes_long_to_be_found_empty() -> None:
    """A form that backtracks would let a line of the right words hold the node up for minutes."""
    for form in FORMS:
        hostile = f"{form.word} " + "a" * 500 + "0000:00:00.0 eth0: " * 80
        assert finding(hostile) is None or re.search(re.escape(form.word), hostile, re.IGNORECASE)
