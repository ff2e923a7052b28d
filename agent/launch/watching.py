"""Finds ranks that do not go on though their processes live: frozen, stuck, or cut off."""

from dataclasses import dataclass, field

from agent.launch.jobside.gpumedic_job.layout import Phase
from agent.launch.members import Member, Stage, Stand
from agent.launch.pace import Pace

_ASK_AGAIN_S = 5.0
_FAILED_S = 1.0  # a dead peer's end is known sooner than this after its connections broke
_GATHER_S = 2.0
_CONNECT_S, _DOUBLINGS = 3.0, 5
_COMMUNICATION = (
    "onnect",
    "gloo",
    "nccl",
    "timed out",
    "timeout",
    "peer",
    "socket",
    "store",
    "holds step",
)


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
    start_s: how long a new process may take, and a rank for what nobody is seen to wait for
    """

    def __init__(self, least_s: float, start_s: float) -> None:
        self.pace = Pace(least_s)
        self._long_s = max(start_s, least_s)
        self.since_s = 0.0
        self.has_stepped = False
        self._first = self._step = -1
        self._signs: dict[str, int] = {}
        self._moved_s = 0.0
        self._forming = 0
        self._failed: dict[str, float] = {}

    def begin(self, now_s: float, step: int = -1) -> None:
        """Start to wait anew: a generation gathers, forms, or runs from ``step``."""
        self.since_s = self._moved_s = now_s
        self.has_stepped, self._first, self._step = False, step, -1
        self._signs.clear()
        self._failed.clear()
        self.pace.forget_place()

    def forms(self, now_s: float) -> None:
        """A group is to form; each attempt has twice the time of the one before."""
        self.begin(now_s)
        self._forming += 1

    def runs(self, now_s: float, step: int = -1) -> None:
        """A group has formed, and goes on from ``step``."""
        self.begin(now_s, step)
        self._forming = 0

    def failed(self, uid: str, now_s: float) -> None:
        """A rank's step failed though nobody is known to be lost."""
        self._failed.setdefault(uid, now_s)

    def connect_s(self) -> float:
        """Return how long the connections of a group may take to be made."""
        return min(60.0, _CONNECT_S * self._attempts())

    def _attempts(self) -> float:
        """Return how many times longer than a first attempt this one may take."""
        return 2.0 ** min(max(self._forming - 1, 0), _DOUBLINGS)

    def look(self, members: list[Member], now_s: float, stage: Stage) -> Verdict:
        """Judge the ranks: what each should be doing follows from the stage."""
        verdict = Verdict()
        running = stage is Stage.RUNNING
        if running:
            self._see(members, now_s)
        elif stage is Stage.FORMING:
            self._hear(members, now_s)
        self._judge_failures(members, now_s, verdict)
        for each in members:
            if each.stand is Stand.STARTING and now_s - each.since_s > self._long_s:
                verdict.kill[each.uid] = f"it did not ask for its place in {self._long_s:g} s"
        unwanted = Stand.DONE if running else Stand.TOLD
        waiting = [each for each in members if (each.stand is unwanted) != running]
        if waiting and now_s - self._moved_s > self._silence_s(running=running):
            self._ask_or_kill(members, now_s, verdict)
            if not (verdict.ask or verdict.kill):
                self._give_up(waiting, now_s, stage, verdict)
        if stage is Stage.GATHERING:
            self._abandon(waiting, now_s, verdict)
        return verdict

    def _abandon(self, waiting: list[Member], now_s: float, verdict: Verdict) -> None:
        """Do without ranks that a library holds, though their connections are cut.

        Gloo forgets a send that was under way when its connection broke (its TCP pairs tell those
        that have not begun to send, and those that receive), and whoever waits for it waits until
        the group's timeout. What a rank does by itself in a step takes no longer than a step.
        Between its steps a script may do anything.
        """
        silent_s = now_s - self._moved_s
        for each in waiting:
            in_step = each.beat is not None and each.beat.phase is not Phase.OUTSIDE
            patience_s = max(_GATHER_S, self.pace.long_step_s()) if in_step else self._may_s()
            if each.abandoned:
                if now_s - each.abandoned_s > self._long_s:
                    verdict.kill[each.uid] = f"told to end, it has not in {self._long_s:g} s"
            elif silent_s > patience_s:
                held = "its library does not leave" if in_step else "its script does not return to"
                verdict.abandon[each.uid] = f"{held} a group that is over since {silent_s:.1f} s"

    def _silence_s(self, *, running: bool) -> float:
        if running:
            return self.pace.silence_s()
        return max(_GATHER_S, self.pace.silence_s()) if self.pace.step_s else _GATHER_S

    def _see(self, members: list[Member], now_s: float) -> None:
        """Take the slowest rank's next step for a move."""
        beats = [each.beat for each in members if each.beat is not None]
        if beats:
            self.pace.see(max(beat.step for beat in beats), now_s)
        step = min((beat.step for beat in beats), default=-1)
        if step != self._step:
            self.has_stepped = step > self._first  # the first beat seen may be of a later step
            self._step = step
            self._moved(members, now_s)

    def _hear(self, members: list[Member], now_s: float) -> None:
        """Take any beat for a move: a large state is handed out piece by piece."""
        signs = {each.uid: each.beat.time_ns for each in members if each.beat is not None}
        if signs != self._signs:
            self._signs = signs
            self._moved(members, now_s)

    def _moved(self, members: list[Member], now_s: float) -> None:
        self._moved_s = now_s
        for each in members:
            each.asked(None)

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
        """Ask every process for a sign; one that gives none and does not run at all is killed."""
        for each in members:
            if not each.hooked:
                continue
            if each.still and each.ponged_s is None:
                verdict.kill[each.uid] = f"{each.still}: no step for {now_s - self._moved_s:.1f} s"
            elif _is_due(each, now_s):
                verdict.ask.append(each.uid)

    def _give_up(self, waiting: list[Member], now_s: float, stage: Stage, verdict: Verdict) -> None:
        """Blame who holds up the others though its process runs; nobody, if nobody waits for it."""
        silent_s = now_s - self._moved_s
        late = [each for each in waiting if not _is(each, Phase.ARRIVED)]
        outside = [each for each in late if not _is(each, Phase.STARTED)]
        match stage:
            case Stage.FORMING if silent_s > self.pace.patience_s() * self._attempts():
                verdict.regroup = f"the group does not form since {silent_s:.0f} s"
            case Stage.RUNNING if silent_s <= self._enough_s(waiting, late, outside):
                pass
            case Stage.RUNNING if len(late) in (0, len(waiting)):
                verdict.regroup = f"all ranks wait for each other since {silent_s:.0f} s"
            case Stage.RUNNING:
                for each in outside or late:
                    where = each.stack[-1] if each.stack else "nowhere known"
                    verdict.kill[each.uid] = f"stuck for {silent_s:.0f} s at {where}"

    def _enough_s(self, waiting: list[Member], late: list[Member], outside: list[Member]) -> float:
        """Return how long no step may be done where all processes run.

        A first step may compile for long, and between its steps a script may evaluate, or save. In
        a step, a rank for which others are seen to wait does what they have done.
        """
        waited_for = len(late) < len(waiting)
        if self.has_stepped and waited_for and not outside:
            return self.pace.patience_s()
        return self._may_s()

    def _may_s(self) -> float:
        """Return how long a rank may do what nobody can judge."""
        return max(self._long_s, self.pace.patience_s())


def _is_due(member: Member, now_s: float) -> bool:
    """Say whether to ask: at once, and again after each answer, and where none comes."""
    if member.pinged_s is None:
        return True
    return now_s - max(member.pinged_s, member.ponged_s or 0.0) > _ASK_AGAIN_S


def _is(member: Member, phase: Phase) -> bool:
    return member.beat is not None and member.beat.phase is phase
