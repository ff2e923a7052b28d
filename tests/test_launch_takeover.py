"""A coordinator is lost: one other takes over, never two, and the ranks are left alone."""

import json
import random
from itertools import chain, combinations
from typing import Any

import pytest

from agent.launch.coordinator import Coordinator
from agent.launch.members import Node, Stage
from agent.launch.operating import Operators
from agent.launch.plan import Asked, Plan, Start, Tell
from agent.launch.quorum import Council, Roster
from agent.launch.takeover import GENERATIONS, adopt, restore, told


def subsets(nodes: str) -> list[tuple[str, ...]]:
    return [*chain.from_iterable(combinations(nodes, size) for size in range(len(nodes) + 1))]


@pytest.mark.parametrize("nodes", ["a", "ab", "abc", "abcd", "abcde", "abcdef"])
def test_any_two_quorums_have_a_node_in_common(nodes: str) -> None:
    """Also where one side knows already that some node's process has ended, which is on neither."""
    roster = Roster(tuple(nodes))
    for dead in subsets(nodes[1:]):
        smaller = roster
        for each in dead:
            smaller = smaller.without(each)
        alive = [set(each) for each in subsets(nodes) if not set(each) & set(dead)]
        for one in (each for each in alive if roster.has_quorum(each)):
            assert all(one & other for other in alive if smaller.has_quorum(other))
    assert roster.has_quorum(nodes)
    assert not roster.has_quorum(nodes[: len(nodes) // 2 + 1][1:])


class Net:
    """Five nodes that follow, leave and take over at random, by the rules of the launch."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311
        first = Council("a")
        first.set("abcde")
        self.councils = [first]
        self.follows: dict[str, Council | None] = dict.fromkeys("abcde", first)
        self.promised = dict.fromkeys("abcde", 0)
        self.known = dict.fromkeys("abcde", (0, 0, first.rosters))

    def in_power(self) -> list[Council]:
        """Return who may decide now."""
        return [each for each in self.councils if each.may_lead(self.followers(each))]

    def followers(self, council: Council) -> set[str]:
        return {node for node, followed in self.follows.items() if followed is council}

    def step(self) -> None:
        node = self.chance.choice("abcde")
        council = self.follows[node]
        if council is None:
            self.stand(node)
        elif council.me == node:
            self.lead(council)
        elif self.chance.random() < 0.3:
            self.follows[node] = None  # it hears nothing any more
        elif self.promised[node] < council.term:
            self.promised[node] = council.term
            council.promise(node, council.term)
        else:  # it says what it knows, and is told
            council.promise(node, council.term)
            council.acknowledge(node, *self.known[node][:2])
            if council.may_lead(self.followers(council)):
                self.known[node] = self.known[council.me]

    def lead(self, council: Council) -> None:
        """Go over to the roster of those that follow, or fall where they are too few."""
        here = self.followers(council)
        if not council.may_lead(here):
            if self.chance.random() < 0.5:
                self.follows |= dict.fromkeys(here)
            return
        if self.known[council.me][0] < council.term:  # first of all, take what is newest
            newest = max(self.known[each] for each in here)
            council.rosters, council.version = newest[2], newest[1]
            if not council.may_lead(here):
                return
        council.set([council.me, *sorted(here - {council.me})])
        council.version += 1
        self.known[council.me] = (council.term, council.version, council.rosters)

    def stand(self, node: str) -> None:
        """Turn to others that have no coordinator, or follow one that is in power."""
        leaders = [each for each in self.in_power() if each.term >= self.promised[node]]
        if leaders and self.chance.random() < 0.5:
            self.follows[node] = leaders[0]
            self.promised[node] = leaders[0].term
            return
        self.promised[node] += 1
        term = self.promised[node]
        alone = [each for each, followed in self.follows.items() if followed is None]
        here = {node, *(each for each in alone if self.promised[each] < term)}
        rosters = max(self.known[each] for each in here)[2]
        self.councils.append(Council(node, term, rosters=rosters))
        self.follows |= dict.fromkeys(here, self.councils[-1])


def test_no_two_coordinators_are_ever_in_power() -> None:
    greatest, rosters = 0, set()
    for seed in range(100):
        net, by_term = Net(seed), dict[int, Council]()
        for _ in range(150):
            net.step()
            in_power = net.in_power()
            assert len(in_power) <= 1
            assert all(by_term.setdefault(each.term, each) is each for each in in_power)
            greatest = max([greatest, *(each.term for each in in_power)])
            rosters |= {each.rosters for each in in_power}

    assert greatest > 5  # there were takeovers to speak of
    assert len(rosters) > 50


class Two:
    """A launch of ranks on nodes a and b, others being spares, to where its coordinator dies."""

    def __init__(self, nodes: str = "abc") -> None:
        self.plan = Plan(min_nodes=2, max_nodes=2)
        self.first = Coordinator(self.plan, launched=1)
        for name in nodes:
            self.first.node_joined(Node(name, "127.0.0.1", 1), 0.0)
        self.next = Coordinator(self.plan, launched=2)

    def taken_over(self, nodes: str, *, formed: int, stage: Stage) -> list[Any]:
        """Let another coordinator take over with these nodes; return its orders."""
        self.first.stage, self.first.hooked = stage, True
        parked = {"fresh": False, "step": 7, "valid": True, "generation": 1, "loaded": False}
        workers = {
            seat.node: {
                "uid": seat.uid,
                "kind": "rank",
                "hooked": True,
                "warm": False,
                "parked": parked,
                "formed": formed,
                "finished": -1,
                "failed": False,
            }
            for seat in self.first.seats
        }
        arrived = [
            (Node(name, "127.0.0.1", 1), [workers[name]] if name in workers else [])
            for name in nodes
        ]
        restore(self.next, json.loads(json.dumps(told(self.first))), 1)
        adopt(self.next, arrived, {}, 9.0)
        return self.next.take()


def test_ranks_that_step_are_left_alone_by_a_new_coordinator() -> None:
    two = Two()
    orders = two.taken_over("abc", formed=1, stage=Stage.RUNNING)

    assert [each for each in orders if isinstance(each, (Tell, Start))] == []
    assert (two.next.stage, two.next.generation, two.next.launched) == (Stage.RUNNING, 1, 1)
    two.next.on({"kind": "exited", "uid": "a-1", "code": -9, "text": "SIGKILL"}, 10.0)
    # No generation of its own is one of the coordinator's before, which may have begun another.
    assert two.next.generation == GENERATIONS + 1


def test_an_order_is_not_done_again_by_the_next_coordinator() -> None:
    two = Two()
    hold, release = Asked("key", "hold", "c", by="gpumedic"), Asked("other", "release", "c")
    answer = Operators(two.first).act(hold, 1.0)
    two.taken_over("abc", formed=1, stage=Stage.RUNNING)
    operators = Operators(two.next)

    assert operators.act(release, 2.0)["ok"]
    assert operators.act(hold, 3.0) == answer
    assert two.next.holds == {}


def test_a_hand_over_that_lost_its_coordinator_begins_anew() -> None:
    two = Two()
    orders = two.taken_over("abc", formed=0, stage=Stage.FORMING)

    told_to = [(each.uid, each.message["kind"]) for each in orders if isinstance(each, Tell)]
    assert told_to == [("a-1", "regroup"), ("b-2", "regroup")]
    assert two.next.generation == GENERATIONS + 1


def test_the_coordinators_own_rank_goes_to_a_spare() -> None:
    two = Two()
    orders = two.taken_over("bc", formed=1, stage=Stage.RUNNING)

    assert [seat.node for seat in two.next.seats] == ["c", "b"]
    assert [each.node for each in orders if isinstance(each, Start)] == ["c"]


def test_a_node_that_is_lost_with_the_coordinator_goes_to_a_spare_too() -> None:
    """Of five nodes that voted three are left: the quorum is there, and so is the training."""
    two = Two("abcde")
    orders = two.taken_over("cde", formed=1, stage=Stage.RUNNING)

    assert {seat.node for seat in two.next.seats} < {*"cde"}
    assert {each.node for each in orders if isinstance(each, Start)} < {*"cde"}
    assert two.next.stage is Stage.GATHERING
    assert two.next.generation == GENERATIONS + 1
