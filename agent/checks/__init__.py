"""Checks of this machine: small components that say how well a part is, why, and what to do."""
