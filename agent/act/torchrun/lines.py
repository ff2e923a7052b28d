"""From a launch's journal: what happened, as events, and what the launch has mended by itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agent.act.torchrun.picture import gpu_name
from agent.act.torchrun.records import Line
from core.target import Target
from core.types import Event, Mended, Scalar, Severity

LAUNCHER = "the launcher"
HANG = "hang"
_C, _W, _I = Severity.CRITICAL, Severity.WARNING, Severity.INFO
_NAMED = 4
# Words in why a rank ended -> the code of a failed job, as rca knows them; the first that fits.
_CODES = (
    ("no step for", HANG),
    ("stuck for", HANG),
    ("No space left", "no_space"),
    ("CUDA out of memory", "gpu_memory"),
    ("CUDA error", "cuda_error"),
    ("NCCL", "network"),
    ("is lost", "node_down"),
    ("is gone", "software"),
)
# Why a rank ended by order, which is no trouble.
_BY_ORDER = ("asked for", "its rank was given to another", "the group is started again")
_SIGNAL = 128
# Of the stacks of a rank that is killed: the kernel's word and the innermost frames come first.
_STACK_LINES, _STACK_LETTERS = 12, 600


@dataclass(slots=True)
class Story:
    """Reads one launch's journal, line by line, and remembers what is not yet mended."""

    job: str
    per_node: int
    events: list[Event] = field(default_factory=list)
    mended: list[Mended] = field(default_factory=list)
    _lost: set[str] = field(default_factory=set)
    _trouble: list[tuple[float, Target, str]] = field(default_factory=list)
    _moves: dict[str, str] = field(default_factory=dict)
    _notes: list[str] = field(default_factory=list)
    _stacks: dict[str, str] = field(default_factory=dict)
    _step: int | None = None
    _restarted: bool = False

    def read(self, lines: Iterable[Line], *, nodes: int) -> None:
        """Take further lines in; nodes: that the job has now."""
        for line in lines:
            self._read(line, nodes)

    def _read(self, line: Line, nodes: int) -> None:
        match line.get("what"):
            case "node_lost":
                self._node_lost(line)
            case "node_joined" if line["node"] in self._lost:
                self._lost.discard(line["node"])
                target = Target(node=line["node"])
                self._tell(line, target, "node_returned", f"node {target} is back", severity=_I)
            case "moved":
                self._moves[line["node"]] = line["to"]
                self._was_hit(line, Target(node=line["node"]), f"node {line['node']} was lost")
            case "stacks":
                self._stacks[line["uid"]] = _shortened(line["evidence"])
            case "rank_ended" if line["why"] not in _BY_ORDER:
                self._rank_ended(line)
            case "cut_off":
                self._failed(line, Target(job=self.job), "network", line["text"])
            case "not_saved":
                text = f"{Target(job=self.job)}: {line['text']}"
                self._tell(line, Target(job=self.job), "checkpoint_late", text, code="not_saved")
            case "over":
                self._restarted = line["text"].startswith("restart ")
            case "note" if self._trouble:
                self._notes.append(line["text"])
            case "goes_on":
                self._step = line["step"]
            case "runs":
                self._runs(line, nodes)

    def ended(self, code: int, text: str, at_s: float) -> None:
        """Tell of a launch that has given up."""
        line = {"time_s": at_s}
        found = _code_of(text, code)
        self._failed(line, Target(job=self.job), found, f"the launch has ended: {text}")

    def left(self, heirs: Sequence[str], at_s: float) -> None:
        """Tell of a launch that is coordinated elsewhere now, if at all."""
        named = ", ".join([*heirs[:_NAMED], *(["..."] if len(heirs) > _NAMED else [])])
        target = Target(job=self.job)
        text = (
            f"{target}: who coordinated it here is gone, and one of {named} may go on with it. Its "
            "control socket is on that machine now (`gpumedic launch --status` there); run a "
            "controller there to have it looked after"
        )
        self._tell({"time_s": at_s}, target, "lead_elsewhere", text, severity=_W)

    def _node_lost(self, line: Line) -> None:
        target = Target(node=line["node"])
        self._lost.add(line["node"])
        self._tell(line, target, "node_down", f"node {target} does not answer its launch")

    def _rank_ended(self, line: Line) -> None:
        rank, node = int(line["rank"]), line["node"]
        gpu = gpu_name(node, rank % self.per_node)
        target = Target(node=node, gpu=gpu, job=self.job, rank=str(rank))
        code = _code_of(line["why"], line["code"])
        how = "hung" if code == HANG else "ended"
        seen = self._stacks.pop(line["uid"], "")
        text = f"rank {rank} on {node} {how}: {line['why']}"
        self._failed(
            line, target, code, text, more=f"; seen before its end: {seen}" if seen else ""
        )

    def _failed(self, line: Line, target: Target, code: str, text: str, *, more: str = "") -> None:
        said = f"{Target(job=self.job)}: {text}{more}"
        self._tell(line, target, "job_failed", said, code=code)
        self._was_hit(line, target, text)

    def _was_hit(self, line: Line, target: Target, text: str) -> None:
        self._trouble.append((line["time_s"], target, text))

    def _runs(self, line: Line, nodes: int) -> None:
        """Say what brought the job back, where something had befallen it."""
        if self._trouble:
            began_s, about, _ = self._trouble[0]
            kind, target, params = self._done(nodes)
            took_s = line["time_s"] - began_s
            step = "" if self._step is None else f" from step {self._step}"
            what = "; ".join(dict.fromkeys(text for *_, text in self._trouble))
            self.mended.append(
                Mended(
                    by=LAUNCHER,
                    about=about,
                    job=self.job,
                    kind=kind,
                    target=target,
                    params=tuple(sorted(params.items())),
                    started_s=began_s,
                    ended_s=line["time_s"],
                    text="; ".join(
                        [f"{what}; the job runs again after {took_s:.2f} s{step}", *self._notes]
                    ),
                )
            )
        self._trouble.clear()
        self._stacks.clear()
        self._moves.clear()
        self._notes.clear()
        self._restarted = False

    def _done(self, nodes: int) -> tuple[str, Target, dict[str, Scalar]]:
        """Return the action of the catalogue that the launch's own comes to."""
        moved = {node: to for node, to in self._moves.items() if to}
        job = Target(job=self.job)
        if len(moved) == 1:
            ((node, to),) = moved.items()
            return "swap_node", Target(node=node), {"job": self.job, "spare": to}
        if moved:
            return "swap_nodes", job, {"nodes": ",".join(moved), "spares": ",".join(moved.values())}
        if self._moves:
            return "shrink_job", job, {"nodes": nodes, "leave": next(iter(self._moves))}
        return ("restart_job" if self._restarted else "restart_in_place"), job, {}

    def _tell(
        self,
        line: Line,
        target: Target,
        kind: str,
        text: str,
        *,
        code: str = "",
        severity: Severity = _C,
    ) -> None:
        self.events.append(Event(target, line["time_s"], kind, code, text, severity))


def _shortened(stacks: str) -> str:
    """Return the first lines of what was seen of a process, as one."""
    lines = [line.strip() for line in stacks.splitlines() if line.strip()]
    text = " | ".join(lines[:_STACK_LINES])
    is_whole = len(lines) <= _STACK_LINES and len(text) <= _STACK_LETTERS
    return text if is_whole else f"{text[:_STACK_LETTERS]} ..."


def _code_of(why: str, code: int) -> str:
    """Return the code of a failed job: by what was said, else by the exit code."""
    for words, found in _CODES:
        if words in why:
            return found
    if code < 0:
        return "killed" if code == -9 else str(_SIGNAL - code)
    return "user_bug" if code else "network"
