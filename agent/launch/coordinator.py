"""Decides who has which rank, when a generation ends, who goes on with what; does nothing itself.

Events go in, orders come out. A generation is one process group. Where the script asks for its
place (``gpumedic_job``), a dead rank ends the generation and a standby takes the rank in the next;
where it does not, the whole group is started again, as torchrun does.
"""

import signal
from collections import Counter

from agent.launch.agreeing import agree, is_kept
from agent.launch.environment import rank_environment
from agent.launch.forming import place_of
from agent.launch.leaving import awaited, have_all_left, parted
from agent.launch.members import Hold, Member, Node, Seat, Stage, Stand
from agent.launch.plan import End, Kill, Message, Order, Over, Plan, Said, Start, Tell
from agent.launch.seating import Seating
from agent.launch.standbys import Standbys
from agent.launch.watching import Watching

# So often, for each rank, may the same step fail before it is the step that is at fault: by
# signals, which the machines may be to blame for, and by errors of the script, which they are not.
_BY_SIGNAL, _BY_ITSELF = 10, 2
_ENDS_S = 10.0  # a process that was killed has ended, stacks taken, long before
_MIB = 1 << 20


class Coordinator:
    """The state of a launch.

    launched: when it began, ns since the epoch: checkpoints of an older launch give way
    """

    def __init__(self, plan: Plan, launched: int) -> None:
        self.plan, self.launched = plan, launched
        self.most_nodes = plan.max_nodes  # that it was started for; the plan's may be changed
        self.nodes: dict[str, Node] = {}
        self.known: set[str] = set()  # names of nodes that ever joined
        self.members: dict[str, Member] = {}
        self.seating = Seating(plan)
        self.standbys = Standbys(self)
        self.generation = self.restarts = self.handovers = 0
        self.stage = Stage.WAITING
        self.hooked = False
        self.watching = Watching(plan.hang_s, plan.start_s)
        self._orders: list[Order] = []
        self._attempts: Counter[tuple[int, bool]] = Counter()
        self._began_s = 0.0
        self._enough_s: float | None = None
        self.count = 0
        self._furthest = 0
        self.released = False  # all steps are done: a rank that ends now is not replaced
        self.holds: dict[str, Hold] = {}  # by node: it is given no ranks
        self.answers: dict[str, Message] = {}  # to operators, by key
        self.floor = 0  # generations up to this one were another coordinator's
        self.checkpoint: Message | None = None  # what rank 0 said last of the job's checkpoints

    @property
    def seats(self) -> list[Seat]:
        """The ranks of the world, in order."""
        return self.seating.seats

    def take(self) -> list[Order]:
        """Return the orders since the last call."""
        orders, self._orders = self._orders, []
        return orders

    # Nodes

    def node_joined(self, node: Node, now_s: float) -> None:
        """A supervisor offers its machine."""
        if not self.nodes:
            self._began_s = now_s
        self.nodes[node.name] = node
        self.known.add(node.name)
        self.say(f"node {node.name} joined", what="node_joined", node=node.name)
        if self.stage is not Stage.WAITING:
            self.standbys.refill(now_s)
        self.tick(now_s)

    def node_lost(self, name: str, now_s: float) -> None:
        """A supervisor is gone, and with it all that it had started."""
        if self.stage is not Stage.ENDED and name in self.nodes:
            self.lose([name], now_s)

    def lose(self, names: list[str], now_s: float) -> None:
        """Do without nodes that are gone at once: none of them is asked for what another had."""
        for name in names:
            self.nodes.pop(name, None)
            self.say(f"node {name} is lost", what="node_lost", node=name)
        self.members = {uid: each for uid, each in self.members.items() if each.node in self.nodes}
        used = [name for name in names if self.seating.uses(name)]
        for name in used:
            moved = self.seating.move(name, self.spares())
            if moved is None and not self.seating.drop(name):
                self.seating.clear()
                self._end(1, f"node {name} is lost and too few are left: {len(self.nodes)}")
                return
            where = f"its ranks go to {moved}" if moved else f"{len(self.seats)} ranks are left"
            self.say(where, what="moved", node=name, to=moved or "")
        if used:
            self.again(now_s, f"node {' and '.join(used)} is lost", step_failed=False)

    def spares(self) -> dict[str, int]:
        """Return nodes that may be given ranks, with how many standbys are ready there."""
        return {
            name: len(self.standbys.ready(name))
            for name in self.nodes
            if not self.seating.uses(name) and name not in self.holds
        }

    # Workers

    def on(self, event: Message, now_s: float) -> None:
        """Take what a worker said or what a node saw of it."""
        member = self.members.get(event.get("uid", ""))
        if member is None or self.stage is Stage.ENDED:
            return
        match event["kind"]:
            case "hello":
                self._hooked(member, now_s)
                self.tell(member, kind="regroup", generation=self.generation)
            case "warm":
                member.stand = Stand.READY
                self.standbys.use_warm(member)
            case "parked":
                self._parked(member, event, now_s)
            case "formed":
                self._formed(member, event, now_s)
            case "failed" if event["generation"] == self.generation:
                member.failed = event["error"]
                self.watching.failed(member.uid, now_s)
            case "finished" if event["generation"] == self.generation:
                member.stand, member.step = Stand.DONE, event["step"]
                self._release()
            case "left" if event["generation"] == self.generation and not member.released:
                self._left(member, event["step"])
            case "exited":
                self._exited(member, event, now_s)
            case "pong" | "still" | "raised":
                _shows(member, event, now_s)
            case "saved" | "note" | "refused":
                self._told(member, event)

    def _hooked(self, member: Member, now_s: float) -> None:
        """The script asks for its place: from the first time on, groups are formed by us."""
        member.hooked = True
        if not self.hooked:
            self.hooked = True
            self.stage = Stage.GATHERING
            self.watching.begin(now_s)

    def _parked(self, member: Member, event: Message, now_s: float) -> None:
        member.parked_for, member.stand = event["generation"], Stand.READY
        member.step, member.valid, member.fresh = event["step"], event["valid"], event["fresh"]
        member.loaded = event["loaded"]
        self.nodes[member.node].standby_failures = 0
        if member.rank is None:
            size = event.get("memory_bytes", 0)
            text = f"standby {member.uid} is ready, {size / _MIB:.0f} MiB"
            self.say(text, uid=member.uid, memory_bytes=size)
        self._form_if_ready(now_s)

    def _exited(self, member: Member, event: Message, now_s: float) -> None:
        del self.members[member.uid]
        code = event["code"]
        seat = self.seat_of(member)
        why = member.raised or member.killed or member.abandoned or event["text"]
        if seat is None:
            if member.rank is None:
                self.standbys.ended(member, why, now_s)
            return
        if code == 0 and (member.released or not self.hooked or seat.left is not None):
            seat.uid, seat.done = None, True
            if all(each.done for each in self.seats):
                self._end(0, "every rank is done")
            return
        seat.uid = None
        if code == 0:
            why = "exit code 0 before its last step, not by the end of `with Training(...)`"
        self.say(
            f"rank {seat.rank} ended: {why}",
            what="rank_ended",
            uid=member.uid,
            rank=seat.rank,
            node=member.node,
            code=code,
            why=why,
        )
        self.again(
            now_s, f"rank {seat.rank} ended: {why}", by_itself=code >= 0 or bool(member.raised)
        )

    def _told(self, member: Member, event: Message) -> None:
        """Pass on what a script says, and keep what it says of its checkpoints."""
        if event["kind"] == "refused":
            self._end(1, event["error"])
            return
        if event["kind"] == "note":
            self.say(f"rank {member.rank}: {event['text']}", what="note", uid=member.uid)
            return
        self.checkpoint, problem = event["checkpoint"], event["checkpoint"]["problem"]
        # Each new generation says again what is known, of a save that failed before it too.
        if problem and (step := event.get("failed")) is not None:
            self.say(f"no checkpoint of step {step}: {problem}", what="not_saved", step=step)
        if event.get("fenced"):
            self._end(1, problem)

    # Generations

    def again(
        self, now_s: float, why: str, *, by_itself: bool = False, step_failed: bool = True
    ) -> None:
        """Go on without whoever was lost: hand over where the script can, restart where not."""
        if not self.hooked or self.released:
            self.restart(now_s, why)
            return
        known = [each.beat.step for each in self.members.values() if each.beat]
        self._furthest = max([self._furthest, *known])
        self._attempts[self._furthest, by_itself] += step_failed
        failed = self._attempts[self._furthest, by_itself]
        if failed > len(self.seats) * (_BY_ITSELF if by_itself else _BY_SIGNAL):
            self._end(1, f"step {self._furthest} failed {failed} times: {why}")
            return
        self._regroup(now_s, why)

    def _regroup(self, now_s: float, why: str) -> None:
        """End the generation; whoever lives parks, and empty seats are filled."""
        self.generation = max(self.generation, self.floor) + 1
        self.handovers += 1
        self.stage = Stage.GATHERING
        self._orders.append(Over(self.generation))
        self.say(f"generation {self.generation}: {why}", what="over", generation=self.generation)
        for seat in self.seats:
            if seat.left is not None:  # it does not come back
                seat.empty()
        for member in [*self.members.values()]:
            member.failed = ""
            member.asked(None)
            if self.seated(member) and member.hooked:
                member.stand = Stand.TOLD
                self.tell(member, kind="regroup", generation=self.generation)
            elif member.rank is not None and not self.seated(member):
                self.kill(member, "its rank was given to another", now_s)
        for seat in self.seats:
            if seat.uid is None:
                self.standbys.fill(seat, now_s)
            self.members[seat.uid or ""].rank = seat.rank
        self.watching.begin(now_s)
        self._form_if_ready(now_s)

    def restart(self, now_s: float, why: str, *, counts: bool = True) -> None:
        """Start the whole group again on a fresh rendezvous."""
        self.restarts += counts
        self.released = False
        if self.restarts > self.plan.max_restarts:
            self._end(1, f"{why}; {self.plan.max_restarts} restarts were allowed")
            return
        self.generation = max(self.generation, self.floor) + 1
        self._orders.append(Over(self.generation))
        self.say(f"restart {self.restarts}: {why}", what="over", generation=self.generation)
        for seat in self.seats:
            if seat.uid is not None:
                self.kill(self.members[seat.uid], "the group is started again", now_s)
            seat.empty()
        self._seat_all(now_s)

    def _seat_all(self, now_s: float) -> None:
        self.stage = Stage.GATHERING if self.hooked else Stage.RUNNING
        self.watching.begin(now_s)
        for seat in self.seats:
            self.standbys.fill(seat, now_s)

    def _form_if_ready(self, now_s: float) -> None:
        """Tell every rank its place and its state once all of them wait for it."""
        members = [self.members[seat.uid] for seat in self.seats if seat.uid in self.members]
        if self.stage is not Stage.GATHERING or len(members) < len(self.seats):
            return
        if not all(each.stand is Stand.READY and self._has_parked(each) for each in members):
            return
        held = {name: node.holdings for name, node in self.nodes.items()}
        agreed = agree(self.seats, members, held)
        if agreed.fresh and not members[0].loaded:  # a standby of old knows no newer checkpoint
            members[0].stand, members[0].since_s = Stand.STARTING, now_s
            self.tell(members[0], kind="load")
            return
        self.stage = Stage.FORMING
        self.watching.forms(now_s)
        self.say(
            f"generation {self.generation}: {len(members)} ranks go on from step {agreed.step}",
            what="goes_on",
            generation=self.generation,
            step=agreed.step,
            source=agreed.source,
            takings=[f"{each.shared}/{each.own}" for each in agreed.takings],
        )
        for seat, member, taking in zip(self.seats, members, agreed.takings, strict=True):
            member.stand, member.step = Stand.TOLD, agreed.step
            member.asked(None)
            message = place_of(self.seating, seat, taking, agreed)
            self.tell(
                member,
                kind="form",
                generation=self.generation,
                launched=self.launched,
                environment=self.environment(seat),
                connect_s=self.watching.connect_s(),
                **message,
            )

    def _has_parked(self, member: Member) -> bool:
        return member.fresh or member.parked_for == self.generation

    def _formed(self, member: Member, event: Message, now_s: float) -> None:
        if event["generation"] != self.generation:
            return
        member.stand, member.fresh, member.valid = Stand.IN, False, True
        if all(each.stand is Stand.IN for each in self.members.values() if self.seated(each)):
            self.stage = Stage.RUNNING
            self.watching.runs(now_s, max(0, member.step))
            self.say(f"generation {self.generation} runs", what="runs", generation=self.generation)

    def go_on(self, now_s: float) -> None:
        """Coordinate ranks that step already, as another coordinator left them."""
        self.stage = Stage.RUNNING
        self.watching.runs(now_s)
        if self.seats and all(each.done for each in self.seats):
            self._end(0, "every rank is done")
        self._release()

    def _release(self) -> None:
        """Let the ranks leave their steps once every one has done all, or has left."""
        if have_all_left(self) and not parted(self):
            members = [self.members[seat.uid] for seat in self.seats if seat.uid in self.members]
            for each in members:
                each.released = self.released = True
                self.tell(each, kind="release")

    def _left(self, member: Member, step: int) -> None:
        """A rank has left its steps, and waits for nobody."""
        member.stand = Stand.DONE
        if seat := self.seat_of(member):
            seat.left = step
        self._release()

    # Time

    def tick(self, now_s: float) -> None:
        """Do what is due: start, refill standbys, look into silences."""
        match self.stage:
            case Stage.WAITING:
                self._begin_if_enough(now_s)
            case Stage.ENDED:
                pass
            case Stage.RUNNING if why := parted(self):
                self._end(1, why)
            case _ if member := self._unending(now_s):
                text = f"{member.uid} does not end, though killed: the kernel keeps it (stacks say)"
                self.say(text, what="unending", uid=member.uid, node=member.node)
                self._exited(member, {"code": -signal.SIGKILL, "text": "SIGKILL"}, now_s)
            case _:
                self._watch(now_s)

    def _unending(self, now_s: float) -> Member | None:
        """Return a worker that waits in the kernel, for a disk perhaps, and may do so for ever."""
        killed = (each for each in self.members.values() if each.killed)
        return next((each for each in killed if now_s - each.killed_s > _ENDS_S), None)

    def _begin_if_enough(self, now_s: float) -> None:
        plan, here = self.plan, len(self.nodes)
        if here < plan.min_nodes:
            self._enough_s = None
            if self.nodes and now_s - self._began_s > plan.join_timeout_s:
                self._end(
                    1,
                    f"{here} of {plan.min_nodes} nodes joined in {plan.join_timeout_s:g} s",
                )
            return
        self._enough_s = now_s if self._enough_s is None else self._enough_s
        if here < plan.max_nodes and now_s - self._enough_s < plan.last_call_s:
            return
        self.generation = max(self.generation, self.floor) + 1
        self.seating.seat([*self.nodes][: plan.max_nodes])
        self._seat_all(now_s)

    def _watch(self, now_s: float) -> None:
        if self.hooked:
            awaits = awaited(self)
            verdict = self.watching.look(awaits, now_s, self.stage)
            for uid in verdict.ask:
                self.members[uid].asked(now_s)
                self.tell(self.members[uid], kind="ping")
            for uid, why in verdict.kill.items():
                self.kill(self.members[uid], why, now_s)
            for uid, why in verdict.abandon.items():
                self._abandon(self.members[uid], why, now_s)
            for uid in verdict.blame:
                self.tell(self.members[uid], kind="raise")
            if verdict.regroup:
                stacks = {each.uid: [*each.stack] for each in awaits}
                self.say(verdict.regroup, what="cut_off", stacks=stacks)
                self.again(now_s, verdict.regroup)
        settled = self.watching.has_stepped or not self.hooked
        if self.stage is Stage.RUNNING and settled:
            self.standbys.refill(now_s)
            self._grow(now_s)

    def _grow(self, now_s: float) -> None:
        """Give a spare node ranks once its standbys are ready, up to the most nodes wanted."""
        if not self.hooked or len(self.seating.nodes()) >= self.plan.max_nodes:
            return
        for name, ready in self.spares().items():
            if ready >= self.plan.per_node:
                self.seating.add(name)
                self.say(f"node {name} takes part", what="grown", node=name)
                self.again(now_s, f"node {name} takes part", step_failed=False)
                return

    def seat_of(self, member: Member) -> Seat | None:
        """Return the worker's place in the world."""
        return next((seat for seat in self.seats if seat.uid == member.uid), None)

    def seated(self, member: Member) -> bool:
        """Say whether the worker has a place in the world."""
        return self.seat_of(member) is not None

    # Orders

    def start(self, node: str, kind: str, now_s: float, environment: dict[str, str]) -> Member:
        """Start a worker on a node."""
        self.count += 1
        member = Member(uid=f"{node}-{self.count}", node=node, kind=kind, since_s=now_s)
        self.members[member.uid] = member
        self._orders.append(Start(node, member.uid, kind, environment))
        return member

    def tell(self, member: Member, **message: object) -> None:
        """Send a worker a message."""
        self._orders.append(Tell(member.node, member.uid, dict(message)))

    def kill(self, member: Member, why: str, now_s: float) -> None:
        """Kill a worker, once."""
        if not member.killed:
            member.killed, member.killed_s = why, now_s
            self._orders.append(Kill(member.node, member.uid, why))

    def _abandon(self, member: Member, why: str, now_s: float) -> None:
        """Let a worker end that lives and does not come back; first leave what only it has."""
        if not member.abandoned and not member.killed:
            copy = not is_kept(member, self.members.values(), self.nodes[member.node].holdings)
            member.abandoned, member.abandoned_s = why, now_s
            self.say(f"rank {member.rank} is given up: {why}", uid=member.uid)
            self.tell(member, kind="abandon", copy=copy)

    def say(self, text: str, **fields: object) -> None:
        """Write a line into the journal; ``what`` names it for programs."""
        self._orders.append(Said(text, dict(fields)))

    def _end(self, code: int, text: str) -> None:
        self.stage = Stage.ENDED
        self._orders.append(End(code, text))

    def environment(self, seat: Seat) -> dict[str, str]:
        """Return what a rank finds in its environment, as torchrun's ranks do."""
        first = self.nodes[self.seats[0].node]
        return rank_environment(
            self.plan,
            seat,
            self.seating,
            restarts=self.restarts,
            master=(first.address, first.port),
        )


def _shows(member: Member, event: Message, now_s: float) -> None:
    """Note what a worker, or its node, shows of what it does."""
    match event["kind"]:
        case "pong":
            member.ponged_s, member.stack = now_s, tuple(event["stack"])
        case "still":
            member.still = event["why"]
        case "raised":
            member.raised = event["error"]
