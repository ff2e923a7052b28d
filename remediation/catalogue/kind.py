"""What a kind of action is: data and pure functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from core.cluster import ClusterState
from core.types import Action, Refusal, Scalar


class Effect(StrEnum):
    """What a kind does to the work: guards block disrupting, never putting back."""

    DISRUPTS = "disrupts"
    HARMLESS = "harmless"
    PUTS_BACK = "puts_back"


class Agrees(StrEnum):
    """Whose agreement a kind needs beside the guards'.

    ``operator``: of whoever runs the cluster, as the autonomy of the action says
    ``owner``: of the job's owner: never done in auto unless the site has allowed it
    """

    NOBODY = "nobody"
    OPERATOR = "operator"
    OWNER = "owner"


Check = Callable[[Action, ClusterState], Refusal | None]
Done = Callable[[Action, ClusterState, float], bool]
Project = Callable[[Action, ClusterState], ClusterState]
Cost = Callable[[Action, ClusterState], float]
Prior = Callable[[Action, ClusterState], Mapping[str, Scalar]]

PRIOR = "prior_"
ONE_CALL = "one call to the scheduler: four cycles of 15 s and as much again"
SAVE_AND_START = (
    "state saved (200 s for 175B to HDFS, ByteDance), then a cold start (900 s at 98k, FT-HSDP)"
)


def nothing_prior(_: Action, __: ClusterState) -> Mapping[str, Scalar]:
    """Return no parameters: nothing of the state before is needed to take it back."""
    return {}


@dataclass(frozen=True, slots=True)
class ActionKind:
    """One kind of action as data and pure functions.

    deadline_s: longest it may take before it counts as timed out, seconds; ``source`` says why
    inverse: the kind that takes it back, or "" for irreversible
    restores: the inverse's parameters; each takes the value of ``prior_NAME`` of the action
    agrees: whose agreement it needs
    verified: what shows that it was done and helped, in words; ``done`` is the test
    takes_out: whether nodes are out of service afterwards by our hand (``subject.taken_out``)
    stops_job: whether a job stops and resumes from a checkpoint
    saves: the order itself writes the job's state before it stops it, where it can
    optional: a plan goes on without it when it fails
    kept: it stays done when a later step of its plan fails: only a plan that did not help is
        taken back
    lasting: what it changes is meant to end once the trouble is over: then its inverse is due
    obstacle(action, state): why it cannot be done now, or None
    done(action, state, started_s): whether its effect, ordered at started_s, shows
    project(action, state): the state that is expected once it is done
    cost(action, state): expected lost GPU-seconds until what it stops works again
    prior(action, state): the parameters ``prior_NAME`` that hold the state before it
    """

    name: str
    text: str
    effect: Effect
    deadline_s: float
    source: str
    agrees: Agrees
    verified: str
    obstacle: Check
    done: Done
    project: Project
    cost: Cost
    inverse: str = ""
    restores: tuple[str, ...] = ()
    prior: Prior = nothing_prior
    takes_out: bool = False
    stops_job: bool = False
    saves: bool = False
    optional: bool = False
    kept: bool = False
    lasting: bool = False

    @property
    def disruptive(self) -> bool:
        """Say whether it takes a node out of service or stops a job."""
        return self.effect is Effect.DISRUPTS
