"""What jobs' energy is, what it costs, and how the same work would take less of it."""
