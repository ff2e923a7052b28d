"""The job that the recovery benchmark breaks: one training, as each system wants it written.

``recovery_job.py FOLDER WAY [LAST]``: two layers under DistributedDataParallel on gloo, 0.1 s a
step, a checkpoint every 20 steps. Each rank appends a line for each step to FOLDER/steps, with its
loss and what its parameters come to. With LAST it ends after that step and does not wait.
It runs in the systems' own environments: from here it needs nothing but torch.
"""

import ctypes
import json
import os
import socket
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, TCPStore
from torch.nn.parallel import DistributedDataParallel

SAVE_EVERY, KEPT, ENDLESS = 20, 2, 10_000_000

folder, way = Path(sys.argv[1]), sys.argv[2]
STEP_S, LAST = (0.0, int(sys.argv[3])) if len(sys.argv) > 3 else (0.1, ENDLESS)
log = os.open(folder / "steps", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def parts() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Make the model, the same in every process, and its optimizer."""
    torch.manual_seed(7)
    torch.set_num_threads(1)
    layers = (torch.nn.Linear(512, 512), torch.nn.ReLU(), torch.nn.Linear(512, 256))
    model = torch.nn.Sequential(*layers)
    return model, torch.optim.Adam(model.parameters(), 1e-3)


def one_step(model: torch.nn.Module, optimizer: Any, step: int, rank: int) -> float:
    """Do a step whose inputs depend on nothing but the step and the rank; return its loss."""
    inputs = torch.randn(32, 512, generator=torch.Generator().manual_seed(1000 * step + rank))
    time.sleep(STEP_S)
    loss = model(inputs).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.item())


def tell(began_s: float, step: int, rank: int, loss: float, model: torch.nn.Module) -> None:
    """Write down that a step was done, and with what result."""
    ended_s, sum_ = time.monotonic(), 0
    for each in model.parameters():
        sum_ = zlib.crc32(ctypes.string_at(each.data_ptr(), each.nbytes), sum_)
    said = {"began_s": began_s, "ended_s": ended_s, "step": step, "rank": rank, "pid": os.getpid()}
    said |= {"world": world(), "loss": loss, "parameters": sum_}
    os.write(log, json.dumps(said).encode() + b"\n")


def world() -> int:
    """Return how many ranks there are."""
    return dist.get_world_size()


def save(state: dict[str, Any], step: int) -> None:
    """Keep the last checkpoints, each whole or not there."""
    path = folder / f"checkpoint-{step:08}.pt"
    torch.save({**state, "step": step}, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)
    for old in sorted(folder.glob("checkpoint-*.pt"))[:-KEPT]:
        old.unlink(missing_ok=True)


def load() -> dict[str, Any]:
    """Read the newest checkpoint that can be read; nothing where there is none."""
    for path in sorted(folder.glob("checkpoint-*.pt"), reverse=True):
        try:
            found: dict[str, Any] = torch.load(path, weights_only=True)
        except Exception as error:  # torn in any way: the one before it
            sys.stderr.write(f"cannot read {path.name}: {error}\n")
        else:
            return found
    return {}


def restarted(
    beat: Callable[[], None] = lambda: None, connect: Callable[[], None] | None = None
) -> None:
    """Train as a torchrun script does, from the last checkpoint; ``beat`` tells of each step."""
    if connect is None:
        dist.init_process_group("gloo", timeout=timedelta(minutes=30))
    else:
        connect()
    model, optimizer = parts()
    if saved := load():
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    parallel, rank = DistributedDataParallel(model), dist.get_rank()
    for step, began_s in steps(saved.get("step", 0)):
        tell(began_s, step, rank, one_step(parallel, optimizer, step, rank), model)
        beat()
        if rank == 0 and (step + 1) % SAVE_EVERY == 0:
            save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, step + 1)


def steps(first: int) -> Iterator[tuple[int, float]]:
    """Count steps, with when each began."""
    for step in range(first, LAST + 1):
        yield step, time.monotonic()


def handed_over() -> None:
    """Train with gpumedic's hook."""
    import gpumedic_job

    model, optimizer = parts()
    path = folder / "checkpoints"
    job = gpumedic_job.Training(model, optimizer, checkpoint=path, save_every=SAVE_EVERY)
    for step in job.steps(ENDLESS):
        began_s, loss = time.monotonic(), 0.0
        with step:
            loss = one_step(job.model, optimizer, int(step), job.rank)
        if job.step > step:
            tell(began_s, int(step), job.rank, loss, model)


def beating() -> None:
    """Train under NVIDIA's ft_launcher, with a heartbeat a step."""
    from nvidia_resiliency_ext.fault_tolerance import RankMonitorClient

    client = RankMonitorClient()
    client.init_workload_monitoring()
    restarted(client.send_heartbeat)


def in_process() -> None:
    """Train under NVIDIA's in-process restart; ranks beyond WIDTH are warm spares."""
    from nvidia_resiliency_ext import inprocess

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    first = os.environ["RANK"] == "0"
    base = TCPStore(
        address, port, is_master=first, wait_for_workers=False, multi_tenant=True, use_libuv=True
    )
    if first:
        base.set("port", str(unused_port()))
    second = timedelta(seconds=1)
    # Timeouts as short as its rules and gloo, which cannot be aborted, let them be.
    wrapped = inprocess.Wrapper(
        store_kwargs={"host_name": address, "port": int(base.get("port")), "timeout": 60 * second},
        rank_assignment=inprocess.Compose(
            inprocess.rank_assignment.MaxActiveWorldSize(int(os.environ["WIDTH"])),
            inprocess.rank_assignment.ShiftRanks(),
        ),
        soft_timeout=6 * second,
        hard_timeout=8 * second,
        heartbeat_timeout=6 * second,
        termination_grace_time=second,
    )

    def train(call: inprocess.CallWrapper) -> None:
        def connect() -> None:
            store = PrefixStore(str(call.iteration), base)
            rank, width = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            dist.init_process_group(
                "gloo", store=store, rank=rank, world_size=width, timeout=30 * second
            )

        restarted(call.ping, connect)

    train.__annotations__["call"] = inprocess.CallWrapper
    call: Any = wrapped(train)
    call(None)


def unused_port() -> int:
    """Return a port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def in_memory() -> None:
    """Train under DLRover: each step's state goes to shared memory, every twentieth to disk."""
    from dlrover.trainer.torch.flash_checkpoint.checkpointer import StorageType
    from dlrover.trainer.torch.flash_checkpoint.ddp import DdpCheckpointer

    dist.init_process_group("gloo", timeout=timedelta(minutes=30))
    model, optimizer = parts()
    keeper = DdpCheckpointer(str(folder / "dlrover"))
    if saved := keeper.load_checkpoint():
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    parallel, rank = DistributedDataParallel(model), dist.get_rank()
    for step, began_s in steps(saved.get("step", 0) if saved else 0):
        tell(began_s, step, rank, one_step(parallel, optimizer, step, rank), model)
        done = step + 1
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": done}
        kind = StorageType.MEMORY if done % SAVE_EVERY else StorageType.DISK
        keeper.save_checkpoint(done, state, storage_type=kind)


def replicated() -> None:
    """Train under torchft: each rank is a replica group; those beyond WIDTH are hot spares."""
    global world  # noqa: PLW0603  # its ranks have no group of torch's own
    import torchft
    from torchft.manager import WorldSizeMode

    model, optimizer = parts()
    saved = load()
    if saved:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    spare = "WIDTH" in os.environ

    def state() -> dict[str, Any]:
        return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}

    def take(other: dict[str, Any]) -> None:
        model.load_state_dict(other["model"])
        optimizer.load_state_dict(other["optimizer"])

    manager = torchft.Manager(
        pg=torchft.ProcessGroupGloo(timeout=timedelta(seconds=5)),
        load_state_dict=take,
        state_dict=state,
        min_replica_size=int(os.environ.get("WIDTH", "1")),
        world_size_mode=WorldSizeMode.FIXED_WITH_SPARES if spare else WorldSizeMode.DYNAMIC,
        use_async_quorum=False,
        timeout=timedelta(seconds=10),
        replica_id=f"rank{os.environ['REPLICA']}",
        hostname="127.0.0.1",
    )
    if saved:
        manager.load_state_dict(saved["manager"])
    world = manager.num_participants
    parallel = torchft.DistributedDataParallel(manager, model)
    managed = torchft.Optimizer(manager, optimizer)
    while True:
        began_s, step = time.monotonic(), manager.current_step()
        manager.start_quorum()
        step, rank = manager.current_step(), manager.participating_rank()
        loss = one_step(parallel, _Started(managed), step, rank or 0)
        if manager.current_step() == step or rank is None:
            continue
        tell(began_s, step, rank, loss, model)
        if rank == 0 and (step + 1) % SAVE_EVERY == 0:
            save({**state(), "manager": manager.state_dict()}, step + 1)


class _Started:
    """torchft's optimizer after its quorum was asked for: the inputs depend on its answer."""

    def __init__(self, managed: Any) -> None:
        self.zero_grad = managed.optim.zero_grad
        self.step = managed.step


WAYS = {
    each.__name__: each
    for each in (restarted, handed_over, beating, in_process, in_memory, replicated)
}

if __name__ == "__main__":
    WAYS[way]()
