"""Sources of readings and events: Prometheus, this machine, recorded files."""
