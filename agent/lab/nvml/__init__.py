"""A driver to test against: NVML's calls, answered from a text file."""
