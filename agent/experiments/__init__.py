"""Simulated experiments: many runs of scenarios, on all cores or several machines, and reports."""
