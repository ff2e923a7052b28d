"""Facebook Prophet's model, fitted exactly for all series of a grid at once."""
