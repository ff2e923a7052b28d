"""What ``gpumedic doctor`` says of a Slurm: what there is, and which settings stand in the way."""

import os
import pwd
import re
from collections.abc import Iterator, Mapping

from agent.act.slurm.calls import Calls
from agent.act.slurm.reading import Reader
from core.clock import Clock

KNOWN = ((22, 5), (26, 5))  # the oldest and the newest that was run
_CRED_EXPIRE = re.compile(r"cred_expire=(\d+)")
_DEFAULT_EXPIRE_S = 120


async def examined(calls: Calls, *, clock: Clock) -> tuple[str, tuple[str, ...]]:
    """Return what was found, and what would make it better.

    SourceUnavailable where Slurm does not answer.
    """
    reader = Reader(calls, clock)
    site = await reader.site()
    said = await reader.said()
    gpus = sum(node.gpus for node in said.nodes)
    found = (
        f"{'.'.join(f'{part:02d}' for part in site.version)}: {len(said.nodes)} nodes with {gpus} "
        f"GPUs, {len(said.jobs)} jobs"
    )
    return found, (*_unknown(site.version), *advice(site.config, user=_user()))


def advice(config: Mapping[str, str], *, user: str) -> Iterator[str]:
    """Yield what of slurmctld's settings stands in the way, and what would not.

    user: whom gpumedic runs as
    """
    if user not in ("root", admin := config.get("SlurmUser", "root").partition("(")[0]):
        yield (
            f"gpumedic runs as {user}, who may only look: run it as {admin}, or with accounting "
            f"have an administrator `sacctmgr modify user {user} set adminlevel=operator`"
        )
    if config.get("AccountingStorageType", "").endswith("none") or not config.get(
        "AccountingStorageType"
    ):
        yield (
            "there is no accounting (slurmdbd): Slurm resizes a running job once and refuses every "
            "later change of it; gpumedic starts such a job anew"
        )
    if not config.get("RebootProgram"):
        yield "no RebootProgram: nodes cannot be rebooted; set it in slurm.conf"
    if config.get("JobRequeue") == "0":
        yield "JobRequeue=0: jobs submitted without --requeue cannot be started again"
    if config.get("ReturnToService") == "2":
        yield (
            "ReturnToService=2: a node that is only down takes jobs again as soon as it answers; "
            "gpumedic drains as well"
        )
    expires = _CRED_EXPIRE.search(config.get("AuthInfo", ""))
    held_s = int(expires[1]) if expires else _DEFAULT_EXPIRE_S
    if held_s > 10:
        yield (
            f"a requeued job waits for {held_s + 1} s (cred_expire): gpumedic lets its own start "
            "after 2 s, those that Slurm requeues by itself wait"
        )


def _unknown(version: tuple[int, int]) -> Iterator[str]:
    if not KNOWN[0] <= version <= KNOWN[1]:
        first, last = (f"{year}.{month:02d}" for year, month in KNOWN)
        yield f"versions {first} to {last} are known; report what does not work with this one"


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
