"""Save a sharded state from all ranks in the background, and restore it: started by torchrun."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from agent.launch.jobside.gpumedic_job.saving import Saver

dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (dist.get_world_size(),))
sharded = distribute_tensor(torch.arange(64.0).reshape(8, 8), mesh, [Shard(0)])
wanted = sharded.to_local().clone()
group = dist.new_group(backend="gloo")
saver = Saver(Path(sys.argv[1]), group=group)
saver.save({"w": sharded, "step": 8}, 8)
sharded.to_local().zero_()  # the training goes on
dist.barrier()
saver.close()
dist.barrier()  # the first rank gives it its name
assert Saver(Path(sys.argv[1]), group=group).restore({"w": sharded}) == 8
assert torch.equal(sharded.to_local(), wanted)
dist.barrier()  # a rank that ends while another still talks to it ends badly in torch 2.13
dist.destroy_process_group()
