"""What training jobs and their ranks would report of themselves, one function for each metric."""

from collections.abc import Callable, Mapping

import numpy as np

from core.target import Target
from core.types import Floats
from sim.look import Look, Ranks, Read, Reading
from sim.progress import best_at, checkpoint_at, step_at

_GOODPUT_SPAN_S = 600.0


def job_readings() -> Mapping[str, Read]:
    """Return how each metric of a training job is read."""
    return {
        "job_step_time_s": _of_jobs(_step_time),
        "job_steps_total": _of_jobs(_steps_total),
        "job_goodput_ratio": _of_jobs(_goodput),
        "job_checkpoint_age_s": _of_jobs(_checkpoint_age),
    }


def rank_readings() -> Mapping[str, Read]:
    """Return how each metric of a rank is read; only while it makes steps."""
    return {
        "rank_step_time_s": _of_ranks(_own_time),
        "rank_data_wait_s": _of_ranks(_data_wait),
        "rank_collective_time_s": _of_ranks(_collective_time),
    }


def _of_jobs(value: Callable[[Look, int], Floats]) -> Read:
    def read(look: Look, stream: int) -> Reading:
        targets = tuple(Target(job=job.id) for job in look.state.scenario.jobs)
        return targets, np.where(look.seen, value(look, stream), np.nan)

    return read


def _of_ranks(value: Callable[[Look, Ranks, int], Floats]) -> Read:
    def read(look: Look, stream: int) -> Reading:
        ranks = look.ranks
        return ranks.targets, value(look, ranks, stream) * ranks.reporting

    return read


def _step_time(look: Look, stream: int) -> Floats:
    step_s = np.where(np.isfinite(look.jobs["step_s"]), look.jobs["step_s"], np.nan)
    return step_s * (1 + 0.008 * look.noise(stream, look.job_ids))


def _steps_total(look: Look, _: int) -> Floats:
    """(J, T) steps as the job's own process counts them: none is read while it is not there."""
    steps = np.floor(step_at(look.jobs, look.state.cycle.column(), look.time_s))
    return np.where(look.in_process, steps, np.nan)


def _goodput(look: Look, _: int) -> Floats:
    """(J, T) useful share of the last ten minutes."""
    cycle, earlier_s = look.state.cycle.column(), look.time_s - _GOODPUT_SPAN_S
    earlier = look.state.jobs.at(look.job_ids, earlier_s)
    gained = best_at(look.jobs, cycle, look.time_s) - best_at(earlier, cycle, earlier_s)
    ideal = np.array([job.ideal_step_s for job in look.state.scenario.jobs]).reshape(-1, 1)
    known = look.age_s >= _GOODPUT_SPAN_S
    return np.where(known, np.clip(gained * ideal / _GOODPUT_SPAN_S, 0, 1), np.nan)


def _checkpoint_age(look: Look, _: int) -> Floats:
    """(J, T) as the shared storage shows it, also for a job that has stopped."""
    cycle = look.state.cycle.column()
    captured_s, _step = checkpoint_at(look.jobs, cycle, look.time_s)
    age = look.time_s - (captured_s + cycle.save_s)
    return np.where(np.isfinite(age), np.maximum(age, 0), np.nan)


def _own_time(look: Look, ranks: Ranks, stream: int) -> Floats:
    return ranks.own_s * (1 + 0.006 * look.noise(stream, ranks.gpu))


def _data_wait(look: Look, ranks: Ranks, stream: int) -> Floats:
    return ranks.data_wait_s * (1 + 0.08 * look.noise(stream, ranks.gpu))


def _collective_time(look: Look, ranks: Ranks, stream: int) -> Floats:
    """(S, T) own share of the collectives and the wait for the slowest rank: least for that one."""
    noise = 1 + 0.03 * look.noise(stream, ranks.gpu)
    return (ranks.collective_s + ranks.slowest_s - ranks.own_s) * noise
