"""Save checkpoints one after another until killed: started by a test, which kills it.

``python -m tests.checkpoint_saver FOLDER FORM``: by torch.save, or by a Saver in the background; a
line on the output for each that is about to begin.
"""

import sys
from pathlib import Path

import torch

from agent.launch.jobside.gpumedic_job.saving import Saver

folder, form = Path(sys.argv[1]), sys.argv[2]
tensors = {f"w{number}": torch.full((1_000_000,), float(number)) for number in range(12)}
saver = Saver(folder)
for step in range(10_000):
    sys.stdout.write(f"{step}\n")
    sys.stdout.flush()
    state = {"model": tensors, "step": step}
    if form == "torch.save":
        torch.save(state, folder / f"step_{step}.pt")
    else:
        saver.save(state, step)
        saver.wait()
