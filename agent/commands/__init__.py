"""The command line's verbs, by theme; each calls one function and prints its answer."""
