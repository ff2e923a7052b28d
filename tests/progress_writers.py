"""Ranks that write their progress, in a process of their own: its lock is what shows that it lives.

    python progress_writers.py  <  commands, one a line, each answered by a line

``open JOB RANK`` and then Python on ``p``, the newest of ``ranks``.
"""

import os
import sys

from gpumedic_job import Progress

ranks: list[Progress] = []


def begin(job: str, rank: int) -> Progress:
    """Begin a rank."""
    os.environ["RANK"] = str(rank)
    ranks.append(Progress(job))
    return ranks[-1]


for line in sys.stdin:
    exec(line, {"begin": begin, "ranks": ranks, "os": os})  # noqa: S102 - it is there for that
    sys.stdout.write("done\n")
    sys.stdout.flush()
