"""Hard faults: what a count, a flag or an error code says by itself, by the vendor's catalogue."""
