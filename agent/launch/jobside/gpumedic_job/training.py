"""A training that outlives its ranks: a replacement is given the state, a failed step is redone."""

import atexit
import gc
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from torch.nn import Module
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from .group import Group, receive, send
from .layout import FOLDER_ENV, SOCKET_ENV, UID_ENV, Phase, copy_path, own_path
from .link import Link, Message
from .rehearsal import Arrivals, rehearse
from .slots import Copier, Pulse, Slot
from .state import (
    Parts,
    Sharded,
    draw_random_states,
    put_own,
    put_shared,
    take_own,
    take_shared,
    whole,
)
from .wards import CUT, Wards

if TYPE_CHECKING:
    from .keeping import Keeper


class Step(int):
    """The number of a step, and the block in which it is done: all of it, or none."""

    job: "Training"

    def __enter__(self) -> Self:
        self.job._enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None:
            self.job._commit()
            return False
        return isinstance(error, Exception) and self.job._is_lost(error)


class Training:
    """The job, as one rank sees it.

    model, optimizer: not wrapped; use ``job.model``, which is, in the steps
    shared, own:      further objects with ``state_dict`` and ``load_state_dict``: alike on all
                      ranks (schedules, scalers), or a rank's own (samplers)
    wrap:             makes the parallel model of the plain one; default DistributedDataParallel
    checkpoint:       a folder: its newest whole checkpoint is read at a fresh start, and rank 0
                      writes one every ``save_every`` steps, in the background; the newest
                      ``keep`` stay
    copy_share:       of the time of a step that the copy in memory may take, and as much again the
                      rank's own state's way to another node; each is done at each step where that
                      is cheap enough, and less often where not
    timeout_s:        how long a collective may take

    Whatever depends on the rank belongs after this: a standby runs the script up to here and waits.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        *,
        shared: Sequence[Any] = (),
        own: Sequence[Any] = (),
        wrap: Callable[[Module], Module] | None = None,
        checkpoint: str | Path | None = None,
        save_every: int = 0,
        keep: int = 3,
        copy_share: float = 0.05,
        timeout_s: float = 600.0,
    ) -> None:
        uid, self._folder = os.environ[UID_ENV], Path(os.environ[FOLDER_ENV])
        self.parts = Parts(model, optimizer, [*shared], [*own], [])
        self.model: Module = model
        self.step, self.generation = 0, 0
        self.rank = self.local_rank = -1
        self.world = self._launched = 0
        self._wrap = wrap or (lambda plain: DistributedDataParallel(plain, init_sync=False))
        self._fresh, self._updates, self._entered, self._loaded = True, 0, True, False
        self._own_from = "keep"
        self._copier, self._wards = Copier(copy_share), Wards(self._folder, copy_share)
        self._pulse = Pulse(self._folder, uid)
        self._arrivals = Arrivals(self.parts, self._arrived)
        optimizer.register_step_pre_hook(self._updating)
        self._link = Link(os.environ[SOCKET_ENV], uid)
        self._group = Group(self._link, timeout_s)
        self._link.on_regroup, self._link.on_abandon = self._group.cut, self._leave_copy
        self._keeper = None if checkpoint is None else self._kept(checkpoint, save_every, keep)
        self._link.send("hello", pid=os.getpid())
        atexit.register(self._leave)
        self._link.inbox.get()  # the first word is the generation to join
        self._join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _kept(self, folder: str | Path, every: int, keep: int) -> "Keeper":
        from .keeping import Keeper  # as long to import as half of torch

        found = Keeper(Path(folder), self.parts, every=every, keep=keep, send=self._link.send)
        self._link.on_save, self._link.on_interval = found.want, found.ask
        return found

    def _leave(self) -> None:
        """Leave the group, and let go of all that holds its threads.

        While they run, the end of the interpreter can hang, or abort the process.
        """
        self._close()
        if self._keeper is not None:
            self._keeper.close()
        gc.collect()

    def _close(self) -> None:
        self._group.cut()
        self.model = self.parts.model
        self._wards.drop(CUT)
        self._group.close()

    def steps(self, total: int) -> Iterator[Step]:
        """Yield the number of each step to do, from the first not yet done to ``total - 1``."""
        while True:
            if self._link.wanted > self.generation:
                self._join()
            self._settle()
            if self.step < total:
                step = Step(self.step)
                step.job, self._entered = self, False
                yield step
                if not self._entered:
                    raise RuntimeError(
                        f"Step {self.step} was not done in its block. "
                        "Write `for step in job.steps(n): with step: ...`."
                    )
            elif self._finished():
                return

    def save(self, path: str | Path) -> None:
        """Write a checkpoint of one file, whole or not at all; Fenced in a world that is over."""
        from . import saving

        saving.save(self.parts, Path(path), self.step, (self._launched, self.generation))

    def _say(self, phase: Phase) -> None:
        self._pulse.beat(self.generation, self.step, phase)

    # A step

    def _enter(self) -> None:
        self._entered, self._updates = True, 0
        self._say(Phase.STARTED)

    def _arrived(self) -> None:
        self._say(Phase.ARRIVED)
        self._wards.settle()  # waits for another rank, too

    def _updating(self, *_: object) -> None:
        self._wards.settle()
        self._updates += 1

    def _commit(self) -> None:
        self._arrivals.step_done()
        self._wards.drop()  # where there was no update in this step
        self._keep(self.step + 1)
        self._updates = 0
        self.step += 1
        self._wards.exchange(self._own_slots[self.step % 2])
        self._say(Phase.OUTSIDE)
        if self.rank == 0 and self._keeper is not None:
            self._keeper.after(self.step)

    def _keep(self, step: int) -> None:
        """Keep the state after ``step`` steps where it outlives this process."""
        self._own_slots[step % 2].write(step, take_own(self.parts))
        if self._copy_slots:
            self._copier.copy(self._copy_slots[step % 2], step, self.parts)

    def _is_lost(self, error: Exception) -> bool:
        """Say whether a step failed because its generation ended, not by the script."""
        if self._link.wanted > self.generation:
            return True
        if isinstance(error, RuntimeError):
            self._link.send("failed", generation=self.generation, error=str(error)[:500])
            if self._answer("regroup", "raise") == "regroup":
                return True
        self._link.send("raised", error=f"{type(error).__name__}: {error}"[:500])
        return False

    def _leave_copy(self) -> None:
        """Leave the shared state in memory: this process is to end, and nobody else has it.

        Called in the link's thread, while the script's is held by a library that does not return.
        """
        step, whole = self.step, self._updates == 0 and not self._fresh
        if not whole:
            return
        slot = Slot(copy_path(self._folder, step))
        slot.write(step, take_shared(self.parts))
        if self._updates or self.step != step:  # the library has returned meanwhile
            slot.forget()

    def _answer(self, *kinds: str) -> str:
        while (message := self._link.inbox.get())["kind"] not in kinds:
            pass
        return str(message["kind"])

    def _finished(self) -> bool:
        """Wait until every rank has done all steps; False where one has to be waited for."""
        self._say(Phase.ARRIVED)
        self._link.send("finished", generation=self.generation, step=self.step)
        return self._answer("regroup", "release") == "release"

    # A generation

    def _join(self) -> None:
        """Become part of the newest generation, with the state it agreed on."""
        while True:
            self._say(Phase.ARRIVED)
            self._close()
            wanted = self._link.wanted
            self._link.send(
                "parked",
                generation=wanted,
                step=self.step,
                valid=self._updates == 0,
                fresh=self._fresh,
                loaded=self._loaded,
            )
            message = self._link.inbox.get()
            if message["kind"] == "load":
                self._loaded = True
                self.step = 0 if self._keeper is None else self._keeper.load()
            if message["kind"] == "form" and message["generation"] >= self._link.wanted:
                self._link.wanted = message["generation"]
                if self._form(message):
                    return

    def _form(self, message: Message) -> bool:
        generation = message["generation"]
        try:
            self._group.form(generation, message["rank"], message["world"], message["connect_s"])
            self._take_place(message)
            self._take_state(message)
            if self._link.wanted > generation:
                return False
        except Sharded as error:
            self._link.send("refused", error=str(error))
            raise
        except RuntimeError as error:
            if self._link.wanted <= generation:
                self._link.send("failed", generation=generation, error=str(error)[:500])
                self._answer("regroup")
            return False
        self.generation, self._fresh, self._updates = generation, False, 0
        if self.rank == 0 and self._keeper is not None:
            self._keeper.enter((self._launched, generation))
        self._pulse.beat(generation, self.step, Phase.OUTSIDE)
        self._link.send("formed", generation=generation, step=self.step)
        return True

    def _take_place(self, message: Message) -> None:
        self.rank, self.world = message["rank"], message["world"]
        self.local_rank, self._launched = message["local_rank"], message["launched"]
        os.environ.update(message["environment"])
        self._wards.begin(message["keeper"], message["ward"], message["ward_seat"])
        self._own_slots = [Slot(own_path(self._folder, message["seat"], step)) for step in range(2)]
        self._copy_slots = (
            [Slot(copy_path(self._folder, step)) for step in range(2)] if message["writer"] else []
        )

    def _take_state(self, message: Message) -> None:
        """Take the agreed state, and make the parallel model on the new group."""
        packed = None
        if message["shared"] == "receive":
            packed = receive(message["source"])
        elif message["shared"] == "copy":
            self._say(Phase.OUTSIDE)  # a large state takes long, and no library holds this process
            packed = Slot(copy_path(self._folder, message["step"])).read(message["step"])
        if packed is not None:
            self._say(Phase.OUTSIDE)
            self._updates = 1  # half taken is not whole
            put_shared(self.parts, packed)
            self.step = message["step"]
            self._updates = 0
        if message["receivers"]:
            self._say(Phase.OUTSIDE)
            packed = take_shared(self.parts)
            self._say(Phase.ARRIVED)
            for rank in message["receivers"]:
                send(packed, rank)
        self.step = message["step"]
        self._say(Phase.ARRIVED)
        self._move_own(message["moves"])
        self.model = whole(self._wrap, self.parts.model)
        rehearse(self.model, self.parts)
        self._arrivals.arm()
        self._own_from = message["own"]

    def _move_own(self, moves: list[tuple[int, int, int]]) -> None:
        """Do this rank's part in giving ranks their own states, which other nodes hold."""
        for source, to, seat in moves:
            if self.rank == source:
                send(Slot(own_path(self._folder, seat, self.step)).read(self.step), to)
            elif self.rank == to:
                self._own_slots[self.step % 2].write(self.step, receive(source))

    def _settle(self) -> None:
        """Put this rank's own state back, after whatever the script did since it has its rank."""
        slot, self._own_from = self._own_from, "kept"
        if slot in ("slot", "receive"):
            put_own(self.parts, self._own_slots[self.step % 2].read(self.step))
        elif slot == "draw":
            draw_random_states(hash((self.generation, self.rank, self.step)) % 2**31)
        if slot in ("keep", "draw"):
            self._keep(self.step)
        if slot != "kept":
            self._wards.exchange(self._own_slots[self.step % 2])
