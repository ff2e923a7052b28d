"""Measurements anyone can repeat: rows of the one form, medians over repetitions."""
