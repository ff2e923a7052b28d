"""A node that would take over: it waits until enough of the others follow it."""

import asyncio
from dataclasses import dataclass

from agent.launch.cluster import SILENT_S, FarNode, Host, Line, place_of
from agent.launch.launcher import Hands, Journal, Launcher
from agent.launch.members import Node, held
from agent.launch.node import NodeAgent
from agent.launch.plan import Message, Plan
from agent.launch.quorum import Council, Roster
from agent.launch.rally import Rally
from agent.launch.takeover import restore

_LOOK_S = 0.05
# Where no quorum has come for so long, it turns to the others again.
_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class _Arrival:
    first: Message
    node: FarNode


class Candidate:
    """Gathers the nodes of a coordinator that is lost.

    me:   this node, as it introduces itself to others
    term: which it has promised to itself
    seen: the greatest term that another node has promised
    """

    def __init__(self, plan: Plan, journal: Journal, me: Message, term: int) -> None:
        self._me, self._journal, self.seen = me, journal, term
        self._rally = Rally(Council(me["word"], term))
        self._launcher = Launcher(plan, journal, self._rally, leads=False)
        self._arrivals: dict[str, _Arrival] = {}
        self._lines: set[Line] = set()

    async def take_in(self, line: Line, first: Message) -> None:
        """Let a node follow, from now on or until this one turns to others itself."""
        self.seen = max(self.seen, first["promised"])
        if first["name"] in self._arrivals:
            line.send("wait")
            return
        line.send("stands", term=self._rally.council.term)
        node = FarNode(line)
        self._arrivals[first["name"]] = _Arrival(first, node)
        self._rally.add(first["word"], place_of(first), node.inform)
        self._lines.add(line)
        await Host(self._launcher).talk(line, first["name"])
        self._lines.discard(line)
        self._arrivals.pop(first["name"], None)

    async def lead(self, agent: NodeAgent) -> "int | Launcher | None":
        """Return the launcher once a quorum follows; None where too few come, 1 if they cannot."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        rosters = [Roster(tuple(each)) for each in self._me["news"]["rosters"]]
        others = {word for each in rosters for word in each.nodes} - {_lost(self._me)}
        if not all(each.has_quorum(others) for each in rosters):
            self._journal.add("too few nodes are left to go on without their coordinator")
            return 1
        while loop.time() < began_s + _WAIT_S and self.seen <= self._rally.council.term:
            self._count()
            here = self._rally.words() >= others or loop.time() > began_s + SILENT_S
            if here and self._rally.may_lead():
                self._take_over(agent)
                return self._launcher
            await asyncio.sleep(_LOOK_S)
        for line in self._lines:
            line.close()
        return None

    def _newest(self) -> Message:
        """Return the newest of what the nodes were told by coordinators."""
        all_news = [self._me["news"], *(each.first["news"] for each in self._arrivals.values())]
        newest: Message = max(all_news, key=lambda news: (news["term"], news["version"]))
        return newest

    def _count(self) -> None:
        rosters = self._newest()["rosters"]
        self._rally.council.rosters = tuple(Roster(tuple(each)) for each in rosters)

    def _take_over(self, agent: NodeAgent) -> None:
        launcher, me, newest = self._launcher, self._me, self._newest()
        self._rally.council.version = newest["version"]
        restore(launcher.coordinator, newest["state"], self._rally.council.term)
        lost = _lost(me).partition("#")[0]
        self._journal.add(
            f"node {me['name']} coordinates now, in place of {lost}",
            what="takes_over",
            node=me["name"],
            term=self._rally.council.term,
        )
        launcher.agent = agent
        now = {**me, "workers": agent.workers(), "held": agent.holdings()}
        arrived: list[tuple[Message, Hands]] = [(now, agent)]
        arrived += [(each.first, each.node) for each in self._arrivals.values()]
        nodes: list[tuple[Node, list[Message]]] = []
        exits: dict[str, int] = {}
        for first, hands in arrived:
            launcher.hands[first["name"]] = hands
            node = Node(first["name"], first["address"], first["port"], held(first["held"]))
            nodes.append((node, first["workers"]))
            exits |= first["exits"]
        self._rally.propose()
        launcher.adopt(nodes, exits)


def _lost(me: Message) -> str:
    """Return the coordinator's word: the first of its own roster."""
    return str(me["news"]["rosters"][-1][0])
