"""An unchanged torchrun script: says its environment, trains, dies once, reads its checkpoint."""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

folder = Path(sys.argv[1])
dist.init_process_group("gloo")
total = torch.ones(1)
dist.all_reduce(total)
saved = folder / "step"
first = int(saved.read_text()) if saved.exists() else 0
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_RUN_ID")
seen = {name: os.environ[name] for name in names}
sys.stdout.write(json.dumps({"first": first, "world": int(total), "path": sys.path, **seen}) + "\n")
for step in range(first, 10):
    dist.barrier()
    if dist.get_rank() == 0:
        saved.write_text(str(step))
    dist.barrier()
    if step == 5 and first == 0 and dist.get_rank() == 1:
        os._exit(3)
dist.destroy_process_group()
