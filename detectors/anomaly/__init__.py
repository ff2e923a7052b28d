"""Anomalies on every series of a fleet: scored as they come, ranked by each series' own past."""

from detectors.anomaly.detector import AnomalyDetector, AnomalySettings

__all__ = ["AnomalyDetector", "AnomalySettings"]
