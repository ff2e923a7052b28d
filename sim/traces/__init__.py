"""Recorded job traces, faults and telemetry, read row by row into the simulator's tables."""
