"""Which node has which job: lists of nodes by free GPUs, and giving and taking them back.

A job of fewer GPUs than a node has shares one with others; every other job has whole nodes, in
rank order. Nodes of a world have equally many GPUs. A node is on the list of its number of free
GPUs while jobs may be put on it, a spare with none in use on list 0; so to find a place costs
nothing for nodes that have none.
"""

from sim.engine.accounts import count_job, held
from sim.engine.jit import compiled
from sim.engine.machines import heed, ready
from sim.engine.tables import Tables
from sim.engine.words import NONE

_SPARES = 0  # the list of spares: no node with a free GPU is on it


@compiled
def lay_out(w: Tables) -> None:
    """Put all nodes of a new world on their lists; the lowest of each is taken first."""
    core = w.core[0]
    core["free_nodes"] = 0
    core["holder"], core["reserved_job"] = NONE, NONE
    w.buckets[:] = NONE
    for row in range(len(w.domains)):
        w.domains[row]["free_nodes"] = 0
    for node in range(len(w.nodes) - 1, -1, -1):
        w.nodes[node]["bucket"] = NONE
        offer(w, node)


@compiled
def offer(w: Tables, node: int) -> None:
    """Put a node on the list it belongs to; call it after whatever changes that."""
    row = w.nodes[node]
    wanted = NONE
    if row["free"] > 0 and ready(w, node):
        if not row["pool"]:
            wanted = row["free"]
        elif row["free"] == row["gpus"]:
            wanted = _SPARES
    if wanted == row["bucket"]:
        return
    if row["bucket"] != NONE:
        _unlist(w, node)
    if wanted != NONE:
        _list(w, node, wanted)


@compiled
def needs(w: Tables, gpus: int) -> int:
    """Return how many whole nodes so many GPUs are; 0: a part of one."""
    each = int(w.nodes[0]["gpus"])
    return 0 if gpus < each else (gpus + each - 1) // each


@compiled
def find_one(w: Tables, gpus: int) -> int:
    """Return a node with so many free GPUs and as few more as can be, or NONE."""
    for free in range(max(gpus, 1), len(w.buckets)):
        if w.buckets[free] != NONE:
            return int(w.buckets[free])
    return NONE


@compiled
def give_part(w: Tables, job: int, node: int) -> None:
    """Give a job without nodes as many free GPUs of a node as it asked for."""
    count_job(w, job)
    job_row, row = w.jobs[job], w.nodes[node]
    _join(w, job)
    job_row["first"], job_row["last"], job_row["nodes"] = node, node, 1
    wanted = job_row["gpus"]
    job_row["given"] = wanted
    for gpu in range(row["gpus"]):
        if wanted > 0 and row["job"][gpu] == NONE:
            row["job"][gpu] = job
            wanted -= 1
    row["held_by"] = job
    held(w, node, job_row["given"], 1)
    offer(w, node)
    heed(w, node)


@compiled
def append(w: Tables, job: int, node: int) -> None:
    """Give a job a node of which nobody has a GPU, as its last ranks."""
    count_job(w, job)
    job_row, row = w.jobs[job], w.nodes[node]
    if job_row["nodes"] == 0:
        _join(w, job)
        job_row["first"] = node
    else:
        w.nodes[job_row["last"]]["next"] = node
    job_row["last"] = node
    _hold(w, job, node, job_row["given"], NONE)
    job_row["nodes"] += 1
    job_row["given"] += row["gpus"]


@compiled
def append_run(w: Tables, job: int, first: int, count: int) -> None:
    """Give a job nodes that stand together and of which nobody has a GPU."""
    for node in range(first, first + count):
        append(w, job, node)


@compiled
def append_free(w: Tables, job: int, count: int) -> None:
    """Give a job free nodes under few leaves; there are that many (``core.free_nodes``).

    The leaf with the least that is enough, else the one with the most and so on.
    """
    if count == 1:
        append(w, job, find_one(w, w.nodes[0]["gpus"]))
        return
    while count > 0:
        leaf = _leaf_for(w, count)
        domain = w.domains[leaf]
        many = min(count, domain["free_nodes"])
        count -= many
        at = domain["first"]
        while many > 0:
            node = w.members[at]
            if _is_free(w, node):
                append(w, job, node)
                many -= 1
            at += 1


@compiled
def spare(w: Tables) -> int:
    """Return a spare that is ready and free, or NONE."""
    return int(w.buckets[_SPARES])


@compiled
def count_spares(w: Tables, most: int) -> int:
    """Return how many spares are ready and free, counting no further than ``most``."""
    node, count = w.buckets[_SPARES], 0
    while node != NONE and count < most:
        count += 1
        node = w.nodes[node]["bucket_next"]
    return count


@compiled
def swap(w: Tables, job: int, node: int, other: int) -> None:
    """Give a job a node of which nobody has a GPU for one of its whole nodes, ranks and all."""
    count_job(w, job)
    job_row, row = w.jobs[job], w.nodes[node]
    before = _before(w, job, node)
    rank, following = row["rank"], row["next"]
    _let_go(w, job, node)
    _hold(w, job, other, rank, following)
    if before == NONE:
        job_row["first"] = other
    else:
        w.nodes[before]["next"] = other
    if job_row["last"] == node:
        job_row["last"] = other


