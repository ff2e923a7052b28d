"""A training that saves its checkpoints where it is told, and says the loss of each step.

FOLDER: where; STEPS: how many
"""

import json
import os
import sys

import gpumedic_job as gm
import torch
from torch import nn

torch.manual_seed(7)
torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(16, 200), nn.ReLU(), nn.Linear(200, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.9)
folder = os.environ["FOLDER"]
with gm.Training(model, optimizer, shared=[schedule], checkpoint=folder, save_every=25) as job:
    for step in job.steps(int(os.environ["STEPS"])):
        with step:
            inputs = torch.randn(8, 16, generator=torch.Generator().manual_seed(step))
            loss = job.model(inputs).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if job.rank == 0 and job.step > step:
            said = {"pid": os.getpid(), "rank": 0, "step": int(step), "loss": loss.item()}
            sys.stdout.write(json.dumps(said) + "\n")
