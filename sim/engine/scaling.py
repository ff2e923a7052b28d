"""How long a job's step takes on the nodes it has now, and what it would take with nothing slow.

All times are seconds for a step of the size the job was submitted at, whatever size it has now:
on half of its GPUs a step takes about twice as long, and steps can be added up. So a step is worth
``ideal_s`` times the GPUs held, and ``step_s - ideal_s`` is lost; ``ratio``, the speed at this
size over that asked for, is for reading and not for accounts. The step is ``pace_s + wait_s +
net_s``: computing, waiting for data, communicating. It is infinite where a link is down.

A service's step is a minute in which all requests are answered in time; ``pace_s`` is a minute
times the mean slowness of its GPUs.
"""

import math

from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.thermal import slowdown
from sim.engine.words import NONE, JobKind

MINUTE_S = 60.0
# A ring's edges that cross leaves without need collide on the spine: planned paths cut the time of
# communication by 15 % (C4, HPCA'25), so all edges colliding cost 1 / 0.85 - 1.
_CROSSING = 0.176
# A sample that no cache answers takes a loader's thread this much longer: an assumption.
_MISS = 3.0
_MICRO = 48.0  # micro-batches of a pipeline that names none: Sia's (SOSP'23)
# Gradients that are sent compressed are a fifth as much to send (1-bit Adam, ICML'21: up to 5 times
# less); to compress them makes a step's computing this much longer: assumed.
_COMPRESSED = 0.2
_COMPRESSING = 1.05
_BATCHES = 12  # global batch sizes that are tried for an elastic job


@compiled
def pace(w: Tables, job: int) -> float:
    """Write a job's parts of a step as its nodes are now, and return their sum.

    Every rank of a training waits for the slowest; workers of a parameter server, of a data
    pipeline and replicas of a service do not.
    """
    row = w.jobs[job]
    slow, top = _slowest(w, job)
    kind = row["kind"]
    if kind == JobKind.SERVICE:
        return _service_pace(w, job, _mean(w, job) * top)
    if kind in (JobKind.PARAMETER_SERVER, JobKind.PIPELINE):
        slow = _mean(w, job) * top
    compute_s = row["compute_s"] / top
    bubbles, micro = _bubbles(w, job)
    size, net_size = 1.0, 1.0
    if row["given"] != row["gpus"]:
        size, net_size = _sizes(w, job)
    best_s = compute_s * size
    pace_s = best_s * slow
    if bubbles > 0:
        many = micro * row["gpus"] / row["given"]
        pace_s = best_s * ((bubbles + many * slow) / (bubbles + many))
    host, share, extra = _paths(w, job)
    best_net_s = row["collective_s"] * net_size / (row["batch"] * row["accumulate"])
    net_s = 0.0
    if best_net_s > 0:
        net_s = best_net_s * (1 + _CROSSING * extra) / share if share > 0 else math.inf
    if row["compressed"]:
        net_s, pace_s = net_s * _COMPRESSED, pace_s * _COMPRESSING
    load_s = row["data_s"] * size
    best_wait_s = max(load_s - row["overlap"] * best_s, 0.0)
    wait_s = max(load_s * _loading(w, job, host) - row["overlap"] * pace_s, 0.0)
    ideal_s = best_s + best_wait_s + best_net_s
    if row["demand"] > 0:
        wait_s = max(wait_s, ideal_s / max(storage_share(w), 1e-9) - pace_s - net_s)
    step_s: float = pace_s + wait_s + net_s
    row["pace_s"], row["wait_s"], row["net_s"] = pace_s, wait_s, net_s
    # Tuned beyond what was submitted, a job is faster; its GPUs are not more than fully used.
    row["ideal_s"] = min(ideal_s, step_s)
    asked_s = compute_s + max(row["data_s"] - row["overlap"] * compute_s, 0.0) + row["collective_s"]
    row["ratio"] = asked_s / (best_s + best_wait_s + row["collective_s"] * net_size)
    return step_s


@compiled
def joins(w: Tables, job: int) -> bool:
    """Count what a job reads from shared storage; call it after ``pace``, again after a change.

    True: the storage's share for everybody has changed, so that all readers must be timed again.
    """
    row = w.jobs[job]
    read = row["bytes_per_step"] * (1.0 - _cache(w, job))
    return _demands(w, job, math.floor(read / row["ideal_s"] + 0.5) if row["ideal_s"] > 0 else 0.0)


@compiled
def leaves(w: Tables, job: int) -> bool:
    """Let a job read no more; True as with ``joins``."""
    return _demands(w, job, 0.0)


