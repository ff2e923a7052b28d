"""dcgm-exporter's names on our page, from the table by which the controller reads them."""

import re

from agent.collect.dcgm import dcgm_text
from agent.collect.labels import target_of
from agent.collect.nvml import NvmlReader
from agent.collect.reading import Reading
from agent.lab.nvml.scenario import GPU_IS_LOST, Scenario
from agent.node import NodeService
from core.clock import ManualClock
from core.exporters import DCGM, EXPRESSIONS
from core.target import Target

LINE = re.compile(r"(DCGM_\w+)\{(.*)\} (\S+)")


def test_every_name_is_shown_with_dcgm_exporters_labels(nvml: Scenario) -> None:
    nvml.set("*", "field 74", 210000000)
    found = NvmlReader("n1").snapshot()
    last_xid = Reading("gpu_xid_code", found.readings[1].target, 79.0)

    text = dcgm_text((*found.readings, last_xid))

    shown = {line[1]: line for line in LINE.finditer(text)}
    assert set(shown) == {each.name for each in DCGM}
    assert shown["DCGM_FI_DEV_POWER_USAGE"][2] == (
        'gpu="7",UUID="GPU-00000007-6a1c-4f0e-9b7d-0123456789ab",pci_bus_id="00000000:DB:00.0",'
        'device="nvidia7",modelName="NVIDIA H100 80GB HBM3",Hostname="n1",'
        'DCGM_FI_DRIVER_VERSION="580.95.05"'
    )
    units = {name: float(line[3]) for name, line in shown.items()}
    assert units["DCGM_FI_DEV_GPU_UTIL"] == 97
    assert units["DCGM_FI_DEV_SM_CLOCK"] == 1755
    assert units["DCGM_FI_DEV_FB_USED"] == 70866960384 / 2**20
    assert units["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"] == 671000
    assert units["DCGM_FI_DEV_POWER_VIOLATION"] == 210000000
    assert units["DCGM_FI_DEV_XID_ERRORS"] == 79


def test_a_gpu_that_is_lost_has_no_lines(nvml: Scenario) -> None:
    nvml.say(f"gpu 3 fails * {GPU_IS_LOST}")

    text = dcgm_text(NvmlReader("n1").snapshot().readings)

    assert 'gpu="3"' not in text
    assert 'gpu="4"' in text


async def test_they_are_on_the_page_where_they_are_asked_for(
    nvml: Scenario, clock: ManualClock
) -> None:
    readers = [NvmlReader("n1", clock=clock)]

    ours = await NodeService(readers, clock=clock).page()
    both = await NodeService(readers, clock=clock, dcgm_names=True).page()

    assert "DCGM_" not in ours
    assert "gpumedic_gpu_power_watts{" in both
    assert "# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter" in both


def test_the_controller_reads_what_the_page_shows() -> None:
    labels = {"__name__": "DCGM_FI_DEV_GPU_UTIL", "UUID": "GPU-1", "Hostname": "n1", "gpu": "0"}

    assert EXPRESSIONS["gpu_utilization_ratio"] == ("DCGM_FI_DEV_GPU_UTIL * 0.01",)
    assert EXPRESSIONS["gpu_memory_used_bytes"] == ("DCGM_FI_DEV_FB_USED * 1048576",)
    assert target_of(labels, "gpu_utilization_ratio") == Target(node="n1", gpu="GPU-1")
