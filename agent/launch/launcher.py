"""The process that coordinates: carries orders to the workers of this node and to other nodes."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Iterator
from typing import IO, Protocol

from agent.launch.coordinator import Coordinator
from agent.launch.efforts import Efforts
from agent.launch.jobside.gpumedic_job.layout import Beat
from agent.launch.members import Node, Stage, held
from agent.launch.node import NodeAgent
from agent.launch.operating import Operators
from agent.launch.plan import Asked, End, Kill, Message, Over, Plan, Said, Start, Tell
from agent.launch.processes import memory_bytes
from agent.launch.rally import Rally
from agent.launch.status import status
from agent.launch.store import Stores
from agent.launch.takeover import adopt, told
from core.clock import RealClock

TICK_S = 0.1
_JOURNAL_LINES = 1000


class Hands(Protocol):
    """A node that does what it is told: this one, or one behind a connection."""

    def start(self, order: Start) -> None:
        """Start a worker."""

    def tell(self, uid: str, message: Message) -> None:
        """Send a worker a message."""

    def kill(self, uid: str) -> None:
        """Kill a worker."""


class Journal:
    """What happened, newest last: in memory, on stderr, and as JSON lines where that is wanted."""

    def __init__(self, file: IO[str] | None) -> None:
        self._file, self._clock = file, RealClock()
        self.lines: deque[Message] = deque(maxlen=_JOURNAL_LINES)
        self.count = 0

    def add(self, text: str, **fields: object) -> None:
        """Add a line."""
        line = {"n": self.count, "time_s": self._clock.now_s(), "text": text, **fields}
        self.count += 1
        self.lines.append(line)
        with contextlib.suppress(OSError):  # its reader, an ssh perhaps, may be gone
            sys.stderr.write(f"gpumedic launch: {text}\n")
            sys.stderr.flush()
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()


class Launcher:
    """The node that coordinates: its own workers, those of others, and the state of all.

    agent: this node, None where it only coordinates
    rally: the nodes that follow, None for a launch on one node
    leads: False until it may take over; what it hears till then waits
    """

    def __init__(
        self, plan: Plan, journal: Journal, rally: Rally | None = None, *, leads: bool = True
    ) -> None:
        self._clock, self.rally, self._leads = RealClock(), rally, leads
        self.gave_way = self._is_left = False
        self._early: list[tuple[str, Message]] = []
        self.coordinator = Coordinator(plan, launched=int(self._clock.now_s() * 1e9))
        self.operators = Operators(self.coordinator)
        self.efforts = Efforts()
        self.stores = Stores()
        self.journal = journal
        self.agent: NodeAgent | None = None
        self.hands: dict[str, Hands] = {}
        # Since when nodes are there or gone, seconds since the epoch.
        self.joined: dict[str, float] = {}
        self.lost: dict[str, float] = {}
        self._stage, self._since_s = (self.coordinator.stage, 0), self._clock.now_s()
        self._end: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    def join(self, name: str, address: str, hands: Hands, port: int) -> None:
        """Take a node in."""
        self.hands[name] = hands
        self.joined[name] = self._clock.now_s()
        self.lost.pop(name, None)
        self.coordinator.node_joined(Node(name, address, port), self._clock.monotonic_s())
        self._carry_out()

    def leave(self, name: str, *, ended: bool = True) -> None:
        """A node is gone.

        ended: its process is; else it may follow another coordinator
        """
        self.hands.pop(name, None)
        self.lost[name] = self._clock.now_s()
        if self.rally is not None:
            enough = self.rally.remove(name, ended=ended)
            if not self._leads:
                return
            if not enough:
                self._is_left = True
                self._finish(1, f"node {name} is silent, and too few are left to do without it")
                return
            self.rally.propose()
        self.coordinator.node_lost(name, self._clock.monotonic_s())
        self._carry_out()

    def adopt(self, nodes: list[tuple[Node, list[Message]]], exits: dict[str, int]) -> None:
        """Go on with the nodes and workers of a coordinator that is lost."""
        self._leads = True
        adopt(self.coordinator, nodes, exits, self._clock.monotonic_s())
        self._inform()
        self._carry_out()
        early, self._early = self._early, []
        for name, message in early:
            self.event(name, message)

    def acknowledged(self, name: str, message: Message) -> None:
        """A node says what it was told, and which term it has promised to heed."""
        if self.rally is not None and self.rally.acknowledged(name, message):
            names = ", ".join(self.rally.council.names())
            self.journal.add(f"a majority of these nodes decides: {names}", what="roster")
            self._inform()

    def event(self, name: str, message: Message) -> None:
        """Take an event of a node's worker; what cannot be taken ends no talk, with whomever."""
        if not self._leads:
            self._early.append((name, message))
            return
        try:
            self._take(name, message)
        except Exception as error:
            self.journal.add(
                f"node {name}: {message.get('kind')} of {message.get('uid')} was not understood, "
                f"and the launch goes on without it: {error!r}",
                what="not_understood",
                trace=traceback.format_exc(),
            )
        self._carry_out()

    def _take(self, name: str, message: Message) -> None:
        if message["kind"] == "evidence":
            uid, text = message["uid"], message["text"]
            self.journal.add(f"stacks of {uid}", what="stacks", uid=uid, evidence=text)
            return
        node = self.coordinator.nodes.get(name)
        if node is not None and "held" in message:
            node.holdings = held(message["held"])
        if node is not None and message["kind"] == "exited":
            node.port = message["port"]
        self.coordinator.on(message, self._clock.monotonic_s())

    def beats(self, beats: dict[str, Beat]) -> None:
        """Take how far a node's workers are."""
        for uid, beat in beats.items():
            if member := self.coordinator.members.get(uid):
                member.beat = beat

    def act(self, asked: Asked) -> Message:
        """Do what an operator asks, once for each key."""
        answer = self.operators.act(asked, self._clock.monotonic_s())
        self._carry_out()
        return answer

    def give_way(self, text: str) -> None:
        """Coordinate no more: another coordinator has this launch."""
        self.gave_way = True
        self._finish(1, text)

    async def run(self) -> int:
        """Coordinate until the launch ends; return its exit code."""
        with interrupting(self._end):
            while not self._end.done():
                if self.agent is not None:
                    self.beats(self.agent.beats())
                self.efforts.see(self.coordinator)
                self.coordinator.tick(self._clock.monotonic_s())
                self._carry_out()
                await asyncio.wait([self._end], timeout=TICK_S)
        self.stores.over(self.coordinator.generation + 1)
        self.coordinator.stage = Stage.ENDED  # what ends from now on ends because we end it
        code, text = self._end.result()
        self.journal.add(text, code=code)
        return code

    def _carry_out(self) -> None:
        stage = self.coordinator.stage, self.coordinator.generation
        if stage != self._stage:
            self._stage, self._since_s = stage, self._clock.now_s()
        while orders := self.coordinator.take():
            self._inform()
            for order in orders:
                self._do(order)

    def _inform(self) -> None:
        """Tell all nodes what has changed, before anything is done about it."""
        if self.rally is not None:
            self.rally.inform(told(self.coordinator))

    def _finish(self, code: int, text: str) -> None:
        if not self._end.done():
            self._end.set_result((code, text))

    def _do(self, order: object) -> None:
        match order:
            case Start(node) if hands := self.hands.get(node):
                hands.start(order)
            case Tell(node, uid, message) if hands := self.hands.get(node):
                hands.tell(uid, message)
            case Kill(node, uid, why) if hands := self.hands.get(node):
                self.journal.add(f"killing {uid}: {why}", uid=uid, why=why)
                hands.kill(uid)
            case Over(generation):
                self.stores.over(generation)
            case Said(text, fields):
                self.journal.add(text, **fields)
            case End(code, text):
                self._finish(code, text)
            case _:
                pass  # for a node that is already gone

    def _heirs(self) -> list[str]:
        """Return who may go on without this one; nobody once it has told all that it is over."""
        is_over = self._end.done() and not self._is_left
        return [] if self.rally is None or is_over else self.rally.council.heirs()

    def status(self, since: int) -> Message:
        """Return the state of the launch, for people and programs.

        since: number of the first line of the journal that is wanted; below 0: so many of the last
        """
        shared = status(self.coordinator, self.efforts)
        shared |= {"since_s": self._since_s, "joined": self.joined, "lost": self.lost}
        shared["heirs"] = self._heirs()
        if self.agent is not None and since < 0:  # a program that polls is not to cost so much
            shared["memory_bytes"] = self.agent.memory()
            shared["fork_server_bytes"] = self.agent.fork_server_bytes()
            shared["supervisor_bytes"] = memory_bytes(os.getpid())
            shared["kept_state_bytes"] = self.agent.kept_bytes()
        first = since if since >= 0 else self.journal.count + since
        shared["journal"] = [line for line in self.journal.lines if line["n"] >= first]
        return shared


@contextlib.contextmanager
def interrupting(end: "asyncio.Future[tuple[int, str]]") -> Iterator[None]:
    """Let SIGTERM, SIGINT and SIGHUP end the launch in order."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def stop(number: signal.Signals) -> None:
        if not end.done():
            end.set_result((128 + number, f"ended by {number.name}"))

    for number in numbers:
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
