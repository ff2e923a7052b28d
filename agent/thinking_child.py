"""What the process that thinks does: keeps the policies that look ahead, and chooses when asked.

It is spawned by ``agent.thinking``: the controller's own process never rolls out.
"""

from functools import cache
from math import nan

from core.choice import Choice
from core.cluster import ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.errors import InputError
from core.site import SiteFigures
from core.target import Target
from core.topology import flat_topology
from core.types import Cause, Diagnosis, Event, Incident, IncidentState, Severity
from remediation.deciding.chooser import Chooser, Moment, Seen, Thought
from remediation.deciding.choosing import LiveMoment
from remediation.deciding.plans import Made
from remediation.deciding.policy import Past
from remediation.evaluation.exploring import Exploring
from remediation.evaluation.policies import looking_ahead, shipped_network
from remediation.twin.lookahead import Looked, TwinLookahead, TwinSettings

TWIN = "twin"
_NODES, _GPUS = 4, 8


def think(asked: tuple[str, float, Seen]) -> Thought:
    """Return what a policy chooses; asked: its name, its share of chance, the moment."""
    policy, explore, seen = asked
    chooser: Chooser = _Once(_chooser(policy))
    chances: tuple[float, ...] = ()
    if explore > 0:
        exploring = Exploring(chooser, share=explore)
        chances, chooser = tuple(exploring.chances(seen).tolist()), exploring
    choice = chooser.choose(seen)
    return Thought(choice, chooser.name, chooser.version, chances, _losses(_chooser(policy).looked))


def _losses(looked: Looked | None) -> tuple[float, ...]:
    """Return what the last look ahead expects each choice to lose; empty where there was none."""
    if looked is None or not looked.expected:
        return ()
    tried = looked.expected
    return tuple(tried[item].loss_gpu_s if item in tried else nan for item in Choice)


def warm(policies: tuple[str, ...]) -> None:
    """Compile and load all that a decision of these policies needs, on a cluster made up for it."""
    for policy in policies:
        _chooser(policy).choose(_made_up())


class _Once:
    """Chooses once, however often it is asked about one moment."""

    def __init__(self, chooser: Chooser) -> None:
        self.name, self.version = chooser.name, chooser.version
        self._chooser = chooser
        self._last: tuple[Moment, Choice] | None = None

    def choose(self, moment: Moment) -> Choice:
        """Return what is chosen, from the last time where the moment is the same."""
        if self._last is None or self._last[0] is not moment:
            self._last = (moment, self._chooser.choose(moment))
        return self._last[1]


@cache
def _chooser(policy: str) -> TwinLookahead:
    if policy != TWIN:
        raise InputError(f"no policy {policy!r} thinks in a process of its own; {TWIN} does.")
    return looking_ahead(shipped_network(), TwinSettings())


def _made_up() -> Moment:
    """Return a moment in which a job has crashed on a node that is likely broken."""
    now_s = 1e9
    gpus = {f"n{k}": [f"g{k}-{g}" for g in range(_GPUS)] for k in range(_NODES)}
    used = ("n0", "n1")
    topology = flat_topology(gpus, {"job": [gpu for name in used for gpu in gpus[name]]})
    nodes = tuple(
        NodeState(name, NodeCondition.READY, spare=number == _NODES - 1)
        for number, name in enumerate(gpus)
    )
    job = JobState(
        "job", JobPhase.STOPPED, used, len(used) * _GPUS, now_s - 60.0, checkpoint_s=now_s - 600.0
    )
    state = ClusterState(now_s, topology, nodes, (job,))
    where = Target(node="n0", gpu="g0-0")
    said = Event(where, now_s - 60.0, "xid", "79", "it fell off the bus", Severity.CRITICAL)
    incident = Incident(
        *("warm", IncidentState.OPEN, Severity.CRITICAL, now_s - 60.0, now_s, None, "warm"),
        targets=(where,),
        jobs=("job",),
        events=(said,),
    )
    cause = Cause(where, "gpu_fallen_off_bus", 0.9)
    diagnosis = Diagnosis("warm", now_s, (cause,), 0.1, "warm")
    made = Made("warm", "warm", now_s, "warm", "")
    moment = LiveMoment(incident, diagnosis, state, now_s, made, Past(), SiteFigures())
    return Seen.of(moment)
