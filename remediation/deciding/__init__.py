"""From a diagnosis to a choice and a plan: what is known, what is open, and what was decided."""
