"""One of several nodes: it coordinates, or follows who does, and takes over where that one is lost.

Where the coordinator is lost the ranks go on. The nodes turn to the first of the roster that is
left, which takes over once a quorum follows it (quorum.py), and each tells it what its workers are.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from agent.launch.arguments import Endpoint
from agent.launch.candidate import Candidate
from agent.launch.cluster import Host, Line, Meeting, connect, reach, tuple_of
from agent.launch.launcher import Journal, Launcher, interrupting
from agent.launch.node import NodeAgent, free_port
from agent.launch.plan import Message, Plan, Start
from agent.launch.quorum import Council
from agent.launch.rally import Rally
from core.errors import InputError

if TYPE_CHECKING:
    from agent.launch.running import Here

# A coordinator that says nothing for so long is lost to this node; who is asked answers sooner.
_LOST_S, _ANSWER_S = 3.0, 1.0
# Without a coordinator for so long, a node ends its ranks.
_ORPHAN_S = 30.0
_BEAT_S, _AGAIN_S = 0.1, 0.2
# Who took over calls so often where all met: sooner than a launch begins there (last_call_s).
_CALL_S = 1.0


class Post:
    """This node's place in a launch of several nodes.

    coordinate: runs a launcher to its end, for its exit code
    """

    def __init__(
        self,
        plan: Plan,
        here: "Here",
        journal: Journal,
        token: str,
        coordinate: Callable[[Launcher], Awaitable[int]],
    ) -> None:
        self._plan, self._here, self._journal, self._token = plan, here, journal, token
        self._coordinate = coordinate
        self._word = f"{here.name}#{os.urandom(8).hex()}"
        self._meeting = Meeting(token, self._answer)
        self._agent = None
        if here.command is not None:
            self._agent = NodeAgent(here.name, here.command, self._emit, self._ask, here.log_dir)
        self._news: Message | None = None
        self._line: Line | None = None
        self._answered = False
        self._leader: Endpoint | None = None
        self._launcher: Launcher | None = None
        self._candidate: Candidate | None = None
        self._asked: dict[int, asyncio.Future[Message]] = {}
        self._exits: dict[str, int] = {}
        self._promised = 0  # the term of the newest coordinator, or candidate, that it heeds

    async def run(self) -> int:
        """Take part until the launch ends; return its exit code."""
        code = 1
        try:
            if self._agent is not None:
                await self._agent.open()
            launcher = await self._first()
            outcome: int | Launcher = launcher or await self._follow_until_end()
            while isinstance(outcome, Launcher):
                outcome = await self._lead(outcome)
            code = outcome
        finally:
            self._meeting.close(code)  # the others need not wait until our workers have ended
            if self._agent is not None and (left := await self._agent.stop()):
                self._journal.add(left)
        return code

    async def _first(self) -> Launcher | None:
        """Coordinate, where this node is the first that can listen where all meet."""
        here, endpoint = self._here, self._here.endpoint
        assert endpoint is not None  # noqa: S101
        if here.joins or not await self._meeting.open(endpoint):
            if self._agent is None:
                raise InputError(
                    f"Coordinating at {endpoint.host}:{endpoint.port}: the address is not this "
                    "machine's, or somebody listens there. Coordinate on the machine that has it, "
                    "on a free port."
                )
            usual = not here.joins and await self._meeting.open(
                Endpoint(here.where(), endpoint.port)
            )
            if not usual:
                await self._meeting.open(Endpoint(here.where(), 0))
            return None
        self._journal.add(f"node {here.name} coordinates", what="coordinates", node=here.name)
        rally = Rally(Council(self._word))
        rally.propose()
        launcher = self._launcher = Launcher(self._plan, self._journal, rally)
        launcher.agent = self._agent
        if self._agent is not None:
            launcher.join(here.name, here.where(), self._agent, free_port())
        return launcher

    async def _lead(self, launcher: Launcher) -> "int | Launcher":
        """Coordinate to the end, or until it is known that another node does, and follow that."""
        calling = asyncio.ensure_future(self._call_where_all_met(launcher))
        try:
            code = await self._coordinate(launcher)
        finally:
            calling.cancel()
        if not launcher.gave_way or self._agent is None or self._agent.processes:
            return code
        self._launcher = None
        self._meeting.part()
        return await self._follow_until_end()

    async def _call_where_all_met(self, launcher: Launcher) -> None:
        """Say where this launch is coordinated now to whoever is begun where it once was."""
        assert launcher.rally is not None  # noqa: S101  # there is one wherever nodes meet
        assert self._here.endpoint is not None  # noqa: S101
        here = {"host": self._here.where(), "port": self._meeting.port, "token": self._token}
        while term := launcher.rally.council.term:
            with contextlib.suppress(OSError):
                line = await reach(self._here.endpoint)
                line.send("led", run_id=self._plan.run_id, term=term, **here)
                await line.receive(_ANSWER_S)
                line.close()
            await asyncio.sleep(_CALL_S)

    def _hear_of(self, said: Message) -> None:
        """Give way to who has taken this launch over; what was not begun here follows it."""
        launcher = self._launcher
        if launcher is None or launcher.rally is None or said["run_id"] != self._plan.run_id:
            return
        if said["term"] > launcher.rally.council.term:
            self._leader = Endpoint(said["host"], said["port"])
            where = f"{self._leader.host}:{self._leader.port}"
            launcher.give_way(f"this launch goes on, coordinated at {where}")

    # Others turn to this node

    async def _answer(self, line: Line, first: Message) -> None:
        """Let a node join, or say whom to turn to."""
        if first["kind"] == "led":
            self._hear_of(first)
        elif self._launcher is not None:
            await Host(self._launcher).take_in(line, first)
        elif self._candidate is not None and first["news"] is not None:
            await self._candidate.take_in(line, first)
        elif self._leader is not None:
            line.send("elsewhere", host=self._leader.host, port=self._leader.port)
        else:
            line.send("wait")

    # This node's workers

    def _emit(self, event: Message) -> None:
        """Pass a worker's event on; without a coordinator, remember who ended."""
        if self._launcher is not None:
            self._launcher.event(self._here.name, event)
        elif self._line is not None:
            self._line.send("event", event=event)
        if event["kind"] == "exited":
            self._exits[event["uid"]] = event["code"]

    async def _ask(self, message: Message) -> Message:
        """Pass a request to the key-value store on; it is over with its coordinator."""
        if self._launcher is not None:
            return await self._launcher.stores.ask(message)
        if self._line is None:
            return {"over": True}
        number = max(self._asked, default=0) + 1
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self._line.send("ask", id=number, message=message)
        return await answer

    # Following

    async def _follow_until_end(self) -> "int | Launcher":
        end: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        with interrupting(end):
            following = asyncio.ensure_future(self._follow_whoever_leads())
            await asyncio.wait({end, following}, return_when=asyncio.FIRST_COMPLETED)  # type: ignore[type-var]
            if following.done():
                return following.result()
            following.cancel()
            return end.result()[0]

    async def _follow_whoever_leads(self) -> "int | Launcher":
        """Return the launch's exit code, or the launcher by which this node coordinates now."""
        assert self._here.endpoint is not None  # noqa: S101
        where = self._leader or self._here.endpoint
        line = await connect(where, self._plan.join_timeout_s)
        outcome: int | Launcher | None = await self._follow(line, where)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + _ORPHAN_S
        while outcome is None and loop.time() < until_s:
            known = self._news
            outcome = await self._turn_to_others()
            if self._news is not known:  # somebody coordinated since
                until_s = loop.time() + _ORPHAN_S
            await asyncio.sleep(_AGAIN_S if outcome is None else 0)
        return 1 if outcome is None else outcome

    async def _turn_to_others(self) -> "int | Launcher | None":
        """Turn to each node of the roster in its order, and to itself where that is its place."""
        for endpoint in self._others():
            if endpoint is None:
                assert self._agent is not None  # noqa: S101
                self._promised += 1
                me = self._introduction()
                self._candidate = Candidate(self._plan, self._journal, me, self._promised)
                try:
                    led = await self._candidate.lead(self._agent)
                finally:
                    self._promised = max(self._promised, self._candidate.seen)
                    self._candidate = None
                if isinstance(led, Launcher):
                    self._launcher = led
                if led is not None:
                    return led
                continue
            with contextlib.suppress(OSError):
                outcome = await self._follow(await reach(endpoint), endpoint)
                if outcome is not None or self._answered:
                    return outcome  # who is before this node in the roster stands before it
        return None

    def _others(self) -> Iterator[Endpoint | None]:
        """Give the nodes that may coordinate next; None for this one."""
        if self._leader is not None:
            leader, self._leader = self._leader, None
            yield leader
        if self._news is None:
            return
        for word in self._news["rosters"][-1]:
            if word == self._word:
                yield None
            elif word in self._news["places"]:
                _, host, port = self._news["places"][word]
                yield Endpoint(host, port)

    def _introduction(self) -> Message:
        assert self._agent is not None  # noqa: S101  # who follows has workers
        return {
            "name": self._here.name,
            "word": self._word,
            "address": self._here.where(),
            "port": free_port(),
            "meeting": self._meeting.port,
            "token": self._token,
            "news": self._news,
            "promised": self._promised,
            "workers": self._agent.workers(),
            "held": self._agent.holdings(),
            "exits": self._exits,
        }

    async def _follow(self, line: Line, endpoint: Endpoint) -> int | None:
        """Do what a coordinator says: the launch's exit code, None where it is lost, or is none."""
        assert self._agent is not None  # noqa: S101
        line.send("join", **self._introduction())
        self._line, self._answered = line, False
        beating = asyncio.ensure_future(self._beat(line, self._agent))
        try:
            while message := await line.receive(_LOST_S if self._answered else _ANSWER_S):
                self._answered = True
                match message["kind"]:
                    case "elsewhere":
                        self._leader = Endpoint(message["host"], message["port"])
                        return None
                    case "wait":
                        return None
                    case "end":
                        return int(message["code"])
                    case "stands" if message["term"] <= self._promised:
                        return None
                    case "leads" if message["term"] < self._promised:
                        return None
                self._leader = endpoint
                self._obey(message, self._agent)
            # Whoever closed a connection is gone, or has given this node up and will say so.
            self._leader = endpoint if line.ended else None
            return None
        finally:
            self._line = None
            beating.cancel()
            line.send("away")
            line.close()
            for answer in self._asked.values():
                answer.set_result({"over": True})
            self._asked.clear()

    def _obey(self, message: Message, agent: NodeAgent) -> None:
        match message["kind"]:
            case "start":
                agent.start(Start(**message["order"]))
            case "tell":
                agent.tell(message["uid"], message["message"])
            case "kill":
                agent.kill(message["uid"])
            case "answer":
                self._asked.pop(message["id"]).set_result(message["answer"])
            case "news":
                self._news = message
            case "stands" | "leads":
                self._promised = message["term"]

    async def _beat(self, line: Line, agent: NodeAgent) -> None:
        while True:
            beats = {uid: tuple_of(beat) for uid, beat in agent.beats().items()}
            news = self._news or {"term": -1, "version": -1}
            has = [news["term"], news["version"]]
            line.send("beats", beats=beats, has=has, promised=self._promised)
            await asyncio.sleep(_BEAT_S)
