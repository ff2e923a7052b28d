"""Plans as they are carried out: journaled, verified, taken back, and put back later."""