@compiled
def storage_share(w: Tables) -> float:
    """Return which share of what running jobs want to read the shared storage gives them."""
    wanted: float = w.core[0]["storage_demand"]
    there: float = w.site[0]["storage_bytes_per_s"] * w.core[0]["storage_factor"]
    return min(there / wanted, 1.0) if wanted > 0 else 1.0


@compiled
def iteration_s(w: Tables, model: int, nodes: int, gpus: int, batch: float) -> float:
    """Return the measured time of an iteration with so many samples in all.

    Gradients are accumulated where a GPU's part does not fit it. (Pollux, OSDI'21, section 3.2.)
    """
    row = w.models[model]
    times = max(math.ceil(batch / gpus / row["local_batch"] - 1e-9), 1.0)
    compute_s = row["alpha_c"] + row["beta_c"] * batch / gpus / times
    net_s = 0.0
    if gpus > 1:
        far = max(gpus - 2, 0)
        net_s = row["alpha_r"] + row["beta_r"] * far
        if nodes > 1:
            net_s = row["alpha_n"] + row["beta_n"] * far
    gamma = row["gamma"]
    both_s: float = (compute_s**gamma + net_s**gamma) ** (1.0 / gamma)
    total_s: float = (times - 1.0) * compute_s + both_s
    return total_s


@compiled
def goodput(w: Tables, model: int, nodes: int, gpus: int) -> float:
    """Return the progress a second at the best global batch, in samples of the submitted batch.

    Throughput times statistical efficiency: a batch k times as large makes less than k times the
    progress, by the gradient's noise scale. (Pollux, OSDI'21, section 3.)
    """
    row = w.models[model]
    small = row["batch"]
    large = max(gpus * row["local_batch"], small)
    best = 0.0
    for turn in range(_BATCHES):
        batch = small * (large / small) ** (turn / (_BATCHES - 1))
        more = batch / small
        efficiency = (row["noise"] + 1.0) / (row["noise"] + more)
        best = max(best, efficiency * batch / iteration_s(w, model, nodes, gpus, batch))
    return best


@compiled
def _slowest(w: Tables, job: int) -> tuple[float, float]:
    """Return the slowness of a job's slowest GPU, and the speed of its best type.

    Slowness is against that type's healthy fastest. A node that is the job's alone is looked at
    only where it has changed: most of a large job's have not.
    """
    row = w.jobs[job]
    at = row["first"]
    worst, top = 0.0, 0.0
    for _ in range(row["nodes"]):
        node = w.nodes[at]
        top = max(top, w.types[node["type"]]["speed"])
        slowest = node["slowest"]
        if slowest == 0 or row["given"] < node["gpus"]:
            slowest = _slowest_on(w, job, at)
            node["slowest"] = slowest if row["given"] >= node["gpus"] else 0.0
        worst = max(worst, slowest)
        at = node["next"]
    if row["nodes"] == 0:
        return 1.0, 1.0
    return worst * top, top


@compiled
def _slowest_on(w: Tables, job: int, at: int) -> float:
    """Return the slowness of the slowest of a job's GPUs on a node, against an H100."""
    node, worst = w.nodes[at], 0.0
    for gpu in range(node["gpus"]):
        if node["job"][gpu] == job:
            worst = max(worst, _times(w, at, gpu))
    return worst


@compiled
def _mean(w: Tables, job: int) -> float:
    """Return the mean slowness of a job's GPUs against an H100: that of their speeds."""
    row = w.jobs[job]
    at, speeds, count = row["first"], 0.0, 0
    for _ in range(row["nodes"]):
        node = w.nodes[at]
        for gpu in range(node["gpus"]):
            if node["job"][gpu] == job:
                speeds += 1.0 / _times(w, at, gpu)
                count += 1
        at = node["next"]
    return count / speeds if count > 0 else 1.0


@compiled
def _times(w: Tables, at: int, gpu: int) -> float:
    """Return how many times longer a GPU takes than a healthy H100."""
    node = w.nodes[at]
    times = float(node["slowness"][gpu] * node["slow"][gpu] / w.types[node["type"]]["speed"])
    if node["clock"][gpu] != 1.0:
        times *= slowdown(node["clock"][gpu])
    return times


