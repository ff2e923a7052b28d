"""Whose processes run on this machine's GPUs, so that a GPU's fault names the job that it hits."""
