"""Finds ranks that do not go on though their processes live: frozen, stuck, or cut off."""

from dataclasses import dataclass, field

from agent.launch.jobside.gpumedic_job.layout import Phase
from agent.launch.members import Member, Stage, Stand
from agent.launch.pace import Pace

# A process that runs answers a ping within milliseconds, whatever its script does; it may be late
# where the machine is overloaded or a library holds the interpreter.
_PONG_S = 1.0
_ASK_AGAIN_S = 5.0
_FAILED_S = 1.0  # a dead peer's end is known sooner than this after its connections broke
_GATHER_S = 2.0
_CONNECT_S = 3.0
_COMMUNICATION = ("onnect", "gloo", "nccl", "timed out", "timeout", "peer", "socket", "store")


@dataclass(slots=True)
class Verdict:
    """What to do: workers to ping, to kill (with why), to let raise; why to regroup, if at all.

    abandon: workers to let end, with why: they live, and do not come out of a group that is over
    """

    ask: list[str] = field(default_factory=list)
    kill: dict[str, str] = field(default_factory=dict)
    blame: list[str] = field(default_factory=list)
    abandon: dict[str, str] = field(default_factory=dict)
    regroup: str = ""


class Watching:
    """Looks at the ranks' beats and answers.

    least_s: the least silence that is looked into
    start_s: how long a new process may take
    """

    def __init__(self, least_s: float, start_s: float) -> None:
        self.pace = Pace(least_s)
        self._start_s = start_s
        self.since_s = 0.0
        self.has_stepped = False
        self._first = self._step = -1
        self._moved_s = 0.0
        self._failed: dict[str, float] = {}

    def begin(self, now_s: float, step: int = -1) -> None:
        """Start to wait anew: a generation gathers, forms, or runs from ``step``."""
        self.since_s = self._moved_s = now_s
        self.has_stepped, self._first, self._step = False, step, -1
        self._failed.clear()
        self.pace.forget_place()

    def failed(self, uid: str, now_s: float) -> None:
        """A rank's step failed though nobody is known to be lost."""
        self._failed.setdefault(uid, now_s)

    def connect_s(self, attempts: int) -> float:
        """Return how long forming a group may take; longer after each attempt that failed."""
        return min(60.0, _CONNECT_S * 2.0 ** min(attempts, 5))

    def look(self, members: list[Member], now_s: float, stage: Stage) -> Verdict:
        """Judge the ranks: what each should be doing follows from the stage."""
        verdict = Verdict()
        running = stage is Stage.RUNNING
        if running:
            self._see(members, now_s)
        self._judge_failures(members, now_s, verdict)
        for each in members:
            if each.stand is Stand.STARTING and now_s - each.since_s > self._start_s:
                verdict.kill[each.uid] = f"it did not ask for its place in {self._start_s:g} s"
        unwanted = Stand.DONE if running else Stand.TOLD
        waiting = [each for each in members if (each.stand is unwanted) != running]
        if waiting and now_s - self._moved_s > self._silence_s(running=running):
            self._ask_or_kill(members, now_s, verdict)
            if not (verdict.ask or verdict.kill) and self._is_enough(now_s):
                self._give_up(waiting, now_s, stage, verdict)
        if stage is Stage.GATHERING:
            self._abandon(waiting, now_s, verdict)
        return verdict

    def _abandon(self, waiting: list[Member], now_s: float, verdict: Verdict) -> None:
        """Do without ranks that a library holds, though their connections are cut.

        Gloo forgets a send that was under way when its connection broke (its TCP pairs tell those
        that have not begun to send, and those that receive), and whoever waits for it waits until
        the group's timeout. What a rank does by itself in a step takes no longer than a step.
        """
        silent_s = now_s - self._moved_s
        if silent_s <= max(_GATHER_S, self.pace.long_step_s()):
            return
        for each in waiting:
            if each.beat is not None and each.beat.phase is not Phase.OUTSIDE:
                verdict.abandon[each.uid] = (
                    f"its library does not leave a group that is over since {silent_s:.1f} s"
                )

    def _silence_s(self, *, running: bool) -> float:
        if running:
            return self.pace.silence_s()
        return max(_GATHER_S, self.pace.silence_s()) if self.pace.step_s else _GATHER_S

    def _is_enough(self, now_s: float) -> bool:
        return now_s - self._moved_s > self.pace.patience_s()

    def _see(self, members: list[Member], now_s: float) -> None:
        beats = [each.beat for each in members if each.beat is not None]
        if beats:
            self.pace.see(max(beat.step for beat in beats), now_s)
        step = min((beat.step for beat in beats), default=-1)
        if step != self._step:
            self.has_stepped = step > self._first  # the first beat seen may be of a later step
            self._step, self._moved_s = step, now_s
            for each in members:
                each.pinged_s = each.ponged_s = None

    def _judge_failures(self, members: list[Member], now_s: float, verdict: Verdict) -> None:
        """Tell an error of the script from one of communication, once no peer turns out dead."""
        due = [uid for uid, at_s in self._failed.items() if now_s - at_s > _FAILED_S]
        for each in members:
            if each.uid not in due:
                continue
            if any(word in each.failed.lower() for word in _COMMUNICATION):
                verdict.regroup = f"rank {each.rank} lost the others: {each.failed[:200]}"
            else:
                verdict.blame.append(each.uid)
            del self._failed[each.uid]

    def _ask_or_kill(self, members: list[Member], now_s: float, verdict: Verdict) -> None:
        """Ask every process for a sign; one that gives none does not run at all."""
        for each in members:
            if not each.hooked:
                continue
            if each.stopped:
                verdict.kill[each.uid] = (
                    f"stopped by a signal: no step for {now_s - self._moved_s:.1f} s"
                )
            elif each.pinged_s is None or _is_old(each, now_s):
                verdict.ask.append(each.uid)
            elif _is_frozen(each, now_s):
                verdict.kill[each.uid] = (
                    f"frozen: no sign, no step for {now_s - self._moved_s:.1f} s"
                )

    def _give_up(self, waiting: list[Member], now_s: float, stage: Stage, verdict: Verdict) -> None:
        """Blame who holds up the others though its process runs; nobody, if all wait."""
        silent_s = now_s - self._moved_s
        late = [each for each in waiting if not _has_arrived(each)]
        if stage is Stage.FORMING or not late:
            verdict.regroup = f"all ranks wait for each other since {silent_s:.0f} s"
            return
        for each in late:
            where = each.stack[-1] if each.stack else "nowhere known"
            verdict.kill[each.uid] = f"stuck for {silent_s:.0f} s at {where}"


def _is_old(member: Member, now_s: float) -> bool:
    answered = member.ponged_s
    return answered is not None and now_s - answered > _ASK_AGAIN_S


def _is_frozen(member: Member, now_s: float) -> bool:
    asked = member.pinged_s
    return asked is not None and member.ponged_s is None and now_s - asked > _PONG_S


def _has_arrived(member: Member) -> bool:
    return member.beat is not None and member.beat.phase is Phase.ARRIVED
