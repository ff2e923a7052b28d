"""Readings in; forecasts, anomalies and incidents out. Pure: no I/O, no clock."""
