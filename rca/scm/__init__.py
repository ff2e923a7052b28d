"""Linear structural causal models in batched numpy: fit, residuals, attribution."""
