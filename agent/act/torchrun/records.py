"""What launches say of themselves, read into plain data; see ``agent.launch.status``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Line = Mapping[str, Any]
"""A line of a launch's journal: ``n``, ``time_s``, ``text``, ``what`` and more by ``what``."""


@dataclass(frozen=True, slots=True)
class LaunchNode:
    """A machine that a launch has, or has lost, and since when; used: it has ranks.

    held_by: "" where nobody keeps ranks off it
    """

    name: str
    used: bool
    lost: bool
    since_s: float
    held_by: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class LaunchRank:
    """A rank; computes: share of the time in which it did not wait for others, None: not known."""

    number: int
    node: str
    step: int | None
    computes: float | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The newest that the training has finished; seconds; problem: why the last was not.

    written: the script has said that it writes any
    """

    saved_s: float | None = None
    stall_s: float | None = None
    interval_s: float | None = None
    folder: str = ""
    problem: str = ""
    written: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch.

    job:      what it is called; launches of one name are told apart by their process
    since_s:  since when it is in its stage
    step_s:   of a step now, None before the second
    most:     nodes that it was started for; wanted: that it may have now
    code:     with which it ended, None while it lives
    heirs:    nodes of which one may go on without who coordinates; none where they are too few
    """

    job: str
    control: Path
    stage: str
    hooked: bool
    since_s: float
    nodes: tuple[LaunchNode, ...]
    ranks: tuple[LaunchRank, ...]
    per_node: int
    least: int
    most: int
    wanted: int
    restarts: int
    step_s: float | None
    checkpoint: Checkpoint
    lines: tuple[Line, ...]
    code: int | None = None
    heirs: tuple[str, ...] = ()

    @property
    def step(self) -> int | None:
        """Return the step of the rank that is furthest behind."""
        return min((rank.step for rank in self.ranks if rank.step is not None), default=None)

    def nodes_used(self) -> tuple[str, ...]:
        """Return the nodes with ranks, in the order of these; of one that has ended, all."""
        if self.code is not None and not self.ranks:
            return tuple(node.name for node in self.nodes if not node.lost)
        return tuple(dict.fromkeys(rank.node for rank in self.ranks))

    def has_lost(self, name: str) -> bool:
        """Say whether the node was one of its own and is gone."""
        return any(node.name == name and node.lost for node in self.nodes)


def launch_of(said: Mapping[str, Any]) -> Launch:
    """Read one launch's status; KeyError or ValueError where it is another version's."""
    plan = said["plan"]
    return Launch(
        job=job_name(said["run_id"], Path(said["control"])),
        control=Path(said["control"]),
        stage=said["stage"],
        hooked=said["hooked"],
        since_s=said["since_s"],
        nodes=(
            *(_node(said, each["name"], used=each["used"]) for each in said["nodes"]),
            *(_node(said, name, lost=True) for name in said["lost"]),
        ),
        ranks=tuple(
            LaunchRank(each["rank"], each["node"], each["step"], each["computes"])
            for each in said["ranks"]
        ),
        per_node=plan["per_node"],
        least=plan["min_nodes"],
        most=plan["most_nodes"],
        wanted=plan["max_nodes"],
        restarts=said["restarts"] + said["handovers"],
        step_s=said["step_s"] or None,
        checkpoint=_checkpoint(said.get("checkpoint") or {}),
        lines=tuple(said["journal"]),
        code=said.get("code"),
        heirs=tuple(said.get("heirs", ())),
    )


def job_name(run_id: str, control: Path) -> str:
    """Return what a launch's job is called: its --rdzv-id, or by its process where it has none."""
    return run_id if run_id != "none" else f"launch-{control.name.rpartition('.')[2]}"


def _node(
    said: Mapping[str, Any], name: str, *, used: bool = False, lost: bool = False
) -> LaunchNode:
    held = said["holds"].get(name, {"by": "", "why": ""})
    since_s = said["lost" if lost else "joined"].get(name, 0.0)
    return LaunchNode(name, used, lost, since_s, held["by"], held["why"])


def _checkpoint(said: Mapping[str, Any]) -> Checkpoint:
    return Checkpoint(
        saved_s=said.get("saved_s"),
        stall_s=said.get("stall_s"),
        interval_s=said.get("interval_s"),
        folder=said.get("folder") or "",
        problem=said.get("problem") or "",
        written=bool(said),
    )
