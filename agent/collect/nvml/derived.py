"""What follows from a GPU's readings: shares, margins, sums, and the time its clocks were held."""

from collections.abc import Iterator, Mapping, Sequence

from agent.collect.nvml.queries import HELD_BACK, SHUTDOWN_OFFSET, SLOWDOWN_OFFSET
from agent.collect.reading import Reading
from core.target import Target

# Trouble holds the clocks back; a cap on power or clocks that somebody has set does not.
_TROUBLE = frozenset({"thermal", "sw_thermal", "hw_thermal", "power_brake"})
_LINK_UP = 1.0  # NVML_NVLINK_STATE_ACTIVE; a link that sleeps (2) is up, too
_LINK_ASLEEP = 2.0
_LINK_ERRORS = (
    "gpu_nvlink_flit_crc_errors_total",
    "gpu_nvlink_data_crc_errors_total",
    "gpu_nvlink_replays_total",
    "gpu_nvlink_recoveries_total",
)
_LINK_ERRORS_OF_EACH = (
    "gpu_nvlink_link_crc_errors_total",
    "gpu_nvlink_link_replays_total",
    "gpu_nvlink_link_recoveries_total",
)


class HeldBack:
    """The share of time that trouble held a GPU's clocks back, between one look and the next."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[float, Mapping[str, float]]] = {}

    def ratio(self, readings: Sequence[Reading], gpu: str, at_s: float) -> float | None:
        """Return the share since the last look; None at the first and where nothing tells."""
        now = {
            r.labels[0][1]: r.value
            for r in readings
            if r.metric == HELD_BACK and r.labels[0][1] in _TROUBLE
        }
        before = self._before.get(gpu)
        self._before[gpu] = at_s, now
        if not now or before is None or at_s <= before[0]:
            return None
        grown = max(value - before[1].get(reason, value) for reason, value in now.items())
        return min(1.0, max(0.0, grown / (at_s - before[0])))


def derived(readings: Sequence[Reading], target: Target) -> Iterator[Reading]:
    """Yield what follows from one GPU's readings of one moment."""
    plain = {r.metric: r.value for r in readings if not r.labels}
    yield from _memory(plain, target)
    yield from _margins(plain, target)
    yield from _links(readings, plain, target)


def _memory(plain: Mapping[str, float], target: Target) -> Iterator[Reading]:
    used, free = plain.get("gpu_memory_used_bytes"), plain.get("gpu_memory_free_bytes")
    if used is not None and free is not None and used + free > 0:
        yield Reading("gpu_memory_used_ratio", target, used / (used + free))


def _margins(plain: Mapping[str, float], target: Target) -> Iterator[Reading]:
    """Newer GPUs tell the margin itself, older ones the temperature that ends it."""
    margin, now = plain.get("gpu_temperature_margin_celsius"), plain.get("gpu_temperature_celsius")
    for offset, ends in ((SLOWDOWN_OFFSET, "slowdown"), (SHUTDOWN_OFFSET, "shutdown")):
        limit = plain.get(f"gpu_temperature_{ends}_celsius")
        metric = f"gpu_temperature_{ends}_margin_celsius"
        if margin is not None and offset in plain:
            yield Reading(metric, target, margin - plain[offset])
        elif limit is not None and now is not None:
            yield Reading(metric, target, limit - now)


def _links(
    readings: Sequence[Reading], plain: Mapping[str, float], target: Target
) -> Iterator[Reading]:
    states = [r.value for r in readings if r.metric == "gpu_nvlink_state"]
    if states:
        up = sum(state in {_LINK_UP, _LINK_ASLEEP} for state in states)
        yield Reading("gpu_nvlinks_up", target, float(up))
    counts = [plain[name] for name in _LINK_ERRORS if name in plain] or [
        r.value for r in readings if r.metric in _LINK_ERRORS_OF_EACH
    ]
    if counts:
        yield Reading("gpu_nvlink_errors_total", target, sum(counts))
