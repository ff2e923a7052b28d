"""Published figures beside ours: each published policy reproduced first, then gpumedic's own."""