@compiled
def drop(w: Tables, job: int, node: int) -> None:
    """Take one of its whole nodes from a job; the ranks behind move up."""
    count_job(w, job)
    job_row, gpus = w.jobs[job], w.nodes[node]["gpus"]
    before, following = _before(w, job, node), w.nodes[node]["next"]
    _let_go(w, job, node)
    if before == NONE:
        job_row["first"] = following
    else:
        w.nodes[before]["next"] = following
    if job_row["last"] == node:
        job_row["last"] = before
    job_row["nodes"] -= 1
    job_row["given"] -= gpus
    while following != NONE:
        w.nodes[following]["rank"] -= gpus
        following = w.nodes[following]["next"]


@compiled
def release_first(w: Tables, job: int) -> int:
    """Take its first node from a job that has one, and return it."""
    count_job(w, job)
    row = w.jobs[job]
    node = row["first"]
    following, gpus = w.nodes[node]["next"], _let_go(w, job, node)
    row["first"] = following
    row["nodes"] -= 1
    row["given"] -= gpus
    if row["nodes"] == 0:
        row["first"], row["last"] = NONE, NONE
        _leave(w, job)
    return int(node)


@compiled
def first_on(w: Tables, node: int, after: int) -> int:
    """Return the lowest job above ``after`` that has GPUs of a node, or NONE: a walk over them."""
    row, found = w.nodes[node], NONE
    for gpu in range(row["gpus"]):
        job = row["job"][gpu]
        if job > after and (found == NONE or job < found):
            found = job
    return int(found)


@compiled
def _join(w: Tables, job: int) -> None:
    """Put a job on the list of those that have GPUs."""
    core, row = w.core[0], w.jobs[job]
    row["holder_next"], row["holder_prev"] = core["holder"], NONE
    if core["holder"] != NONE:
        w.jobs[core["holder"]]["holder_prev"] = job
    core["holder"] = job


@compiled
def _leave(w: Tables, job: int) -> None:
    row = w.jobs[job]
    if row["holder_prev"] == NONE:
        w.core[0]["holder"] = row["holder_next"]
    else:
        w.jobs[row["holder_prev"]]["holder_next"] = row["holder_next"]
    if row["holder_next"] != NONE:
        w.jobs[row["holder_next"]]["holder_prev"] = row["holder_prev"]


@compiled
def _hold(w: Tables, job: int, node: int, rank: int, following: int) -> None:
    row = w.nodes[node]
    for gpu in range(row["gpus"]):
        row["job"][gpu] = job
    row["held_by"], row["rank"], row["next"] = job, rank, following
    held(w, node, row["gpus"], 1)
    offer(w, node)
    heed(w, node)


@compiled
def _let_go(w: Tables, job: int, node: int) -> int:
    """Take the job's GPUs of a node from it; return how many."""
    row, gpus = w.nodes[node], 0
    for gpu in range(row["gpus"]):
        if row["job"][gpu] == job:
            row["job"][gpu] = NONE
            gpus += 1
    row["held_by"], row["rank"], row["next"] = first_on(w, node, NONE), NONE, NONE
    held(w, node, gpus, -1)
    offer(w, node)
    heed(w, node)
    return gpus


@compiled
def _before(w: Tables, job: int, node: int) -> int:
    """Return the node before one of a job's nodes in rank order, or NONE."""
    before, at = NONE, w.jobs[job]["first"]
    while at != node:
        before, at = at, w.nodes[at]["next"]
    return int(before)


@compiled
def _is_free(w: Tables, node: int) -> bool:
    row = w.nodes[node]
    return bool(row["bucket"] == row["gpus"])


@compiled
def _leaf_for(w: Tables, count: int) -> int:
    """Return the leaf with the fewest free nodes that are enough, or with the most."""
    best, enough = 0, False
    leaves = 1 + w.nodes[-1]["leaf"]  # nodes are in the order of their leaves
    for leaf in range(leaves):
        free, so_far = w.domains[leaf]["free_nodes"], w.domains[best]["free_nodes"]
        if free >= count:
            if not enough or free < so_far:
                best, enough = leaf, True
        elif not enough and free > so_far:
            best = leaf
    return best


@compiled
def _list(w: Tables, node: int, bucket: int) -> None:
    row, first = w.nodes[node], w.buckets[bucket]
    row["bucket"], row["bucket_next"], row["bucket_prev"] = bucket, first, NONE
    if first != NONE:
        w.nodes[first]["bucket_prev"] = node
    w.buckets[bucket] = node
    if bucket == row["gpus"]:
        w.core[0]["free_nodes"] += 1
        w.domains[row["leaf"]]["free_nodes"] += 1


@compiled
def _unlist(w: Tables, node: int) -> None:
    row = w.nodes[node]
    if row["bucket"] == row["gpus"]:
        w.core[0]["free_nodes"] -= 1
        w.domains[row["leaf"]]["free_nodes"] -= 1
    if row["bucket_prev"] == NONE:
        w.buckets[row["bucket"]] = row["bucket_next"]
    else:
        w.nodes[row["bucket_prev"]]["bucket_next"] = row["bucket_next"]
    if row["bucket_next"] != NONE:
        w.nodes[row["bucket_next"]]["bucket_prev"] = row["bucket_prev"]
    row["bucket"] = NONE
