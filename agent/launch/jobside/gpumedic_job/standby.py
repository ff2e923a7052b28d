"""What a forked worker does: warm up, wait where that is wanted, then be the script."""

import builtins
import os
import runpy
import sys
from pathlib import Path
from types import CodeType


def main(kind: str) -> None:
    """Be the script at once, as a rank or to stop where it asks for one, or wait for a rank.

    kind: rank, script or wait
    """
    if kind != "rank":
        _warm()
    if kind == "wait":
        _wait()
    _run()


def _warm() -> None:
    """Do once what is slow the first time; the random state is as it was."""
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import HashStore

    state = torch.get_rng_state()
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    group = dist.group.WORLD  # to go after the parallel model: see Group.close
    _train()
    dist.destroy_process_group()
    del group
    torch.set_rng_state(state)


def _train() -> None:
    import torch
    from torch.nn.parallel import DistributedDataParallel

    model = torch.nn.Linear(8, 8)
    wrapped = DistributedDataParallel(model)
    optimizers = [torch.optim.SGD(model.parameters(), 0.1), torch.optim.AdamW(model.parameters())]
    for optimizer in optimizers:
        optimizer.zero_grad()
        wrapped(torch.randn(4, 8)).square().mean().backward()
        optimizer.step()


def _wait() -> None:
    """Wait for the rank of a script that does not ask for one."""
    from .layout import SOCKET_ENV, UID_ENV
    from .link import Link

    link = Link(os.environ[SOCKET_ENV], os.environ[UID_ENV])
    link.send("warm", pid=os.getpid())
    os.environ.update(link.inbox.get()["environment"])


def _run() -> None:
    """Become the script: its arguments, its folder first on the path, its name ``__main__``."""
    del sys.argv[0]
    if sys.argv[0] == "-m":
        del sys.argv[0]
        sys.path[0] = str(Path.cwd())
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        return
    script = sys.argv[0]
    main_module = sys.modules["__main__"]
    code: CodeType = compile(Path(script).read_bytes(), script, "exec")
    main_module.__dict__.update(
        __file__=str(Path(script).absolute()), __builtins__=builtins, __doc__=None
    )
    builtins.exec(code, main_module.__dict__)