@compiled
def _paths(w: Tables, job: int) -> tuple[float, float, float]:
    """Return the worst host, the worst share of bandwidth, and the share of needless crossings.

    Ranks form a ring in their order; as many edges as there are leaves in need must cross.
    """
    row = w.jobs[job]
    at = row["first"]
    nodes = row["nodes"]
    host, share, crossings = 1.0, 1.0, 0
    leaf = w.nodes[at]["leaf"]
    needed = (nodes - 1) // max(w.domains[leaf]["count"], 1)
    for _ in range(nodes):
        node = w.nodes[at]
        host = max(host, node["host"])
        if nodes > 1:
            domain = w.domains[node["leaf"]]
            share = min(share, node["network"], domain["factor"] if domain["up"] else 0.0)
            crossings += 1 if node["leaf"] != leaf else 0
            leaf = node["leaf"]
        at = node["next"]
    return host, share, max(crossings - needed, 0) / max(nodes - 1, 1)


@compiled
def _bubbles(w: Tables, job: int) -> tuple[float, float]:
    """Return how many micro-batches a pipeline stands empty for, and how many pass through it."""
    row = w.jobs[job]
    stages, micro = row["pipeline"], row["micro"]
    if stages <= 1:
        return 0.0, 1.0
    return stages - 1.0, micro if micro > 0 else _MICRO


@compiled
def _sizes(w: Tables, job: int) -> tuple[float, float]:
    """Return how many times longer computing and communicating take than at the size asked for.

    The global batch stays, so fewer replicas each do more of it; a pipeline's bubble stays too.
    """
    row = w.jobs[job]
    asked, given = row["gpus"], row["given"]
    if given < 1:
        return 1.0, 1.0
    per = max(w.nodes[row["first"]]["gpus"], 1)
    nodes = (asked + per - 1) // per
    if row["model"] != NONE:
        now = goodput(w, row["model"], row["nodes"], given)
        size = goodput(w, row["model"], nodes, asked) / now
        return size, size
    bubbles, micro = _bubbles(w, job)
    before, after = _ring(w, job, asked, nodes), _ring(w, job, given, row["nodes"])
    size = (bubbles + micro * asked / given) / (bubbles + micro)
    return size, after / before if before > 0 else 1.0


@compiled
def _ring(w: Tables, job: int, gpus: int, nodes: int) -> float:
    """Return seconds a byte for an all-reduce in two levels: within NVLink domains, then across.

    Rings within move (g - 1) / g of the data over a GPU's link, rings across (d - 1) / d of a g-th
    over its share of the NICs.
    """
    node = w.nodes[w.jobs[job]["first"]]
    link = w.types[node["type"]]["link_bytes_per_s"]
    own = max(node["gpus"], 1)
    nic = node["nics"] * node["nic_bytes_per_s"] / own
    if not (link > 0 and nic > 0):
        return 0.0
    domains = max(nodes // max(_linked(w, job), 1), 1)
    near = max(gpus / domains, 1.0)
    per_byte_s: float = (near - 1) / near / link + (domains - 1) / domains / near / nic
    return per_byte_s


@compiled
def _linked(w: Tables, job: int) -> int:
    """Return how many nodes of the job share its first node's NVLink domain."""
    row = w.jobs[job]
    at, count = row["first"], 0
    home = w.nodes[at]["nvlink"]
    for _ in range(row["nodes"]):
        if w.nodes[at]["nvlink"] != home:
            break
        count += 1
        at = w.nodes[at]["next"]
    return count


@compiled
def _loading(w: Tables, job: int, host: float) -> float:
    """Return how many times longer loading takes than as submitted.

    Who has no cache to lose loses what its loaders have read ahead, which counts as much.
    """
    row = w.jobs[job]
    missed = (1.0 + _MISS * (1.0 - _cache(w, job))) / (1.0 + _MISS * (1.0 - row["cache_asked"]))
    if row["cache_asked"] <= 1.0 - row["starved"]:
        missed *= 1.0 + _MISS * row["starved"]
    times: float = host / row["loaders"] * missed
    return times


@compiled
def _cache(w: Tables, job: int) -> float:
    """Return the share of its reads that a cache answers, with what a fault keeps from it."""
    row = w.jobs[job]
    return float(min(row["cache"], 1.0 - row["starved"]))


@compiled
def _demands(w: Tables, job: int, demand: float) -> bool:
    core, row = w.core[0], w.jobs[job]
    before = storage_share(w)
    core["storage_demand"] += demand - row["demand"]
    row["demand"] = demand
    return before != storage_share(w)


@compiled
def _service_pace(w: Tables, job: int, mean: float) -> float:
    row = w.jobs[job]
    good = w.services[row["service"]]["good"]
    row["pace_s"], row["wait_s"], row["net_s"] = MINUTE_S * mean, 0.0, 0.0
    row["ideal_s"], row["ratio"] = MINUTE_S, good
    return MINUTE_S / good if good > 0 else math.inf
