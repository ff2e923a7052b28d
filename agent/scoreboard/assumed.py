"""What the scoreboard assumes about gpumedic and a site: each value with its range and source."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from core.errors import InputError
from sim.checks import nearest

STANDBY = "issue F: standby workers"


@dataclass(frozen=True, slots=True)
class Assumed:
    """One value of our side, and the range over which the sensitivity plot varies it.

    needs: what has to be built before a site has it; "" for what there is
    """

    key: str
    value: float
    low: float
    high: float
    unit: str
    text: str
    source: str
    needs: str = ""


ASSUMED: tuple[Assumed, ...] = (
    Assumed(
        "cycle_s",
        15.0,
        5.0,
        60.0,
        "s",
        "the agent's cycle: a stopped job is seen within one, its plan's cordon takes another",
        "gpumedic's default; range assumed",
    ),
    Assumed(
        "hang_s",
        37.7,
        8.1,
        139.7,
        "s",
        "from the last step of a hanging job until that is said",
        "measured, docs/results/evaluate_progress.json: medians with readings each 15 s and each "
        "1 s, and the worst",
    ),
    Assumed(
        "hang_share",
        0.10,
        0.0,
        1.0,
        "",
        "share of one replica's failures that hang; a process that ends is seen within a cycle",
        "FT-HSDP, arXiv:2602.00277: 61 watchdog time-outs and 7 unknown of 678; range: none to all",
    ),
    Assumed(
        "blame",
        0.949,
        0.8,
        1.0,
        "",
        "share of diagnoses that name the right place first; the others cost one more start",
        'measured, docs/results/evaluate_rca.json: place1{method="gpumedic"}; range assumed',
    ),
    Assumed(
        "standby_s",
        70.0,
        46.0,
        380.0,
        "s",
        "a start with warm standby machines and checkpoints in peers' memory",
        "ByteRobust, SOSP'25, table 7: 10.87 x faster than a requeue (derived); low: its hot "
        "update; high: its rescheduling",
        STANDBY,
    ),
    Assumed(
        "stall_s",
        0.59,
        0.04,
        7.0,
        "s",
        "all ranks wait for a checkpoint, where the row names no own",
        "ByteCheckpoint, 405B on 8,960 GPUs (reported); low: ByteRobust's table 8; high: Megatron "
        "blocking, there",
    ),
    Assumed(
        "save_s",
        51.0,
        5.0,
        200.0,
        "s",
        "until a checkpoint is whole and can be started from, where the row names no own",
        "ByteCheckpoint, 405B (reported); high: 175B to HDFS with older tools (reported); low: "
        "peers' memory, assumed",
    ),
    Assumed(
        "memory_stall_s",
        0.04,
        0.01,
        1.8,
        "s",
        "all ranks wait for a checkpoint into the memory of other machines",
        "ByteRobust, table 8, 70B and 256B (reported); high: Gemini's, there",
        STANDBY,
    ),
    Assumed(
        "memory_save_s",
        5.0,
        1.0,
        30.0,
        "s",
        "until such a checkpoint is whole",
        "assumed: a step or less, as ByteRobust saves every step",
        STANDBY,
    ),
    Assumed(
        "interval_times",
        1.0,
        0.5,
        6.0,
        "x",
        "interval between checkpoints, as a multiple of Young's",
        "Young, CACM 1974: sqrt(2 w M); never shorter than a save takes",
    ),
    Assumed(
        "spares_times",
        1.0,
        0.125,
        2.0,
        "x",
        "spares, as a multiple of the scenario's",
        "the scenario's own are assumed where its source names none",
    ),
    Assumed(
        "repair_times",
        1.0,
        0.33,
        3.0,
        "x",
        "how long repairs of nodes take, as a multiple",
        "the fault catalogue's: a median of 16.8 h for GPUs (InfiniteHBD-Trace), else of 12 h "
        "(SuperBench)",
    ),
    Assumed(
        "rate_times",
        1.0,
        0.5,
        2.0,
        "x",
        "how often faults come, as a multiple",
        "the profile's; published rates per 1,000 node-days go from 1.6 to 21",
    ),
    Assumed(
        "transient_times",
        1.0,
        0.5,
        1.3,
        "x",
        "share of faults that a restart ends, as a multiple, at most all",
        "the fault catalogue's: Unicron and DLRover say 73 to 75 % in all",
    ),
)
BY_KEY: Mapping[str, Assumed] = MappingProxyType({part.key: part for part in ASSUMED})


def values(**changes: float) -> dict[str, float]:
    """Return every assumed value, some of them changed; InputError for an unknown name."""
    for key in changes:
        if key not in BY_KEY:
            raise InputError(f"no assumption {key!r}; {nearest(key, BY_KEY)}")
    return {part.key: changes.get(part.key, part.value) for part in ASSUMED}
