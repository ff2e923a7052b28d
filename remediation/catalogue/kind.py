"""What a kind of action is: data and pure functions."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from core.cluster import ClusterState
from core.types import Action, Refusal


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
    OWNER = "job's owner"


Check = Callable[[Action, ClusterState], Refusal | None]
Done = Callable[[Action, ClusterState, float], bool]
Project = Callable[[Action, ClusterState], ClusterState]
Cost = Callable[[Action, ClusterState], float]


@dataclass(frozen=True, slots=True)
class ActionKind:
    """One kind of action as data and pure functions.

    deadline_s: longest it may take before it counts as timed out, seconds; ``source`` says why
    inverse: the kind that takes it back, or "" for irreversible
    restores: parameters, each ``prior_NAME``, from which the inverse takes its own ``NAME``: the
              state before; all others are handed on as they are
    agrees: whose agreement it needs
    verified: what shows that it was done and helped, in words; ``done`` is the test
    takes_out: whether a node is out of service afterwards by our hand (``subject.taken_out``)
    stops_job: whether a job stops and resumes from a checkpoint
    optional: a plan goes on without it when it fails
    obstacle(action, state): why it cannot be done now, or None
    done(action, state, started_s): whether its effect, ordered at started_s, shows
    project(action, state): the state that is expected once it is done
    cost(action, state): expected lost GPU-seconds
    """

    name: str
    text: str
    effect: Effect
    deadline_s: float
    source: str
    inverse: str
    agrees: Agrees
    verified: str
    obstacle: Check
    done: Done
    project: Project
    cost: Cost
    restores: tuple[str, ...] = ()
    takes_out: bool = False
    stops_job: bool = False
    optional: bool = False

    @property
    def disruptive(self) -> bool:
        """Say whether it takes a node out of service or stops a job."""
        return self.effect is Effect.DISRUPTS
