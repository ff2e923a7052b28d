"""How well the plain-data front finds the component at fault in service topologies."""
