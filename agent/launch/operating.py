"""What an operator or the daemon may ask of a launch; each key is answered once, done once."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.launch.jobside.gpumedic_job.rhythm import LEAST_S
from agent.launch.members import Hold, Member, Stage
from agent.launch.plan import Asked, Message

if TYPE_CHECKING:
    from agent.launch.coordinator import Coordinator


# So many newest orders are not done again. They are told to all nodes with each change.
_REMEMBERED = 200


class Operators:
    """Does what is asked of a launch, or says why not."""

    def __init__(self, launch: "Coordinator") -> None:
        self._launch = launch

    def act(self, asked: Asked, now_s: float) -> Message:
        """Do it, once for each key; ``later`` in the answer: it may be asked again soon.

        kind: ``restart_rank`` (target: a rank), ``restart`` (all ranks, each in a new process),
              ``swap_node`` (a node; ``spare`` takes its ranks), ``resize`` (how many nodes at most;
              ``leave`` goes first), ``hold`` and ``release`` (a node), ``checkpoint``, or
              ``checkpoint_interval`` (seconds from one to the next)
        """
        done = self._launch.answers
        if asked.key in done:
            return done[asked.key]
        text = self._act(asked, now_s)
        answer: Message = {"ok": not text, "text": text or "done", "later": text == self._later}
        if not text:
            done[asked.key] = answer
            while len(done) > _REMEMBERED:
                del done[next(iter(done))]
        said = f"{asked.kind} {asked.target}: {text or 'done'}"
        self._launch.say(said, what="asked", key=asked.key, kind=asked.kind, ok=not text)
        return answer

    @property
    def _later(self) -> str:
        return f"not now: the launch is {self._launch.stage.value}"

    def _act(self, asked: Asked, now_s: float) -> str:
        """Return why not, "" where it is done."""
        launch, target = self._launch, asked.target
        said = ""
        match asked.kind:
            case "hold" if target in launch.known:
                said = self._hold(target, Hold(asked.by, asked.why, now_s))
            case "release" if target in launch.known:
                launch.holds.pop(target, None)
            case _ if launch.stage is not Stage.RUNNING:
                said = self._later
            case "restart_rank" if target in {str(seat.rank) for seat in launch.seats}:
                said = self._with_rank(int(target), lambda it: launch.kill(it, "asked for", now_s))
            case "restart":
                self._restart(now_s)
            case "checkpoint" | "checkpoint_interval" if launch.checkpoint is None:
                said = "the script writes no checkpoints: Training(..., checkpoint=FOLDER)"
            case "checkpoint":
                said = self._with_rank(0, lambda rank: launch.tell(rank, kind="save"))
            case "checkpoint_interval":
                said = self._interval(target)
            case "swap_node":
                said = self._swap(target, asked.spare, now_s)
            case "resize" if target.isdecimal() and int(target) >= launch.plan.min_nodes:
                said = self._resize(int(target), asked.leave, now_s)
            case _:
                said = f"there is no {asked.kind} {target!r} here"
        return said

    def _hold(self, name: str, hold: Hold) -> str:
        """Give a node no more ranks; those that it has it keeps."""
        held = self._launch.holds.setdefault(name, hold)
        return "" if held.by == hold.by else f"{held.by} holds it: {held.why}"

    def _restart(self, now_s: float) -> None:
        """Let every rank begin in another process, from the newest state that is kept."""
        launch = self._launch
        if not launch.hooked:
            launch.restart(now_s, "asked for", counts=False)
            return
        for seat in launch.seats:
            seat.uid = None
        launch.again(now_s, "a restart was asked for", step_failed=False)

    def _interval(self, seconds: str) -> str:
        try:
            interval_s = float(seconds)
        except ValueError:
            interval_s = 0.0
        if not LEAST_S <= interval_s < math.inf:
            return f"{seconds!r} is no number of seconds from {LEAST_S:g} on"
        launch = self._launch
        return self._with_rank(
            0, lambda rank: launch.tell(rank, kind="interval", seconds=interval_s)
        )

    def _with_rank(self, rank: int, do: Callable[[Member], object]) -> str:
        """Do it to the process of a rank, if that still steps."""
        member = self._launch.members.get(self._launch.seats[rank].uid or "")
        if member is None:
            return f"rank {rank} has done all its steps"
        do(member)
        return ""

    def _swap(self, name: str, spare: str, now_s: float) -> str:
        launch = self._launch
        if not launch.hooked or launch.seating.nodes() == [name]:
            return "no other node has the state"
        if not launch.seating.uses(name):
            return f"{name} has no ranks here"
        spares = launch.spares()
        if spare and spare not in spares:
            return f"{spare} is no spare node"
        wanted = {spare: spares[spare]} if spare else spares
        if launch.seating.move(name, wanted) is None:
            return "there is no spare node"
        launch.again(now_s, f"node {name} is swapped", step_failed=False)
        return ""

    def _resize(self, nodes: int, leave: str, now_s: float) -> str:
        launch = self._launch
        if not launch.hooked:
            return "the script does not ask for its place"
        fewer = len(launch.seating.nodes()) > nodes
        if fewer and leave and not launch.seating.uses(leave):
            return f"{leave} has no ranks here"
        launch.plan = replace(launch.plan, max_nodes=nodes)
        if fewer and leave:
            launch.seating.drop(leave)
        while len(launch.seating.nodes()) > nodes:
            launch.seating.drop(launch.seating.nodes()[-1])
        unseated = (e for e in launch.members.values() if e.rank is not None)
        if any(not launch.seated(each) for each in unseated):
            launch.again(now_s, f"resized to {nodes} nodes", step_failed=False)
        return ""
