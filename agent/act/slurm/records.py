"""What Slurm says of its nodes, jobs and reservations, whichever version says it.

From 22.05 (data_parser v0.0.38) to 26.05 (v0.0.45): a state is a word with flags beside it, or a
list of words; a number is plain, null, or ``{set, infinite, number}``; nothing else that is read
here has changed. Unknown fields are passed over, a missing one is as one that is not set.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from agent.act.slurm.hosts import expand
from core.errors import InputError

_GRES_GPUS = re.compile(r"(?:^|,)(?:gres[:/])?gpu(?::[\w.-]+)?[:=](\d+)")
_INDICES = re.compile(r"gpu[^()]*\(IDX:([\d,-]+)\)")
# Slurm itself holds a job that it could not launch. The JSON calls that JobHeldUser, and says so
# beside it; 22.05 writes it with blanks.
LAUNCH_FAILED = "launch_failed_requeued_held"
_FIELD = re.compile(r"(?:^| )([A-Za-z/:]+)=")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SlurmNode:
    """A node; ``state``: its words, such as {IDLE, DRAIN}.

    reason, reason_by, reason_s: of the last who took it out, "" and 0 where nobody has
    up_s: when it booted or its slurmd started, whichever is later
    gpus: as configured; reservation: that covers it now, "" where unknown or none
    """

    name: str
    state: frozenset[str]
    reason: str
    reason_by: str
    reason_s: float
    up_s: float
    gpus: int
    features: tuple[str, ...]
    partitions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """A job, or one task of an array; ``state``: its words, such as {RUNNING} or {PENDING}.

    array, task: the array it is of, 0: of none; which of it, None: all those that wait
    why: of its state, in Slurm's word (BeginTime, JobHeldUser, Resources)
    gpus: on each of its nodes, by index; where it has none yet, empty
    gpus_asked: on each node, 0 where it asks for none or says it otherwise
    least_nodes, most_nodes: that it may run on, 0 where not said
    resize_s: when it was given more or fewer nodes while it ran, 0: never
    """

    id: int
    array: int
    task: int | None
    name: str
    user: str
    state: frozenset[str]
    why: str
    nodes: tuple[str, ...]
    gpus: tuple[tuple[int, ...], ...]
    gpus_asked: int
    least_nodes: int
    most_nodes: int
    tasks: int
    cpus: int
    submit_s: float
    start_s: float
    end_s: float
    resize_s: float
    restarts: int
    priority: int
    batch: bool
    requeue: bool
    comment: str
    required: tuple[str, ...]
    reservation: str

    @property
    def called(self) -> str:
        """Return what to call it in an order: the last task's number is also the whole array's."""
        return str(self.id) if self.task is None else f"{self.array}_{self.task}"


@dataclass(frozen=True, slots=True)
class Reservation:
    """Nodes kept for some; ``flags`` such as MAINT."""

    name: str
    nodes: tuple[str, ...]
    flags: frozenset[str]


def nodes_in(answer: Any) -> tuple[SlurmNode, ...]:
    """Read the nodes of a JSON answer; InputError where it is none."""
    return _each(answer, "nodes", _node)


def jobs_in(answer: Any) -> tuple[SlurmJob, ...]:
    """Read the jobs of a JSON answer; InputError where it is none."""
    return _each(answer, "jobs", _job)


def reservations_in(answer: Any) -> tuple[Reservation, ...]:
    """Read the reservations of a JSON answer; InputError where it is none."""
    return _each(answer, "reservations", _reservation)


def reservations_in_text(text: str) -> tuple[Reservation, ...]:
    """Read the reservations of ``scontrol -o show reservation``, one a line."""
    found = []
    for line in text.splitlines():
        said = fields_of(line)
        if name := said.get("ReservationName"):
            flags = frozenset(said.get("Flags", "").split(","))
            found.append(Reservation(name, expand(said.get("Nodes", "")), flags))
    return tuple(found)


def fields_of(line: str) -> Mapping[str, str]:
    """Read one line of ``scontrol -o``: each ``Name=value``, the last of a name wins."""
    marks = list(_FIELD.finditer(line))
    ends = [mark.start() for mark in marks[1:]] + [len(line)]
    return {mark[1]: line[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=False)}


def version_in(text: str) -> tuple[int, int]:
    """Return year and month of ``sinfo --version``: ``slurm-wlm 22.05.8`` is (22, 5)."""
    found = re.search(r"(\d+)\.(\d+)", text)
    if found is None:
        raise InputError(
            f"Reading Slurm's version: {text[:80]!r} has no number such as 22.05. See whether "
            "sinfo --version works for this user."
        )
    return int(found[1]), int(found[2])


def _each(answer: Any, part: str, read: Callable[[Mapping[str, Any]], T]) -> tuple[T, ...]:
    try:
        rows = answer[part]
        return tuple(read(row) for row in rows)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        keys = ", ".join(answer)[:120] if isinstance(answer, dict) else type(answer).__name__
        raise InputError(
            f"Reading Slurm's {part}: {type(error).__name__}: {error} in an answer of {keys}. "
            "Versions 22.05 to 26.05 are known; report it with yours."
        ) from error


def _node(row: Mapping[str, Any]) -> SlurmNode:
    state = _words(row["state"]) | _words(row.get("state_flags"))
    return SlurmNode(
        name=str(row["name"]),
        state=state,
        reason=_text(row.get("reason")),
        reason_by=_text(row.get("reason_set_by_user")),
        reason_s=_number(row.get("reason_changed_at")),
        up_s=max(_number(row.get("boot_time")), _number(row.get("slurmd_start_time"))),
        gpus=gpus_in(_text(row.get("gres"))),
        features=_list(row.get("active_features")),
        partitions=_list(row.get("partitions")),
    )


def _job(row: Mapping[str, Any]) -> SlurmJob:
    detail = row.get("gres_detail") or ()
    count = int(_number(row.get("node_count")))
    asked = gpus_in(_text(row.get("tres_per_node")))
    asked = asked or -(-gpus_in(_text(row.get("tres_per_job"))) // max(count, 1))
    state = _words(row["job_state"])
    return SlurmJob(
        id=int(_number(row["job_id"])),
        array=int(_number(row.get("array_job_id"))),
        task=_number_or_none(row.get("array_task_id")),
        name=_text(row.get("name")),
        user=_text(row.get("user_name")),
        state=state,
        why=_why(row),
        nodes=expand(_text(row.get("nodes"))),
        gpus=tuple(indices_in(each) for each in detail),
        gpus_asked=asked,
        least_nodes=count,
        most_nodes=max(int(_number(row.get("max_nodes"))), count),
        tasks=int(_number(row.get("tasks"))),
        cpus=int(_number(row.get("cpus"))),
        submit_s=_number(row.get("submit_time")),
        start_s=_number(row.get("start_time")),
        end_s=_number(row.get("end_time")),
        resize_s=_number(row.get("resize_time")),
        restarts=int(_number(row.get("restart_cnt"))),
        priority=int(_number(row.get("priority"))),
        batch=bool(row.get("batch_flag")),
        requeue=bool(row.get("requeue")),
        comment=_text(row.get("comment")),
        required=expand(_text(row.get("required_nodes"))),
        reservation=_text(row.get("resv_name")),
    )


def _reservation(row: Mapping[str, Any]) -> Reservation:
    return Reservation(
        str(row["name"]), expand(_text(row.get("node_list"))), _words(row.get("flags"))
    )


def gpus_in(gres: str) -> int:
    """Return how many GPUs ``gpu:h100:8(S:0-1)``, ``gres:gpu:4`` or ``gres/gpu=4`` names."""
    return sum(int(count) for count in _GRES_GPUS.findall(gres))


def indices_in(detail: str) -> tuple[int, ...]:
    """Return which GPUs ``gpu:h100:4(IDX:0-2,5)`` names; none where it gives no indices."""
    found: list[int] = []
    for listed in _INDICES.findall(detail):
        for piece in listed.split(","):
            first, _, last = piece.partition("-")
            found += range(int(first), int(last or first) + 1)
    return tuple(found)


def _number(value: Any) -> float:
    """Return a number that is plain or ``{set, infinite, number}``; 0 where it is not set."""
    if isinstance(value, dict):
        return float(value.get("number") or 0) if value.get("set") else 0.0
    return float(value) if isinstance(value, int | float) else 0.0


def _why(row: Mapping[str, Any]) -> str:
    described = word_of(_text(row.get("state_description")))
    return LAUNCH_FAILED if described == LAUNCH_FAILED else _text(row.get("state_reason"))


def word_of(why: str) -> str:
    """Return one word for why a job waits, however a version writes it."""
    return why.strip().replace(" ", "_")


def _number_or_none(value: Any) -> int | None:
    """Return a whole number that may be 0 where it is set, and None where it is not."""
    is_set = value.get("set") if isinstance(value, dict) else value is not None
    return int(_number(value)) if is_set else None


def _words(value: Any) -> frozenset[str]:
    parts: Sequence[Any] = [value] if isinstance(value, str) else value or ()
    return frozenset(str(part).upper() for part in parts)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _list(value: Any) -> tuple[str, ...]:
    """Return a list that is one, or text with commas as 22.05 writes some."""
    parts = value.split(",") if isinstance(value, str) else value or ()
    return tuple(str(part) for part in parts if part)
