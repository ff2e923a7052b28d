"""The causal graph of a cluster: known mechanisms, links of the user, links learned, and paths."""
