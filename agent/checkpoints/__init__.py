"""Checkpoints of training jobs: found, held against their checksums, backed up and restored."""
