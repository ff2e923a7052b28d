"""Looking ahead: the cluster laid out anew in the simulator from what is known, and tried on."""
