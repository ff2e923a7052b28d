"""What an incident speaks for: candidates, their evidence, and calibrated probabilities."""
