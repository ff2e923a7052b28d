"""Each rank's own state, kept by a rank of another node as well, so that a node's death takes none.

After step S a rank sends its slot to its *keeper* and listens for that of its *ward*, while step
S+1 begins. It gives its last gradient of step S+1 only once the ward's state after S is in its own
node's memory. So whoever has applied the update of S+1 knows that every rank's state after S lies
on two nodes: the sum of the gradients is the acknowledgement, and nobody waits for another one.

A frame is the beginning of a slot, and says how long the next frame is, so that both sides know.
"""

import contextlib
import time
from datetime import timedelta

import torch
import torch.distributed as dist

from .layout import HEADER, NO_STEP, own_path
from .slots import Memory, Slot

# What has not come so long after its connection was cut never will; gloo may not say so.
CUT = timedelta(seconds=1)
_TAG = 7001
_FIRST_ROOM = 1 << 16
_ANY_TIME = timedelta(0)  # as long as the group's operations may take
_PAGE = 1 << 12  # pickles of random states differ by some bytes from step to step


class Wards:
    """Sends own states to the keeper and keeps the ward's.

    share: of the time that this rank may spend on it; it is done at each step where that is cheap
           enough, and less often where not
    """

    def __init__(self, memory: Memory, share: float) -> None:
        self._memory, self._share = memory, share
        self._keeper = self._ward = -1
        self._sent: dist.Work | None = None
        self._heard: dist.Work | None = None
        self._began_s = self._spent_s = self._due_s = 0.0

    def begin(self, keeper: int | None, ward: int | None, seat: int | None) -> None:
        """Take these ranks' parts in a new group; None where all ranks are on one node.

        seat: the ward's
        """
        self._keeper = -1 if keeper is None else keeper
        self._ward = -1 if ward is None else ward
        self._room = self._frame_room = _FIRST_ROOM
        self._slots = [Slot(own_path(self._memory.folder, seat or 0, step)) for step in range(2)]

    def exchange(self, slot: Slot) -> None:
        """Send the slot just written, if it fits what was announced; listen for the ward's.

        A connection that is broken is not this step's fault, which is done: the next will say so.
        """
        if self._keeper < 0:
            return
        self._began_s = time.monotonic()
        due = self._began_s >= self._due_s
        room = (slot.size // _PAGE + 2) * _PAGE if due else HEADER.size
        self._out = torch.frombuffer(slot.frame(self._room, room), dtype=torch.uint8)
        self._room = room
        self._in = torch.empty(self._frame_room, dtype=torch.uint8)
        with contextlib.suppress(RuntimeError):
            self._heard = dist.irecv(self._in, self._ward, tag=_TAG)
            self._sent = dist.isend(self._out, self._keeper, tag=_TAG)
        self._spent_s = time.monotonic() - self._began_s

    def settle(self, timeout: timedelta = _ANY_TIME) -> None:
        """Wait until what is under way is here and kept; RuntimeError where the other is lost.

        The ward's gradients come after its frame: to wait for the frame costs nothing more.
        """
        sent, self._sent = self._sent, None
        heard, self._heard = self._heard, None
        if heard is not None:
            heard.wait(timeout)
            began_s = time.monotonic()
            self._keep()
            self._spent_s += time.monotonic() - began_s
        if sent is not None:
            began_s = time.monotonic()
            sent.wait(timeout)
            self._spent_s += time.monotonic() - began_s
            if self._out.numel() > HEADER.size:
                self._due_s = self._began_s + self._spent_s / self._share

    def drop(self, timeout: timedelta = _ANY_TIME) -> None:
        """Keep what has come, whether or not it could be sent."""
        with contextlib.suppress(RuntimeError):
            self.settle(timeout)

    def _keep(self) -> None:
        frame = self._in.numpy().data
        step, _, _, self._frame_room = HEADER.unpack_from(frame, 0)
        if step != NO_STEP:
            with self._memory.spared():
                self._slots[step % 2].put(frame)
