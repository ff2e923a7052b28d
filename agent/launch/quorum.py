"""Which nodes may decide for a launch, so that two of them never coordinate it at the same time.

A node follows one coordinator at a time. A coordinator gives up nodes, or takes over from another
one, only while a *quorum* of the nodes follows it: more than half, where the first counts for one
and a half, so that one of two equal halves is one. Any two quorums of a roster have a node in
common; so two coordinators would need one node that follows both.

A new roster takes effect once a quorum of the old one and of itself have said that they have it.
Until then both count. So whoever takes over by a quorum of an older roster meets a node that tells
it of the newer one.

Who would take over names a *term* greater than any that it knows of. A node promises each term to
one only, and from then on heeds no coordinator of an older one. With the promises of a quorum no
other node has that term, none of an older one will ever decide again, and the newest that any
quorum was told is known.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Roster:
    """Nodes that decide, each by a word that no other process of any node has: ``name#random``."""

    nodes: tuple[str, ...] = ()

    def has_quorum(self, present: Collection[str]) -> bool:
        """Say whether these, of whom some may be on no roster, are a quorum."""
        weight = sum(3 if at == 0 else 2 for at, each in enumerate(self.nodes) if each in present)
        return 2 * weight > 2 * len(self.nodes) + 1

    def without(self, dead: str) -> "Roster":
        """Return the roster less one whose process has ended, and which so follows nobody."""
        return Roster(tuple(each for each in self.nodes if each != dead))


@dataclass(slots=True)
class Council:
    """The rosters in force, as one coordinator keeps them.

    term:    of this coordinator; each that takes over has a greater one than all before
    version: of the newest change of anything that is told to all nodes
    """

    me: str
    term: int = 0
    version: int = 0
    rosters: tuple[Roster, ...] = ()
    _promised: set[str] = field(default_factory=set)
    _acks: dict[str, int] = field(default_factory=dict)
    _since: int = 0

    def set(self, nodes: Sequence[str]) -> None:
        """Begin to go over to another roster; one that was begun and is not in force is dropped.

        Dropping is safe: it counts in no quorum but beside the one in force.
        """
        wanted = Roster(tuple(nodes))
        if not self.rosters:
            self.rosters = (wanted,)
        elif wanted != self.rosters[-1]:
            self.rosters = (self.rosters[0], wanted)
            self._since = self.version + 1

    def promise(self, node: str, term: int) -> None:
        """A node heeds no coordinator of a term before this one."""
        if term == self.term:
            self._promised.add(node)

    def may_lead(self, present: Collection[str]) -> bool:
        """Say whether of those that follow enough have promised it."""
        return self.has_quorum({self.me, *(self._promised & {*present})})

    def acknowledge(self, node: str, term: int, version: int) -> bool:
        """A node has what was told up to this version; True where a new roster is in force."""
        if term == self.term:
            self._acks[node] = version
        if len(self.rosters) < 2 or not self.told(self._since):
            return False
        self.rosters = self.rosters[-1:]
        return True

    def told(self, version: int) -> bool:
        """Say whether a quorum has what was told up to this version."""
        has = {each for each, known in self._acks.items() if known >= version} | {self.me}
        return self.has_quorum(has)

    def has_quorum(self, present: Collection[str]) -> bool:
        """Say whether these are a quorum of every roster that may be in force."""
        return all(each.has_quorum(present) for each in self.rosters)

    def heirs(self) -> list[str]:
        """Return the nodes of which one may coordinate without this one; none where too few are.

        Of two rosters each may be all that they were told.
        """
        others = {word for each in self.rosters for word in each.nodes} - {self.me}
        enough = any(each.has_quorum(others) for each in self.rosters)
        return sorted(word.partition("#")[0] for word in others) if enough else []

    def names(self) -> list[str]:
        """Return the names of the nodes that decide."""
        return [each.partition("#")[0] for each in self.rosters[-1].nodes]

    def ended(self, node: str) -> None:
        """A node's process has ended: it will never follow another coordinator."""
        self._acks.pop(node, None)
        self.rosters = tuple(each.without(node) for each in self.rosters)
