"""What a rank keeps so that a step can be redone is whole, or is not there; an update too."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch._C._distributed_c10d import HashStore
from torch.nn.parallel import DistributedDataParallel

from agent.launch.jobside.gpumedic_job import group
from agent.launch.jobside.gpumedic_job.layout import (
    NO_STEP,
    Beat,
    Phase,
    beat_path,
    copy_path,
    own_path,
    read_beat,
    slot_step,
)
from agent.launch.jobside.gpumedic_job.link import GenerationOver
from agent.launch.jobside.gpumedic_job.rehearsal import rehearse
from agent.launch.jobside.gpumedic_job.slots import Copier, Memory, Pulse, Slot
from agent.launch.jobside.gpumedic_job.state import Parts, pack, put_own, take_own, unpack
from agent.launch.jobside.gpumedic_job.updates import Updates
from tests.real import small_volume

MIB = 1 << 20
ALWAYS = 1e9  # of the time of a step that copies may take


def adversaries(*, width: int = 4) -> Parts:
    """Two networks with an optimizer each, which have done a step."""
    torch.manual_seed(1)
    model = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width)])
    first, second = (torch.optim.SGD(each.parameters(), lr=0.1, momentum=0.9) for each in model)
    for network, optimizer in zip(model, (first, second), strict=True):
        network(torch.randn(2, width)).sum().backward()
        optimizer.step()
    schedule = torch.optim.lr_scheduler.StepLR(second, step_size=1)
    return Parts(model, first, [second, schedule], [], [])


def flat(width: int) -> Parts:
    """A model of so many numbers, whose optimizer remembers nothing."""
    model = nn.Linear(width, 1, bias=False)
    return Parts(model, torch.optim.SGD(model.parameters(), lr=0.1), [], [], [])


class Ending:
    """A generation that ends while a rank waits for its GPU."""

    def __init__(self, *, gpu: bool) -> None:
        self.gpu, self.over = gpu, False

    def drained(self) -> bool:
        self.over = True
        return self.gpu

    def watch(self, parts: Parts, before: Callable[[], object] = lambda: None) -> Updates:
        over = lambda: self.over  # noqa: E731
        return Updates(parts.optimizers, before=before, is_over=over, drained=self.drained)


def copies(folder: Path) -> tuple[int, int]:
    even, odd = (slot_step(copy_path(folder, parity)) for parity in range(2))
    return even, odd


# Updates


def test_an_update_by_any_optimizer_has_begun() -> None:
    parts = adversaries()
    calls: list[bool] = []
    updates = Ending(gpu=False).watch(parts, lambda: calls.append(updates.begun))

    for optimizer in reversed(parts.optimizers):
        updates.begun = False
        optimizer.step()
        assert updates.begun

    assert calls == [False, False]


def test_an_optimizer_is_no_ranks_own() -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters())

    with pytest.raises(TypeError, match=r"own= has an optimizer, SGD.*Give it in shared="):
        Parts(model, optimizer, [], [torch.optim.SGD(model.parameters())], [])


def test_no_gradients_of_an_aborted_group_are_applied_on_a_gpu() -> None:
    """NCCL's sums are queued: an abort ends them with some value, and no error."""
    parts = adversaries()
    before = pack([each.clone() for each in parts.model.parameters()])
    updates = Ending(gpu=True).watch(parts)

    with pytest.raises(GenerationOver, match="before the gradients were known to be whole"):
        parts.optimizers[1].step()

    assert all(map(torch.equal, parts.model.parameters(), unpack(before)))
    assert (updates.begun, updates.are_whole()) == (False, False)


def test_gloos_sums_are_whole_though_the_generation_has_ended_since() -> None:
    """A step that all have done is not done again because a rank died after it."""
    parts = adversaries()
    updates = Ending(gpu=False).watch(parts)
    parts.optimizer.step()

    assert (updates.begun, updates.are_whole()) == (True, True)


# What is put back


def test_a_redone_step_finds_all_that_the_failed_one_altered() -> None:
    parts = adversaries()
    schedule = parts.shared[1]
    kept = take_own(parts)
    rates = [each.param_groups[0]["lr"] for each in parts.optimizers]

    parts.optimizer.param_groups[0]["lr"] = 7.0
    parts.shared[0].step()
    schedule.step()
    put_own(parts, kept)

    assert [each.param_groups[0]["lr"] for each in parts.optimizers] == rates
    assert schedule.last_epoch == 0
    # What an optimizer remembers is as large as the model: it is no part of this.
    momenta = sum(each.nbytes for each in parts.model.parameters())
    assert sum(each.nbytes for each in take_own(adversaries(width=256))[1]) < momenta + 8000


def test_a_scaler_does_not_take_a_redone_steps_gradients_for_unscaled() -> None:
    """A step that fails within ``scaler.step`` leaves the mark that its gradients are unscaled."""
    parts = flat(4)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    parts.shared.append(scaler)
    Ending(gpu=True).watch(parts)
    kept = take_own(parts)

    def backward() -> None:
        parts.optimizer.zero_grad()
        scaler.scale(parts.model(torch.ones(1, 4)).sum()).backward()

    backward()
    with pytest.raises(GenerationOver):
        scaler.step(parts.optimizer)
    put_own(parts, kept)
    backward()
    scaler.unscale_(parts.optimizer)

    assert [each.grad.tolist() for each in parts.model.parameters() if each.grad is not None] == [
        [[1.0] * 4]
    ]


