"""Detectors on what jobs and their ranks report of their own progress."""

from detectors.progress.hang import Hangs
from detectors.progress.lateness import Lateness
from detectors.progress.loss import Losses
from detectors.progress.slowdown import Slowdowns
from detectors.progress.straggler import Stragglers

__all__ = ["Hangs", "Lateness", "Losses", "Slowdowns", "Stragglers"]
