"""A torchrun script, run unchanged: gpumedic launch --nproc-per-node 2 --max-restarts 3 -- THIS."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.functional import mse_loss
from torch.nn.parallel import DistributedDataParallel

CHECKPOINT, EVERY = Path("checkpoint.pt"), 100

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
plain = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
optimizer = torch.optim.AdamW(plain.parameters(), 1e-2)
first = 0
if CHECKPOINT.exists():
    saved = torch.load(CHECKPOINT, weights_only=True)
    plain.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    first = saved["step"]
model = DistributedDataParallel(plain)
for step in range(first, int(sys.argv[1]) if len(sys.argv) > 1 else 1000):
    inputs = torch.randn(64, 8, generator=torch.Generator().manual_seed(world * step + rank))
    loss = mse_loss(model(inputs), inputs.sum(1, keepdim=True))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if rank == 0 and (step + 1) % EVERY == 0:
        state = {"model": plain.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**state, "step": step + 1}, CHECKPOINT.with_suffix(".part"))
        CHECKPOINT.with_suffix(".part").replace(CHECKPOINT)
        sys.stdout.write(f"step {step}: loss {loss.item():.4f}\n")
dist.barrier()  # no rank ends while another still talks to it
dist.destroy_process_group()
