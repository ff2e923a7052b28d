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
from .slots import Copier, Memory, Pulse, Slot
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
from .updates import Updates
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
                      ranks (other optimizers, schedules, scalers), or a rank's own (samplers)
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
        self._fresh, self._entered, self._loaded = True, True, False
        self._own_from = "keep"
        self._link = Link(os.environ[SOCKET_ENV], uid)
        self._memory = Memory(self._folder, lambda text: self._link.send("note", text=text))
        self._copier = Copier(self._memory, copy_share)
        self._wards = Wards(self._memory, copy_share)
        self._pulse = Pulse(self._folder, uid)
        self._arrivals = Arrivals(self.parts, self._arrived)
        self._updates = Updates(
            self.parts.optimizers, before=self._wards.settle, is_over=lambda: self._is_over
        )
        self._group = Group(self._link, timeout_s)
        self._link.on_regroup, self._link.on_abandon = self._group.cut, self._leave_copy
        self._keeper = None if checkpoint is None else self._kept(checkpoint, save_every, keep)
        self._link.send("hello", pid=os.getpid())
        atexit.register(self._leave)
        self._link.inbox.get()  # the first word is the generation to join
        self._join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._link.send("left", generation=self.generation, step=self.step)
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
            if self._is_over:
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

    @property
    def _is_over(self) -> bool:
        """Whether the supervisor has ended this rank's generation."""
        return self._link.wanted > self.generation

    # A step

    def _enter(self) -> None:
        self._entered, self._updates.begun = True, False
        self._say(Phase.STARTED)

    def _arrived(self) -> None:
        self._say(Phase.ARRIVED)
        self._wards.settle()  # waits for another rank, too

    def _commit(self) -> None:
        if not self._updates.are_whole():
            return  # it is not done, though the script came to its end
        self._arrivals.step_done()
        self._wards.drop()  # where there was no update in this step
        self._keep(self.step + 1)
        self._updates.begun = False
        self.step += 1
        self._wards.exchange(self._own_slots[self.step % 2])
        self._say(Phase.OUTSIDE)
        if self.rank == 0 and self._keeper is not None:
            self._keeper.after(self.step)

    def _keep(self, step: int) -> None:
        """Keep the state after ``step`` steps where it outlives this process."""
        with self._memory.spared():
            self._own_slots[step % 2].write(step, take_own(self.parts))
        self._copier.copy(step, self.parts)

    def _is_lost(self, error: Exception) -> bool:
        """Say whether a step failed because its generation ended, not by the script."""
        if self._is_over:
            return True
        if isinstance(error, RuntimeError) and self._gives_way(error, self.generation):
            return True
        self._raised(error)
        return False

    def _gives_way(self, error: Exception, generation: int) -> bool:
        """Tell of an error; say whether the generation ends by it, or the script is to blame."""
        self._link.send("failed", generation=generation, error=str(error)[:500])
        return self._answer("regroup", "raise") == "regroup"

    def _raised(self, error: Exception) -> None:
        self._link.send("raised", error=f"{type(error).__name__}: {error}"[:500])

    def _leave_copy(self) -> None:
        """Leave the shared state in memory: this process is to end, and nobody else has it.

        Called in the link's thread, while the script's is held by a library that does not return.
        """
        step = self.step
        if self._updates.begun or self._fresh:
            return
        slot = Slot(copy_path(self._folder, step))
        with self._memory.spared():
            slot.write(step, take_shared(self.parts))
        if (self._updates.begun, self.step) != (False, step):  # the library has returned meanwhile
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
                valid=not self._updates.begun,
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
        except (RuntimeError, LookupError) as error:  # LookupError: the memory has another step
            if self._link.wanted <= generation and not self._gives_way(error, generation):
                self._raised(error)
                raise
            return False
        self.generation, self._fresh, self._updates.begun = generation, False, False
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
        self._copies = message["writer"]

    def _take_state(self, message: Message) -> None:
        """Take the agreed state, and make the parallel model on the new group."""
        packed = None
        if message["shared"] == "receive":
            packed = receive(message["source"], self._pulse.moved)
        elif message["shared"] == "copy":
            self._say(Phase.OUTSIDE)  # a large state takes long, and no library holds this process
            packed = Slot(copy_path(self._folder, message["step"])).read(message["step"])
        if packed is not None:
            self._say(Phase.OUTSIDE)
            self._updates.begun = True  # half taken is not whole
            put_shared(self.parts, packed)
            self.step = message["step"]
            self._updates.begun = False
        if message["receivers"]:
            self._say(Phase.OUTSIDE)
            packed = take_shared(self.parts)
            self._say(Phase.ARRIVED)
            for rank in message["receivers"]:
                send(packed, rank, self._pulse.moved)
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
                packed = Slot(own_path(self._folder, seat, self.step)).read(self.step)
                send(packed, to, self._pulse.moved)
            elif self.rank == to:
                packed = receive(source, self._pulse.moved)
                with self._memory.spared():
                    self._own_slots[self.step % 2].write(self.step, packed)

    def _settle(self) -> None:
        """Put this rank's own state back, after whatever the script did since it has its rank."""
        slot, self._own_from = self._own_from, "kept"
        if slot == "kept":
            return
        self._copier.begin(self.step, writes=self._copies)
        if slot in ("slot", "receive") and not self._put_own():
            slot = "draw"
        if slot == "draw":
            draw_random_states(hash((self.generation, self.rank, self.step)) % 2**31)
        if slot in ("keep", "draw"):
            self._keep(self.step)
        self._wards.exchange(self._own_slots[self.step % 2])

    def _put_own(self) -> bool:
        """Take this rank's own state from this node's memory; False where it is not there."""
        try:
            packed = self._own_slots[self.step % 2].read(self.step)
        except LookupError:
            return False
        put_own(self.parts, packed)
        return True
