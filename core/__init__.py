"""The words everything else is written in: types, ports, units, topology, errors, clock."""
