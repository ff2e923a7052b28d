"""How often a diagnosis is right, on simulated faults that it was not tuned on."""
