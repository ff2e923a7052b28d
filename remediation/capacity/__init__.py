"""Room for work: planners of moves that make a large job fit, and of capacity ahead of demand."""
