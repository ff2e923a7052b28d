"""What the node service is to do, in plain values: the process that stays has no settings' code."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from agent.checks.suite import Wanted


@dataclass(frozen=True, slots=True)
class NodePlan:
    """The settings of the node service.

    listen:     where its page is served, address:port
    volumes:    mount points to watch; empty: every file system on a disk or a file server
    interval_s: time between two readings
    dcgm_names: whether the page has dcgm-exporter's names beside ours
    kernel_log: whether this machine's kernel log is read
    orders_token: file with the token that orders must bring; empty: none are taken
    state_dir:  where the kernel's log is read on from after a restart; empty: not kept
    duration_s: how long it runs; 0: until it is stopped
    """

    node: str
    listen: str
    volumes: tuple[str, ...] = ()
    interval_s: float = 15.0
    dcgm_names: bool = False
    kernel_log: bool = True
    orders_token: str = ""
    checks: Wanted = field(default_factory=Wanted)
    checks_interval_s: float = 60.0
    log_level: str = "info"
    log_form: str = "auto"
    state_dir: str = ""
    duration_s: float = 0.0


def written(plan: NodePlan) -> str:
    """Return the plan as one line of JSON."""
    return json.dumps(asdict(plan), default=str)


def read(text: str) -> NodePlan:
    """Return the plan that ``written`` wrote."""
    data = json.loads(text)
    given = data.pop("checks")
    lists = {name: tuple(given[name]) for name in ("skip", "progress")}
    checks = Wanted(**given | lists | {"plugins": Path(given["plugins"])})
    return NodePlan(**data | {"volumes": tuple(data["volumes"])}, checks=checks)
