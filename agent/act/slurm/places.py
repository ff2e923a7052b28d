"""The places of a job that is started again: else the queue has them before the job is back.

While a job is on its way, its nodes are kept in a reservation of its own; it is first in the queue
when that goes, and has its priority back once it runs. A reservation ends by itself, should this
process die.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from agent.act.slurm.calls import Calls
from agent.act.slurm.kept import Return
from agent.act.slurm.reading import Reader
from agent.act.slurm.records import Reservation
from core.errors import ActionFailed

PREFIX = "gpumedic_return_"
FIRST = 0xFFFFFFFD  # the highest priority; the two above mean "held no more" and "not told"
_LASTS_MIN = 60
_GONE = "reservation is invalid"


@dataclass(frozen=True, slots=True)
class Places:
    """Keeps nodes for jobs that are on their way back."""

    calls: Calls
    reader: Reader

    async def keep(self, back: Return, nodes: Iterable[str]) -> None:
        """Keep nodes from everybody else; ActionFailed where Slurm will not."""
        config = (await self.reader.site()).config
        user = config.get("SlurmUser", "root").partition("(")[0]
        await self.calls.order(
            *("scontrol", "create", "reservation", f"ReservationName={_name(back.job)}"),
            *("StartTime=now", f"Duration={_LASTS_MIN}", "Flags=IGNORE_JOBS", f"Users={user}"),
            f"Nodes={','.join(nodes)}",
            why=f"keeping the nodes of job {back.job}",
        )

    async def give(self, job: int) -> None:
        """Let the queue have them; the first in it is the job."""
        try:
            argv = ("scontrol", "delete", f"ReservationName={_name(job)}")
            await self.calls.order(*argv, why=f"giving job {job} its nodes")
        except ActionFailed as error:
            if _GONE not in str(error):
                raise

    async def in_turn(self, back: Return) -> None:
        """Let the job wait its turn again, with the priority that it had."""
        config = (await self.reader.site()).config
        change: tuple[str, ...] = ("update", f"JobId={back.called}", f"Priority={back.priority}")
        if not config.get("PriorityType", "").endswith("basic"):
            change = ("release", back.called)  # it is computed again, as before
        await self.calls.order("scontrol", *change, why=f"job {back.job} gets its priority back")

    @staticmethod
    def left_over(reservations: Iterable[Reservation], coming: Iterable[str]) -> tuple[int, ...]:
        """Return the jobs that places are still kept for, and that are not on their way."""
        names = (each.name for each in reservations if each.name.startswith(PREFIX))
        jobs = (name.removeprefix(PREFIX) for name in names)
        return tuple(int(job) for job in jobs if job.isdecimal() and job not in set(coming))


def _name(job: int) -> str:
    return f"{PREFIX}{job}"
