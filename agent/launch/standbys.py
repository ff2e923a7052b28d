"""Standbys: workers of a launch that are warm and have no rank; they take seats that are empty."""

from typing import TYPE_CHECKING

from agent.launch.environment import process_environment
from agent.launch.members import Member, Seat, Stage, Stand

if TYPE_CHECKING:
    from agent.launch.coordinator import Coordinator

_FAILURES = 3
_UNHOOKED_S = 20.0


class Standbys:
    """Keeps as many as are wanted, and gives ranks to them."""

    def __init__(self, launch: "Coordinator") -> None:
        self._launch = launch

    def ready(self, node: str) -> list[Member]:
        """Return those of a node that wait for a rank."""
        return self._standing(node, Stand.READY)

    def fill(self, seat: Seat, now_s: float) -> None:
        """Give a rank to a standby of its node, or to a new process where none is there."""
        launch = self._launch
        standbys = self.ready(seat.node) or self._starting(seat.node)
        environment = launch.environment(seat)
        if not standbys:
            member = launch.start(seat.node, "rank", now_s, environment)
        else:
            member = standbys[0]
            if member.kind == "wait" and member.stand is Stand.READY:
                launch.tell(member, kind="go", environment=environment)
                member.stand = Stand.STARTING
        member.rank, seat.uid, member.since_s = seat.rank, member.uid, now_s

    def use_warm(self, member: Member) -> None:
        """Let a warm process run the script: at once where it will wait there for its rank."""
        launch = self._launch
        if member.rank is None and not launch.hooked:
            return
        seat = launch.seat_of(member)
        launch.tell(member, kind="go", environment=launch.environment(seat) if seat else {})
        member.stand = Stand.STARTING

    def ended(self, member: Member, why: str, now_s: float) -> None:
        """One ended; another is started, but not for ever."""
        launch = self._launch
        node = launch.nodes[member.node]
        if member.stand is Stand.STARTING:
            node.standby_failures += 1
        launch.say(f"standby {member.uid} ended: {why}", uid=member.uid, node=member.node)
        if node.standby_failures == _FAILURES:
            launch.say(
                f"no more standbys on {member.node}: {_FAILURES} ended before they were ready. "
                "A script must not need its rank before gpumedic_job.Training(...)."
            )
        if launch.stage is Stage.RUNNING:
            self.refill(now_s)

    def refill(self, now_s: float) -> None:
        """Keep those wanted; a script that asks for no rank is given time to ask."""
        launch = self._launch
        if not launch.hooked and now_s - launch.watching.since_s < _UNHOOKED_S:
            return
        for node in [*launch.nodes.values()]:
            wanted = launch.plan.standbys
            if wanted and not launch.seating.uses(node.name):
                wanted = max(wanted, launch.plan.per_node)
            if node.standby_failures >= _FAILURES:
                wanted = 0
            members = launch.members.values()
            have = sum(each.node == node.name and each.rank is None for each in members)
            for _ in range(wanted - have):
                environment = process_environment(launch.plan)
                launch.start(node.name, "script" if launch.hooked else "wait", now_s, environment)

    def _starting(self, node: str) -> list[Member]:
        """Return those that are not yet ready: still ahead of a process not yet started."""
        return self._standing(node, Stand.STARTING) if self._launch.hooked else []

    def _standing(self, node: str, stand: Stand) -> list[Member]:
        return [
            each
            for each in self._launch.members.values()
            if each.node == node and each.rank is None and each.stand is stand and not each.killed
        ]
