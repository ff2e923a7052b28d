"""The whole of gpumedic as processes, beside real parts."""
