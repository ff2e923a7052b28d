"""What needs are seen from, and what one is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from core.cluster import ClusterState
from core.site import SiteFigures
from core.target import Target
from core.types import Action
from remediation.capacity.provision import Ahead, Prices
from remediation.guards import Maintenance

NewId = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Need:
    """What would be better.

    plan_id: that its actions' keys begin with
    fault:   what it is called; saved_gpu_s: what is lost without it until somebody sees to it, at
             most a day's worth, GPU-seconds
    """

    plan_id: str
    fault: str
    target: Target
    title: str
    actions: tuple[Action, ...]
    reason: str
    saved_gpu_s: float


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the site wants, by its settings.

    use_spares:    a job that waits may have spares beyond those to be kept
    stop_others:   and the nodes of less urgent jobs
    most_slowdown: of a step, for which power may be saved; 0: power is left alone
    windows:       when people work on which nodes
    """

    prices: Prices = field(default_factory=Prices)
    use_spares: bool = False
    stop_others: bool = False
    most_slowdown: float = 0.0
    windows: tuple[Maintenance, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """What needs are seen from.

    ahead: GPUs that will be wanted; faults_a_day: in the whole cluster;
        watched_days: for how long that was looked at
    limited: nodes whose power an earlier need has limited, to so many watts
    """

    state: ClusterState
    now_s: float
    ahead: Sequence[Ahead] = ()
    wishes: Wishes = field(default_factory=Wishes)
    site: SiteFigures = field(default_factory=SiteFigures)
    faults_a_day: float = 0.0
    watched_days: float = 0.0
    limited: Mapping[str, float] = field(default_factory=dict)
