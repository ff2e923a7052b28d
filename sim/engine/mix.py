"""Jobs that are submitted: drawn from a mix by weight, or read from a trace, and when they come.

Each number of a job depends only on how many of the mix came before it, and each time of arrival
on that and the arrival before: nothing that was done to the cluster changes what is submitted.
"""

import math

from sim.engine.draws import normal, uniforms
from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.words import GPUS, Ending, Purpose

_DAY_S = 86400.0
_WEEK_DAYS = 7
_EPOCH_WEEKDAY = 3  # 1 January 1970 was a Thursday; Monday is 0
_SATURDAY = 5
_BUSIEST_S = 14 * 3600.0  # of a day, UTC: an assumption
_TRIES = 10_000  # at a next arrival; the draws of the job's own numbers lie behind them

# A step of a generated job takes this long where nothing is slow, so that steps are seconds. How it
# divides is an assumption: near the 13 % of a step that JobSpec's training communicates.
_STEP_S = 1.0
_DATA_S = 0.03
_COLLECTIVE_S = 0.12  # of a job on several nodes
_CHECKPOINT_S = 3600.0  # interval of a replayed job; hourly was assumed of RSC (HPCA'25)
_STALL_S = 7.0
_SAVE_S = 51.0


@compiled
def next_s(w: Tables, index: int) -> float:
    """Return when the mix's job ``index`` is submitted, the one before it being submitted now.

    A Poisson process whose rate follows the day and the week, by thinning; inf: there is no mix.
    """
    core, site = w.core[0], w.site[0]
    most = site["mix_per_day"] / _DAY_S * _peak(w)
    if most <= 0 or len(w.mix) == 0:
        return math.inf
    time_s: float = core["now_s"]
    for turn in range(_TRIES):
        wait, chance = uniforms(core["seed"], Purpose.SUBMIT, index, turn)
        time_s -= math.log(wait) / most
        if chance * _peak(w) < rhythm(time_s, site["mix_daily"], site["mix_weekly"]):
            break
    return time_s


@compiled
def rhythm(time_s: float, daily: float, weekly: float) -> float:
    """Return a time's rate over the mean: a cosine over the day, and less at the weekend.

    daily: its depth, 0 to 1; weekly: by how much of it a weekend's day is below another
    """
    day = math.floor(time_s / _DAY_S)
    weekend = (day + _EPOCH_WEEKDAY) % _WEEK_DAYS >= _SATURDAY
    turn = 2.0 * math.pi * (time_s - day * _DAY_S - _BUSIEST_S) / _DAY_S
    level = (1.0 - weekly if weekend else 1.0) / (1.0 - weekly * 2.0 / _WEEK_DAYS)
    return level * (1.0 + daily * math.cos(turn))


@compiled
def draw(w: Tables, job: int, index: int) -> None:
    """Make a cleared slot the mix's job ``index``: its kind, size, length and end."""
    seed = w.core[0]["seed"]
    which, end = uniforms(seed, Purpose.SUBMIT, index, _TRIES)
    at = _kind(w, which)
    kind, row = w.mix[at], w.jobs[job]
    spread = kind["sigma"] * normal(seed, Purpose.SUBMIT, index, _TRIES + 1)
    run_s = min(kind["median_s"] * math.exp(spread), kind["longest_s"])
    row["spec"] = at
    row["kind"] = kind["kind"]
    row["priority"] = kind["priority"]
    row["ending"] = Ending.FAILED
    if end < kind["completes"] + kind["cancelled"]:
        row["ending"] = Ending.COMPLETED if end < kind["completes"] else Ending.CANCELLED
    row["interval_s"] = kind["interval_s"]
    row["stall_s"] = kind["stall_s"]
    row["save_s"] = kind["save_s"]
    row["bytes_per_step"] = kind["bytes_per_s"] * kind["gpus"] * _STEP_S
    _fill(w, job, kind["gpus"], run_s)


@compiled
def from_trace(w: Tables, job: int, at: int) -> None:
    """Make a cleared slot the job of a trace's row; it runs as long as it did there."""
    trace, row = w.trace[at], w.jobs[job]
    row["kind"] = trace["kind"]
    row["priority"] = trace["priority"]
    row["ending"] = trace["ending"]
    row["interval_s"] = _CHECKPOINT_S
    row["stall_s"] = _STALL_S
    row["save_s"] = _SAVE_S
    _fill(w, job, trace["gpus"], trace["duration_s"])


@compiled
def _fill(w: Tables, job: int, gpus: int, run_s: float) -> None:
    row = w.jobs[job]
    row["gpus"] = row["least_gpus"] = row["most_gpus"] = row["unit"] = gpus
    row["work"] = max(run_s, _STEP_S) / _STEP_S
    row["collective_s"] = _COLLECTIVE_S if gpus > GPUS else 0.0
    row["data_s"] = _DATA_S
    row["compute_s"] = _STEP_S - row["data_s"] - row["collective_s"]
    row["ideal_s"] = _STEP_S


@compiled
def _kind(w: Tables, chance: float) -> int:
    """Return the row of the mix that a uniform number picks; weights sum to 1."""
    for at in range(len(w.mix) - 1):
        chance -= w.mix[at]["weight"]
        if chance < 0:
            return at
    return len(w.mix) - 1


@compiled
def _peak(w: Tables) -> float:
    """Return the highest rate of a week over the mean."""
    site = w.site[0]
    highest: float = (1.0 + site["mix_daily"]) / (1.0 - site["mix_weekly"] * 2.0 / _WEEK_DAYS)
    return highest
