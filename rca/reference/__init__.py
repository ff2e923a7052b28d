"""DoWhy, the reference: seconds, not milliseconds, so only in a worker process."""
