"""Who chooses: hand-written policies, what was found for their numbers, and the learned one."""
