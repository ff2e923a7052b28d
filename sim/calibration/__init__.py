"""Published statistics in, published outcomes out: what the simulator is held against."""
