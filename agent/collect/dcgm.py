"""Readings under dcgm-exporter's names and labels, for dashboards and rules that know those."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from agent.collect.reading import Labels, Reading, sample
from core.exporters import DCGM, Dcgm


def dcgm_text(readings: Sequence[Reading]) -> str:
    """Return the page's part; a GPU that does not say what it is has none."""
    versions = next((dict(r.labels) for r in readings if r.metric == "node_driver_info"), {})
    driver = versions.get("driver", "")
    of_gpu = {r.target.gpu: _labels(r, driver) for r in readings if r.metric == "gpu_info"}
    by_kind: dict[tuple[str, Labels], list[Reading]] = {}
    for reading in readings:
        by_kind.setdefault((reading.metric, reading.labels), []).append(reading)
    lines: list[str] = []
    for each in DCGM:
        lines += _family(each, by_kind.get((each.metric, each.labels), ()), of_gpu)
    return "".join(f"{line}\n" for line in lines)


def _family(
    each: Dcgm, readings: Iterable[Reading], of_gpu: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    found = [r for r in readings if r.target.gpu in of_gpu]
    if found:
        yield f"# TYPE {each.name} {'counter' if each.counter else 'gauge'}"
    for reading in found:
        yield sample(each.name, of_gpu[reading.target.gpu], reading.value / each.unit)


def _labels(reading: Reading, driver: str) -> Mapping[str, str]:
    info = dict(reading.labels)
    return {
        "gpu": info["index"],
        "UUID": reading.target.gpu,
        "pci_bus_id": info["pci"],
        "device": f"nvidia{info['minor']}",
        "modelName": info["name"],
        "Hostname": reading.target.node,
        "DCGM_FI_DRIVER_VERSION": driver,
    }