# Memory


def test_the_newest_copy_is_never_written_over(tmp_path: Path) -> None:
    parts = flat(8)
    copier = Copier(Memory(tmp_path, print), ALWAYS)
    copier.begin(10, writes=True)
    seen = []
    for step in (10, 12, 14, 15, 17, 18):
        copier.copy(step, parts)
        seen.append(copies(tmp_path))

    assert seen == [(10, -1), (10, -1), (10, -1), (10, 15), (10, 15), (18, 15)]


def test_who_makes_copies_goes_on_from_those_that_are_there(tmp_path: Path) -> None:
    parts = flat(8)
    for step in (17, 18):
        Slot(copy_path(tmp_path, step)).write(step, pack([]))
    copier = Copier(Memory(tmp_path, print), ALWAYS)

    copier.begin(18, writes=True)
    copier.copy(20, parts)
    assert copies(tmp_path) == (18, 17)
    # Step 18 is done again, perhaps by fewer ranks: its old copy is none of it.
    copier.begin(17, writes=True)
    assert copies(tmp_path) == (NO_STEP, 17)
    copier.copy(19, parts)
    assert copies(tmp_path) == (NO_STEP, 17)
    copier.copy(20, parts)
    assert copies(tmp_path) == (20, 17)


def test_without_room_for_two_copies_the_training_has_one_and_says_so_once(tmp_path: Path) -> None:
    parts, told = flat(2 * MIB // 4), list[str]()
    with small_volume(tmp_path / "memory", 4 * MIB) as volume:
        (folder := volume / "launch").mkdir()
        memory = Memory(folder, told.append)
        copier, own = Copier(memory, ALWAYS), Slot(own_path(folder, 0, 0))
        copier.begin(0, writes=True)
        for step in range(5):
            with memory.spared():
                own.write(step, take_own(parts))
            copier.copy(step, parts)
        kept = copies(folder), own.step
        with memory.spared():
            own.write(6, pack(torch.zeros(4 * MIB)))
        frame = own.frame(64, 64)
        Slot(own_path(folder, 1, 0)).put(memoryview(bytes(frame)))
        lost = own.step, slot_step(own_path(folder, 1, 0))

    assert (kept, lost) == (((4, NO_STEP), 4), (NO_STEP, NO_STEP))
    (words,) = told
    assert "of its 4 MiB are free" in words
    assert f"Make {volume} three times as large" in words


def write_on(path: str) -> None:
    Slot(Path(path)).write(9, pack([torch.ones(4)]))


class WritesOn:
    """What, when it is read, lets a writer that was taken for dead go on."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return write_on, (self._path,)


def test_a_state_that_is_written_over_while_it_is_read_is_not_taken(tmp_path: Path) -> None:
    slot = Slot(tmp_path / "copy.1")
    slot.write(7, pack([torch.zeros(4)]))
    assert torch.equal(unpack(slot.read(7))[0], torch.zeros(4))
    slot.write(7, pack([torch.zeros(4), WritesOn(tmp_path / "copy.1")]))

    with pytest.raises(LookupError, match=r"copy\.1 holds step 9, not 7"):
        slot.read(7)
    with pytest.raises(LookupError, match=r"copy\.0 holds step -1, not 8"):
        Slot(tmp_path / "copy.0").read(8)


# Handing out


def test_a_state_goes_in_small_messages_and_both_sides_are_seen_to_move(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire: list[torch.Tensor] = []
    monkeypatch.setattr(group, "CHUNK_BYTES", 64)
    monkeypatch.setattr(dist, "send", lambda part, to: wire.append(part.clone()))
    monkeypatch.setattr(dist, "recv", lambda into, source: into.copy_(wire.pop(0)))
    state = [torch.arange(size, dtype=torch.float32) for size in (3, 0, 40, 1, 16)]
    moves: list[str] = []

    group.send(pack(state), 1, lambda: moves.append("sent"))
    sizes = [each.nbytes for each in wire[2:]]
    received = unpack(group.receive(0, lambda: moves.append("received")))

    assert max(sizes) <= 64
    assert moves == ["sent"] * len(sizes) + ["received"] * len(sizes)
    assert all(map(torch.equal, state, received))


def test_a_rank_that_hands_out_a_large_state_is_seen_to_move(tmp_path: Path) -> None:
    pulse = Pulse(tmp_path, "a-1")
    pulse.beat(3, 17, Phase.ARRIVED)
    before = read_beat(beat_path(tmp_path, "a-1"))
    pulse.moved()
    after = read_beat(beat_path(tmp_path, "a-1"))

    assert before is not None
    assert after is not None
    assert after == Beat(3, 17, Phase.ARRIVED, after.time_ns)
    assert after.time_ns > before.time_ns


# A new group


@pytest.fixture
def alone() -> Iterator[None]:
    """A group of one rank."""
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    "how", [{"find_unused_parameters": True}, {"static_graph": True}, {"init_sync": False}]
)
def test_a_parallel_model_of_any_kind_takes_the_next_step(how: dict[str, Any]) -> None:
    plain = nn.Linear(4, 4)
    parts = Parts(plain, torch.optim.SGD(plain.parameters()), [], [], [0, 1])
    model = DistributedDataParallel(plain, **how)

    rehearse(model, parts)
    model(torch.ones(2, 4)).sum().backward()

    assert [each.grad is not None for each in plain.parameters()] == [True, True]
