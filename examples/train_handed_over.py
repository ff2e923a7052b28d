"""Train so that a dead rank costs no step: gpumedic launch --nproc-per-node 2 -- THIS [STEPS]."""

import sys

import gpumedic_job as gm  # `gpumedic launch` puts it on the path
import torch
from torch.nn.functional import mse_loss

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
optimizer = torch.optim.AdamW(model.parameters(), 1e-2)

# A standby runs the script up to here and waits: what depends on the rank comes after.
with gm.Training(model, optimizer, checkpoint="checkpoints", save_every=100) as job:
    for step in job.steps(int(sys.argv[1]) if len(sys.argv) > 1 else 1000):
        with step:  # done as a whole by every rank, or done again
            inputs = torch.randn(
                64, 8, generator=torch.Generator().manual_seed(job.world * step + job.rank)
            )
            loss = mse_loss(job.model(inputs), inputs.sum(1, keepdim=True))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if job.rank == 0 and step % 100 == 0:
            sys.stdout.write(f"step {step}: loss {loss.item():.4f}\n")
