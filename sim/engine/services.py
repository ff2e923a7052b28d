"""Inference services: requests come, wait, are batched and answered by replicas, or fail.

Between two ticks a service is a fluid in closed form: the minute's rate in, the replicas' capacity
out, the rest in a queue. Requests are whole numbers, so that ``asked == answered + failed +
queue`` holds exactly at any time. A request that finds no room to be answered within a minute
fails (nginx' ``proxy_read_timeout`` is 60 s).

A replica takes up to ``batch`` waiting requests at once. A request waits for the batch before its
own, uniformly between nothing and all of it, then for its own; near saturation it also waits by
chance, an exponential time of Sakasegawa's mean for many servers (1977).

A step of a service's job is a minute in which all answers came in time: ``good``, the share of the
last minute's, is what ``scaling.pace`` makes a step's time of.
"""

import math

from sim.engine import jobs
from sim.engine.draws import normal, uniform
from sim.engine.heap import push
from sim.engine.jit import compiled
from sim.engine.mix import rhythm
from sim.engine.scaling import MINUTE_S
from sim.engine.tables import Tables
from sim.engine.words import NONE, Kind, Phase, Purpose, Stage

_PATIENCE_S = 60.0
_SPELL_MINUTES = 10  # half of a burst's variance lasts this long: an assumption
_SPELLS = 1 << 40  # where the spells' addresses begin, behind the minutes'
_BUSIEST = 0.995  # chance waits grow up to here; beyond, the fluid's queue does
_PARTS = 8  # of a stretch in which a queue grows or shrinks
_HALVINGS = 40
# A prompt that is kept whole is answered in half the time; memory that keeps prompts holds no
# requests of a batch: assumed.
_KEPT_SAVES = 0.5


@compiled
def on_tick(w: Tables, job: int, version: int) -> None:
    """Account for the last minute and begin the next; a tick out of turn only looks again.

    Requests come whether the job runs or not, so ticks go on over its restarts; ``version`` is
    that of the start that asked, and ends nothing.
    """
    core, row = w.core[0], w.jobs[job]
    at = row["service"]
    if at == NONE:
        return
    service = w.services[at]
    if service["due_s"] == 0:
        begins(w, job)
        return
    _bring(w, job)
    if row["phase"] == Phase.COMPLETED:
        ends(w, job)
        return
    _staff(w, job)
    if core["now_s"] >= service["due_s"]:
        _next_minute(w, job)
    _look(w, job)


@compiled
def begins(w: Tables, job: int) -> None:
    """Let the first request come; replicas warm up from now on."""
    core = w.core[0]
    service = w.services[w.jobs[job]["service"]]
    service["job"] = job
    service["tick_s"] = core["now_s"]
    service["good"] = 1.0
    _staff(w, job)
    _next_minute(w, job)
    _look(w, job)


@compiled
def ends(w: Tables, job: int) -> None:
    """Let no more requests come; those that wait fail."""
    service = w.services[w.jobs[job]["service"]]
    _bring(w, job)
    service["failed"] += service["queue"]
    service["queue"], service["ready"], service["coming"] = 0.0, 0, 0
    service["rate_now"], service["due_s"] = 0.0, math.inf


@compiled
def set_replicas(w: Tables, job: int, count: int) -> bool:
    """Want so many replicas from now on; False: the job's GPUs do not hold them.

    More are ready after their warm-up; fewer stop at once.
    """
    row = w.jobs[job]
    service = w.services[row["service"]]
    if count < 0 or count * service["gpus_each"] > row["given"]:
        return False
    _bring(w, job)
    service["replicas"] = count
    _staff(w, job)
    _look(w, job)
    return True


@compiled
def set_canary(w: Tables, job: int, share: float) -> bool:
    """Let the newest version answer so large a share; False: it is none."""
    if not 0.0 <= share <= 1.0:
        return False
    _bring(w, job)
    w.services[w.jobs[job]["service"]]["canary"] = share
    _look(w, job)
    return True


@compiled
def set_batch(w: Tables, job: int, batch: float) -> None:
    """Let a service answer so many requests together at most."""
    _bring(w, job)
    w.services[w.jobs[job]["service"]]["batch"] = batch
    _look(w, job)


@compiled
def set_cache(w: Tables, job: int, share: float) -> None:
    """Let so large a share of a service's memory keep answered prompts."""
    _bring(w, job)
    w.services[w.jobs[job]["service"]]["cache"] = share
    _look(w, job)


@compiled
def capacity(w: Tables, job: int) -> float:
    """Return how many requests a second a replica answers at most, in full batches."""
    most = _most(w, job)
    full: float = most / _batch_s(w, job, most)
    return full


@compiled
def _most(w: Tables, job: int) -> float:
    """Return the most requests that are answered together in the memory that is left for them."""
    service = w.services[w.jobs[job]["service"]]
    return max(float(service["batch"] * (1.0 - service["cache"])), 1.0)


