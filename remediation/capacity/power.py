"""Power that a training can do without: its GPUs draw less, and its steps hardly take longer.

Power grows with the clock to the power of 2.4 and a step's computing with 1 / clock, so the last
clocks are the dear ones (catalogue.costs has where the figures come from).
"""

from collections.abc import Iterable, Sequence

from core.cluster import JobPhase
from core.target import Target
from remediation.capacity.look import Need, NewId, Outlook
from remediation.catalogue import LIMIT_POWER, first_obstacle, make
from remediation.catalogue.costs import watts_for

POWER, FULL_POWER = "power_to_spare", "power_limited"
# One order a node, and guards.max_actions_per_hour counts them: a job with more nodes would take
# them from what heals.
MOST_NODES = 8


def power_to_spare(look: Outlook, new_id: NewId) -> Iterable[Need]:
    """Yield a limit for each training that has none yet; the end of one that nobody wants now."""
    slower = look.wishes.most_slowdown
    if not slower:
        yield from _freed(look, new_id)
        return
    watts = watts_for(1.0 + slower)
    for job in look.state.jobs:
        trains = job.phase is JobPhase.RUNNING and job.service is None
        if not trains or len(job.nodes) > MOST_NODES:
            continue
        known = (look.state.node(name) for name in job.nodes)
        names = [
            node.name
            for node in known
            if node is not None and (node.power_watts is None or node.power_watts > watts)
        ]
        reason = (
            f"At {watts:.0f} W a GPU, a step of job {job.id} takes at most {slower:.0%} longer "
            "(capacity.most_slowdown)."
        )
        about = (POWER, Target(job=job.id), f"job {job.id} could draw less power", reason)
        yield from _limits(look, names, watts, about=about, plan_id=new_id())


def _freed(look: Outlook, new_id: NewId) -> Iterable[Need]:
    """Yield the end of the limits of earlier needs; those that others have set are theirs."""
    names = [
        node.name
        for node in look.state.nodes
        if node.power_watts is not None and node.power_watts == look.limited.get(node.name)
    ][:MOST_NODES]
    reason = "capacity.most_slowdown is 0: no step is to take longer any more."
    about = (FULL_POWER, Target(), "power is limited, and no longer by the settings", reason)
    yield from _limits(look, names, 0.0, about=about, plan_id=new_id())


def _limits(
    look: Outlook,
    names: Sequence[str],
    watts: float,
    *,
    about: tuple[str, Target, str, str],
    plan_id: str,
) -> Iterable[Need]:
    """Yield the need, (fault, target, title, reason), to hold nodes to so many watts."""
    params = {"watts": watts, "most_slowdown": look.wishes.most_slowdown}
    actions = tuple(
        make(LIMIT_POWER, Target(node=name), params, plan_id=plan_id, step=number)
        for number, name in enumerate(names)
    )
    fault, target, title, reason = about
    if actions and first_obstacle(actions, look.state) is None:
        yield Need(plan_id, fault, target, title, actions, reason, saved_gpu_s=0.0)
