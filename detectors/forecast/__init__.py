"""Forecasts of many series: models, back-tests, and the distribution of crossing a limit."""