@compiled
def in_time(limit_s: float, batch_s: float, chance_s: float) -> float:
    """Return the share answered within a limit: uniform over one to two batches, plus chance."""
    more = limit_s - batch_s
    if more <= 0:
        return 0.0
    if chance_s <= 1e-9 * batch_s:
        return min(more / batch_s, 1.0)
    if more <= batch_s:
        return (more - chance_s * (1.0 - math.exp(-more / chance_s))) / batch_s
    late = chance_s / batch_s * (1.0 - math.exp(-batch_s / chance_s))
    return 1.0 - late * math.exp(-(more - batch_s) / chance_s)


@compiled
def _next_minute(w: Tables, job: int) -> None:
    core, at = w.core[0], w.jobs[job]["service"]
    service, now_s = w.services[at], w.core[0]["now_s"]
    minute = int(now_s // MINUTE_S)
    here = normal(core["seed"], Purpose.REQUESTS, at, minute)
    spell = normal(core["seed"], Purpose.REQUESTS, at, _SPELLS + minute // _SPELL_MINUTES)
    burst = service["burst"]
    noise = math.exp(burst * math.sqrt(0.5) * (here + spell) - 0.5 * burst * burst)
    usual = service["rate"] * rhythm(now_s, service["daily"], 0.0)
    service["rate_now"] = usual * noise * service["surge"] * core["load_factor"]
    service["due_s"] = now_s + MINUTE_S
    push(w, service["due_s"], Kind.TICK, job, 0, 0)


@compiled
def _staff(w: Tables, job: int) -> None:
    """Let replicas get ready, stop or begin to warm up, as the job is now."""
    row, now_s = w.jobs[job], w.core[0]["now_s"]
    service = w.services[row["service"]]
    if service["coming"] > 0 and now_s >= service["warm_at_s"]:
        service["ready"] += service["coming"]
        service["coming"] = 0
    wanted = min(service["replicas"], row["given"] // max(service["gpus_each"], 1))
    if not _runs(w, job):
        wanted = 0
    if service["ready"] >= wanted:
        service["ready"], service["coming"] = wanted, 0
    elif service["ready"] + service["coming"] != wanted:
        if service["ready"] + service["coming"] < wanted:
            service["warm_at_s"] = now_s + service["warm_s"]
        service["coming"] = wanted - service["ready"]


@compiled
def _runs(w: Tables, job: int) -> bool:
    row = w.jobs[job]
    return bool(row["phase"] == Phase.RUNNING and row["stage"] == Stage.STEPPING)


@compiled
def _bring(w: Tables, job: int) -> None:
    """Bring a service's queue and counts to now; what changed in between splits the time."""
    row, now_s = w.jobs[job], w.core[0]["now_s"]
    service = w.services[row["service"]]
    if service["ready"] > 0 and not _runs(w, job):
        _flow(w, job, min(max(row["since_s"], service["tick_s"]), now_s))
        service["ready"] = 0
    elif service["coming"] > 0 and service["warm_at_s"] < now_s and _runs(w, job):
        _flow(w, job, max(service["warm_at_s"], service["tick_s"]))
        service["ready"] += service["coming"]
        service["coming"] = 0
    _flow(w, job, now_s)


@compiled
def _flow(w: Tables, job: int, until_s: float) -> None:
    """Let requests come and go at constant rates until a time."""
    at = w.jobs[job]["service"]
    service = w.services[at]
    lasts_s = until_s - service["tick_s"]
    if lasts_s <= 0:
        return
    seed, tick = w.core[0]["seed"], int(service["tick_s"] * 1024.0)
    some = uniform(seed, Purpose.REQUESTS, at, 2 * _SPELLS + tick)
    came = math.floor(service["rate_now"] * lasts_s + some)
    out = capacity(w, job) * service["ready"]
    before = service["queue"]
    served = min(math.floor(out * lasts_s + some), before + came)
    queue = before + came - served
    longest = math.floor(_PATIENCE_S * max(out, 0.0 if out > 0 else service["rate_now"]))
    dropped = max(queue - longest, 0.0)
    queue -= dropped
    bad = math.floor(served * service["canary"] * service["canary_errors"] + some)
    bad = min(bad, served)
    answered = served - bad
    share = _judge(w, job, before / out if out > 0 else 0.0, queue / out if out > 0 else 0.0)
    late = min(math.floor(answered * (1.0 - share) + 0.5), answered)
    service["tick_s"] = until_s
    service["asked"] += came
    service["answered"] += answered
    service["late"] += late
    service["failed"] += bad + dropped
    service["queue"] = queue
    over = answered + bad + dropped
    waits = 1.0 if queue == 0 else 0.0
    service["good"] = (answered - late) / over if over > 0 else waits


@compiled
def _judge(w: Tables, job: int, first_s: float, last_s: float) -> float:
    """Return the share in time while the queue's delay goes from one to the other.

    Writes p50 and p99 of the stretch; infinite where nothing is answered.
    """
    service = w.services[w.jobs[job]["service"]]
    if service["ready"] == 0:
        service["middle_s"], service["latency_s"] = math.inf, math.inf
        return 0.0
    batch_s, chance_s = _waits(w, job)
    share = 0.0
    for part in range(_PARTS):
        delay_s = first_s + (last_s - first_s) * (part + 0.5) / _PARTS
        share += _both(w, job, service["objective_s"] - delay_s, batch_s, chance_s) / _PARTS
    middle_s = _quantile(w, job, 0.5, batch_s, chance_s)
    service["middle_s"] = middle_s + 0.5 * (first_s + last_s)
    service["latency_s"] = _quantile(w, job, 0.99, batch_s, chance_s) + max(first_s, last_s)
    return share


@compiled
def _waits(w: Tables, job: int) -> tuple[float, float]:
    """Return the time of a batch at this minute's rate, and the mean wait by chance."""
    service = w.services[w.jobs[job]["service"]]
    ready, most = service["ready"], capacity(w, job)
    busy = min(service["rate_now"] / ready / most, _BUSIEST)
    one_s, more_s = _batch_s(w, job, 1.0), service["batch_more_s"] * _slowness(w, job)
    more_s *= _unkept(w, job)
    each = service["rate_now"] / ready
    size = each * (one_s - more_s) / (1.0 - each * more_s) if each * more_s < 1.0 else math.inf
    size = min(max(size, 1.0), _most(w, job))
    power = math.sqrt(2.0 * (ready + 1.0)) - 1.0
    return _batch_s(w, job, size), busy**power / (ready * most * (1.0 - busy))


@compiled
def _batch_s(w: Tables, job: int, size: float) -> float:
    service = w.services[w.jobs[job]["service"]]
    one_s = service["batch_s"] + (size - 1.0) * service["batch_more_s"]
    mixed = 1.0 + service["canary"] * (service["canary_slow"] - 1.0)
    return float(one_s * _slowness(w, job) * mixed * _unkept(w, job))


@compiled
def _unkept(w: Tables, job: int) -> float:
    """Return the share of a request's time that is left with what is kept of prompts."""
    return float(1.0 - _KEPT_SAVES * w.services[w.jobs[job]["service"]]["cache"])


@compiled
def _slowness(w: Tables, job: int) -> float:
    """Return how much slower its GPUs are than healthy ones, on average; before a start: 1."""
    return max(w.jobs[job]["pace_s"] / MINUTE_S, 1.0)


@compiled
def _both(w: Tables, job: int, limit_s: float, batch_s: float, chance_s: float) -> float:
    """Return the share in time of both versions' answers; ``batch_s`` is their mean."""
    service = w.services[w.jobs[job]["service"]]
    canary, slow = service["canary"], service["canary_slow"]
    if canary == 0 or slow == 1:
        return in_time(limit_s, batch_s, chance_s)
    own_s = batch_s / (1.0 + canary * (slow - 1.0))
    old, new = in_time(limit_s, own_s, chance_s), in_time(limit_s, own_s * slow, chance_s)
    return float((1.0 - canary) * old + canary * new)


@compiled
def _quantile(w: Tables, job: int, share: float, batch_s: float, chance_s: float) -> float:
    slow = max(w.services[w.jobs[job]["service"]]["canary_slow"], 1.0)
    low, high = 0.0, 2.0 * batch_s * slow - math.log1p(-share) * chance_s + chance_s
    while _both(w, job, high, batch_s, chance_s) < share:
        high *= 2.0
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if _both(w, job, middle, batch_s, chance_s) < share:
            low = middle
        else:
            high = middle
    return high


@compiled
def _look(w: Tables, job: int) -> None:
    """Take over the job's pace and keep a row of what is true from now on."""
    core, at = w.core[0], w.jobs[job]["service"]
    service = w.services[at]
    if _runs(w, job):
        jobs.retime(w, job)
    if not core["keep"]:
        return
    row = w.service_log[core["service_log_n"]]
    core["service_log_n"] += 1
    out = capacity(w, job) * service["ready"]
    row["entity"] = job
    row["start_s"] = core["now_s"]
    row["rate"] = service["rate_now"]
    row["queue"] = service["queue"]
    row["latency_s"] = service["latency_s"]
    row["middle_s"] = service["middle_s"]
    row["errors"] = service["canary"] * service["canary_errors"] if service["ready"] > 0 else 1.0
    row["busy"] = min(service["rate_now"] / out, 1.0) if out > 0 else 0.0
    row["ready"] = service["ready"]
