"""Carries orders out: allowed, once, bounded, written down before, and given back as it was."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from agent.collect.patience import Stuck
from agent.roothelper.gpus import ClockLock
from agent.roothelper.journal import Change, Hold, Journal, Record
from agent.roothelper.order import SUBJECT, Order, read_order
from agent.roothelper.verbs import Undoable, Verb
from core.clock import Clock
from core.errors import ActionFailed, ActionRefused, GpumedicError

# An 8-GPU node needs eight orders to limit its power; more than some of those a minute is a fault.
MOST_A_MINUTE = 60
_LANES: Mapping[str, str] = {"gpu": "gpu", "pid": "process"}

Answer = dict[str, Any]


@dataclass(slots=True)
class Desk:
    """Takes a line, returns an answer; never raises. Orders about GPUs wait for one another."""

    verbs: Mapping[str, Verb]
    journal: Journal
    clock: Clock
    _begun_s: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_A_MINUTE))
    _lanes: dict[str, Lock] = field(default_factory=dict)

    def answer(self, line: bytes, who: Mapping[str, int]) -> Answer:
        """Carry out what the line asks for, or say why not."""
        try:
            order = read_order(line)
            with self._lane(order):
                return {"ok": True, "key": order.key, **self._carried_out(order, who)}
        except ActionRefused as error:
            return {
                "ok": False,
                "code": error.guard,
                "error": error.reason,
                "remedy": error.remedy,
            }
        except GpumedicError as error:
            return {"ok": False, "code": error.code, "error": str(error)}
        except OSError as error:
            return {"ok": False, "code": ActionFailed.code, "error": str(error)}

    def _lane(self, order: Order) -> Lock:
        lane = next((lane for key, lane in _LANES.items() if key in order.values), "machine")
        return self._lanes.setdefault(lane, Lock())

    def _carried_out(self, order: Order, who: Mapping[str, int]) -> Answer:
        if (known := self.journal.records.get(order.key)) is not None:
            return _repeated(order, known)
        verb = self.verbs.get(order.verb)
        if verb is None:
            raise ActionRefused(
                "not_enabled",
                f"{order.verb} is not among the verbs of this machine.",
                "Whoever is root here may add it to verbs in the helper's settings.",
            )
        change = self._change(order, verb)
        self._not_too_many()
        self.journal.begin(order, change, who)
        self._put(order, verb, change)
        self.journal.end(order.key, "done")
        return _done(order, change, repeated=False)

    def _change(self, order: Order, verb: Verb) -> Change:
        """Check the order against how things are, and return what it will change."""
        now = verb.before(order)
        if not isinstance(verb, Undoable):
            if order.restore:
                raise ActionRefused("irreversible", f"{order.verb} cannot be given back.", "")
            return Change(now, None, holds=False)
        held = self.journal.hold(order.verb, order.subject)
        if held is not None and _is_theirs(verb, now, held):
            self.journal.let_go(order.verb, order.subject)
            raise ActionRefused(
                "overridden",
                f"{order.verb} {order.subject}: somebody has set it to {now} since we set it to "
                f"{held.now}. Theirs stays.",
                "A new order begins from what is there now.",
            )
        if order.restore:
            if held is None:
                raise ActionRefused(
                    "nothing_held",
                    f"{order.verb} {order.subject}: nothing of ours is in force since this boot.",
                    "There is nothing to give back.",
                )
            return Change(now, held.before, holds=True)
        if held is None and isinstance(verb, ClockLock):
            verb.take(order)
        return Change(held.before if held else now, verb.after(order), holds=True)

    def _put(self, order: Order, verb: Verb, change: Change) -> None:
        try:
            verb.put(order, change.now)
        except (GpumedicError, OSError) as error:
            outcome = "unknown" if isinstance(error.__cause__, Stuck) else "failed"
            self.journal.end(order.key, outcome, str(error))
            if isinstance(error, OSError):
                raise ActionFailed(f"{order.verb} {order.subject}: {error}") from error
            raise

    def _not_too_many(self) -> None:
        now_s = self.clock.monotonic_s()
        full = len(self._begun_s) == MOST_A_MINUTE
        if full and now_s - self._begun_s[0] < 60.0:
            raise ActionRefused(
                "too_many",
                f"{MOST_A_MINUTE} orders were carried out within the last minute.",
                "Wait for a minute.",
            )
        self._begun_s.append(now_s)


def _is_theirs(verb: Verb, now: Any, held: Hold) -> bool:
    """Say whether somebody else has changed what we hold; of clocks nobody can tell."""
    return not isinstance(verb, ClockLock) and now not in (held.now, held.before)


def _repeated(order: Order, known: Record) -> Answer:
    """Answer an order whose key was seen before: what came of it then, and nothing is done."""
    if dict(known.asked) != order.plain:
        raise ActionRefused(
            "key_used",
            f"The key {order.key} was another order's: {dict(known.asked)}.",
            "Give each order a key of its own.",
        )
    if known.outcome != "done":
        what = known.outcome or "interrupted"
        raise ActionRefused(
            "ended_before",
            f"{order.verb} {order.subject}: this order was carried out once; it {_ENDS[what]}. "
            f"{known.said}".rstrip(),
            "Look how things are, and give a new key to try again.",
        )
    return _done(order, Change(known.before, None, holds=not order.restore), repeated=True)


_ENDS = {
    "failed": "failed",
    "unknown": "did not end in time",
    "interrupted": "was interrupted, and whether it had its effect is not known",
}


def _done(order: Order, change: Change, *, repeated: bool) -> Answer:
    """Say how it was before, and what gives that back; None: nothing does."""
    subject = {key: order.values[key] for key in SUBJECT if key in order.values}
    undone = change.holds and not order.restore
    return {
        "repeated": repeated,
        "before": change.before,
        "inverse": {"verb": order.verb, **subject, "restore": True} if undone else None,
    }
