"""Policies against each other on the same lives: what each loses, how sure that is, who may act."""
