"""Rules of thumb: what a policy must beat to be worth having."""

from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b

import numpy as np

from core.choice import Choice
from remediation.deciding.chooser import Chooser, Moment


class Thumb:
    """Always the same, whatever is known: the first of its choices that is open, or waiting."""

    version = "1"

    def __init__(self, name: str, *choices: Choice) -> None:
        self.name = name
        self._choices = choices

    def choose(self, moment: Moment) -> Choice:
        """Return the first choice that is open."""
        is_open = moment.situation.open
        return next((choice for choice in self._choices if is_open[choice]), Choice.WAIT)


class Random:
    """Any open choice, as likely as any other; the same situation gives the same one."""

    name = "random"
    version = "1"

    def __init__(self, seed: int = 0) -> None:
        self._key = seed.to_bytes(8, "little")

    def choose(self, moment: Moment) -> Choice:
        """Return a choice drawn by what is known."""
        now = moment.situation
        said = blake2b(now.facts.tobytes(), digest_size=8, key=self._key).digest()
        offered = np.flatnonzero(now.open)
        return Choice(int(offered[int.from_bytes(said, "little") % len(offered)]))


# Where the one thing cannot be done: the next milder or the next that brings the job back.
THUMBS: Mapping[str, Callable[[], Chooser]] = {
    "no_op": partial(Thumb, "no_op"),
    "random": Random,
    "always_restart": partial(
        Thumb, "always_restart", Choice.RESTART, Choice.REBOOT, Choice.SWAP, Choice.SHRINK
    ),
    "always_swap": partial(
        Thumb, "always_swap", Choice.SWAP, Choice.SHRINK, Choice.REBOOT, Choice.RESTART
    ),
    "always_swap_and_repair": partial(
        Thumb,
        "always_swap_and_repair",
        *(Choice.SWAP_AND_REPAIR, Choice.SWAP, Choice.REBOOT, Choice.SHRINK, Choice.RESTART),
    ),
    "always_shrink": partial(
        Thumb, "always_shrink", Choice.SHRINK, Choice.SWAP, Choice.REBOOT, Choice.RESTART
    ),
    "always_escalate": partial(Thumb, "always_escalate", Choice.ESCALATE),
}
