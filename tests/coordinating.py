"""A coordinator with no process: events go in, orders come out."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from agent.launch.coordinator import Coordinator
from agent.launch.jobside.gpumedic_job.layout import Beat, Phase
from agent.launch.members import Node
from agent.launch.plan import Kill, Plan, Tell

_COMPUTE: Mapping[str, Phase] = MappingProxyType({})


class Launch:
    """A coordinator of one node with two ranks that ask for their place, up to its first group."""

    def __init__(self, **plan: Any) -> None:
        self.coordinator = Coordinator(Plan(per_node=2, **plan), launched=1)
        self.coordinator.node_joined(Node("a", "127.0.0.1", 1), 0.0)
        self.orders = self.coordinator.take()
        self.now_s = 0.0
        self.signs = 1

    def say(self, uid: str, kind: str, **fields: Any) -> None:
        self.coordinator.on({"kind": kind, "uid": uid, **fields}, self.now_s)
        self.orders += self.coordinator.take()

    def form(self) -> None:
        for uid in ("a-1", "a-2"):
            self.say(uid, "hello")
            self.park(uid, generation=1, fresh=True)

    def run(self, steps: int = 4) -> None:
        self.form()
        for uid in ("a-1", "a-2"):
            self.say(uid, "formed", generation=1)
        for step in range(steps):
            self.pass_time(0.1, step)

    def park(self, uid: str, *, generation: int, fresh: bool = False) -> None:
        self.say(uid, "parked", generation=generation, step=0, valid=True, fresh=fresh, loaded=True)

    def pass_time(self, seconds: float, step: int, phases: Mapping[str, Phase] = _COMPUTE) -> None:
        """Let time pass, all ranks computing this step, but for those whose phase is given."""
        self.now_s += seconds
        for each in self.coordinator.members.values():
            if each.rank is not None:
                each.beat = Beat(1, step, phases.get(each.uid, Phase.STARTED), self.signs)
        self.coordinator.tick(self.now_s)
        self.orders += self.coordinator.take()

    def wait(self, seconds: float, step: int, phases: Mapping[str, Phase] = _COMPUTE) -> None:
        """Let time pass in which all processes answer, and none gets on."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.pass_time(1.0, step, phases)
            for uid in [*self.coordinator.members]:
                self.say(uid, "pong", stack=["train.py:3 load"])

    def killed(self) -> list[str]:
        return [each.uid for each in self.orders if isinstance(each, Kill)]

    def told(self, kind: str) -> list[str]:
        return [
            each.uid
            for each in self.orders
            if isinstance(each, Tell) and each.message["kind"] == kind
        ]


def stepping() -> Launch:
    """Return a launch whose ranks step, and whose orders till then are forgotten."""
    found = Launch()
    found.run()
    found.orders.clear()
    return found
