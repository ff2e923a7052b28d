"""Which worker takes which tests: the files of a group go to one, and waiting ones come first.

By path, as pytest-xdist's own groups do nothing with pytest 9.
"""

from functools import cache
from pathlib import PurePath

from xdist.scheduler import LoadScopeScheduling

# What waits for real programs; dealt in this order, so that what computes fills the gaps.
_WAITING = {
    "launch": ("tests/test_launch_*.py", "tests/test_torchrun_demo.py"),
    "e2e": ("tests/e2e/*.py",),
    "slurm": ("tests/test_slurm_*.py",),
}
_ORDER = [*_WAITING, ""]


@cache
def group_of(path: str) -> str:
    """Return what the tests of a file wait for; "": nothing."""
    for group, patterns in _WAITING.items():
        if any(PurePath(path).match(each) for each in patterns):
            return group
    return ""


def place(nodeid: str) -> int:
    """Return when a test is dealt, the first at 0."""
    return _ORDER.index(group_of(_path(nodeid)))


class Dealing(LoadScopeScheduling):
    """Deals whole groups, and else whole files: a worker makes once what the tests of one share."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(_path(nodeid)) or _path(nodeid)


def _path(nodeid: str) -> str:
    return nodeid.partition("::")[0]
