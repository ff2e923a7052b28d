"""The root helper: does a closed list of things as root for the node service, and nothing else."""
