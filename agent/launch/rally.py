"""The nodes that follow a coordinator: counted, and told what the next coordinator must know."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from agent.launch.plan import Message
from agent.launch.quorum import Council


@dataclass(frozen=True, slots=True)
class Place:
    """A node to which others may turn when the coordinator is lost; ``port`` 0: to none."""

    name: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class _Follower:
    word: str
    place: Place
    tell: Callable[[Message], None]


class Rally:
    """Who follows, beside the coordinator's own node."""

    def __init__(self, council: Council) -> None:
        self.council = council
        self._followers: dict[str, _Follower] = {}
        self._told = ""

    def add(self, word: str, place: Place, tell: Callable[[Message], None]) -> None:
        """Count a node in.

        word: what stands for the node's process on the rosters
        tell: sends it a message
        """
        self._followers[place.name] = _Follower(word, place, tell)
        self._told = ""

    def remove(self, name: str, *, ended: bool) -> bool:
        """Count a node out; False where too few are left to go on without it.

        ended: its process has ended; else it may follow another coordinator
        """
        lost = self._followers.pop(name)
        if ended:
            self.council.ended(lost.word)
        return self.is_quorum()

    def is_quorum(self) -> bool:
        """Say whether enough nodes follow to decide anything."""
        return self.council.has_quorum(self.words())

    def words(self) -> set[str]:
        """Return the words of all that follow, and our own."""
        return {self.council.me, *(each.word for each in self._followers.values())}

    def may_lead(self) -> bool:
        """Say whether enough nodes follow, and have promised to follow nobody of before."""
        return self.council.may_lead(self.words())

    def acknowledged(self, name: str, message: Message) -> bool:
        """A node says what it was told and has promised; True where a new roster is in force."""
        if name not in self._followers:
            return False
        word = self._followers[name].word
        self.council.promise(word, message["promised"])
        return self.council.acknowledge(word, *message["has"])

    def propose(self) -> None:
        """Let those that follow be the next roster."""
        words = (each.word for each in self._followers.values())
        self.council.set([self.council.me, *words])

    def inform(self, state: Message) -> None:
        """Tell all what has changed, where anything has."""
        news = {
            "rosters": [each.nodes for each in self.council.rosters],
            "places": {
                each.word: [each.place.name, each.place.address, each.place.port]
                for each in self._followers.values()
            },
            "state": state,
        }
        text = json.dumps(news)
        if text == self._told:
            return
        self._told = text
        self.council.version += 1
        message = {"term": self.council.term, "version": self.council.version, **news}
        for each in self._followers.values():
            each.tell(message)
