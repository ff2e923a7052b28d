"""The faults a diagnosis can name and what betrays them, as data with sources."""
