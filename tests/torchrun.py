"""A launch for tests without a training: the real coordinator and socket, and workers in name only.

A worker here says what a rank says at once, and counts steps; nothing is imported or computed.
"""

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.act.torchrun.cluster import TorchrunCluster, TorchrunSettings
from agent.launch.control import Control
from agent.launch.jobside.gpumedic_job.layout import Beat, Phase
from agent.launch.launcher import Journal, Launcher
from agent.launch.plan import Asked, Message, Plan, Start
from core.clock import RealClock
from tests.contract import Ward

JOB = "training"
HELD: Message = {"own": [], "copies": []}
TICK_S = 0.01


class Workers:
    """A node's workers, in name only."""

    def __init__(self, name: str, launcher: Launcher) -> None:
        self.name, self._launcher = name, launcher
        self.generations: dict[str, int] = {}
        self._fresh: set[str] = set()

    def start(self, order: Start) -> None:
        """Let a worker come to life."""
        self.generations[order.uid] = 0
        self._fresh.add(order.uid)
        self._say(order.uid, kind="hello")

    def tell(self, uid: str, message: Message) -> None:
        """Answer as a rank does that has nothing to wait for."""
        if uid not in self.generations:
            return
        generation = message.get("generation", 0)
        if message["kind"] == "regroup":
            fresh = uid in self._fresh
            rest: Message = {"step": 0, "valid": True, "fresh": fresh, "loaded": True, "held": HELD}
            self._say(uid, kind="parked", generation=generation, **rest)
        elif message["kind"] == "form":
            self.generations[uid] = generation
            self._fresh.discard(uid)
            self._say(uid, kind="formed", generation=generation)

    def kill(self, uid: str) -> None:
        """Let a worker die."""
        if self.generations.pop(uid, None) is not None:
            self._say(uid, kind="exited", code=-9, text="SIGKILL", held=HELD, port=1)

    def _say(self, uid: str, **event: Any) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(self._launcher.event, self.name, {"uid": uid, **event})


class PretendedLaunch:
    """A coordinator with nodes ``n1`` and more, in a thread of its own; its job counts steps."""

    def __init__(self, folder: Path, nodes: int, plan: Plan) -> None:
        self.folder, self._nodes, self._plan = folder, nodes, plan
        self.workers: dict[str, Workers] = {}
        self._loop = asyncio.new_event_loop()
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._over = asyncio.Event()

    def __enter__(self) -> "PretendedLaunch":
        self._thread.start()
        assert self._running.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    def lose(self, *nodes: str) -> None:
        """Let nodes be gone, with nothing in between."""
        self._loop.call_soon_threadsafe(lambda: [*map(self.launcher.leave, nodes)])

    def die(self, uid: str) -> None:
        """Let a worker be killed by somebody."""
        workers = next(each for each in self.workers.values() if uid in each.generations)
        self._loop.call_soon_threadsafe(workers.kill, uid)

    def person(self, node: str) -> None:
        """Let somebody called ada keep ranks off a node."""
        asked = Asked("ada", "hold", node, by="ada", why="fan")
        asyncio.run_coroutine_threadsafe(self._act(asked), self._loop).result()

    async def _act(self, asked: Asked) -> None:
        self.launcher.act(asked)

    async def _run(self) -> None:
        self.launcher = Launcher(self._plan, Journal(None))
        control = Control(self.folder / f"{JOB}.1", self.launcher.status, self.launcher.act)
        await control.open()
        for number in range(1, self._nodes + 1):
            name = f"n{number}"
            self.workers[name] = Workers(name, self.launcher)
            self.launcher.join(name, "127.0.0.1", self.workers[name], 1)
        steps = 0
        while not self._over.is_set():
            steps += 1
            for each in self.workers.values():
                beats = {u: Beat(g, steps, Phase.STARTED, 1) for u, g in each.generations.items()}
                self.launcher.beats(beats)
            self.launcher.coordinator.tick(RealClock().monotonic_s())
            self.launcher._carry_out()
            if self.launcher.coordinator.stage.value == "running":
                self._running.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), TICK_S)
        control.close()


PLAN = Plan(min_nodes=2, max_nodes=2, standbys=0, run_id=JOB, last_call_s=0.0)


@contextlib.contextmanager
def pretended(
    nodes: int = 3, plan: Plan = PLAN
) -> Iterator[tuple[PretendedLaunch, TorchrunCluster]]:
    """Have a launch and the backend that looks at it."""
    with (
        tempfile.TemporaryDirectory(prefix="gm-", dir="/tmp") as folder,
        PretendedLaunch(Path(folder), nodes, plan) as launch,
    ):
        settings = TorchrunSettings(folder=Path(folder))
        yield launch, TorchrunCluster(clock=RealClock(), settings=settings)


@contextlib.contextmanager
def launched() -> Iterator[Ward]:
    """Return a launch of three nodes: a job on two, a spare."""
    with pretended() as (launch, cluster):
        yield Ward(cluster, RealClock(), launch.person)
