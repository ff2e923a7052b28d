"""The plain-data front: two tables of readings and a graph in, suspects out."""
