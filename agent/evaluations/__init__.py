"""How good forecasts and detectors are, measured on what they have not learned from."""
