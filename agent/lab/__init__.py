"""A simulated cluster served as a real one is: exporters, Prometheus' API, logs, a scheduler."""
