"""Forecasts of many series: models, back-tests, and the distribution of crossing a limit."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detectors.forecast.prophet.fitted import FleetFit
    from detectors.forecast.prophet.fleet import FleetProphet
    from detectors.forecast.prophet.settings import Event, ProphetSettings, Regressor, Seasonality

__all__ = ["Event", "FleetFit", "FleetProphet", "ProphetSettings", "Regressor", "Seasonality"]

_HOMES = {
    "Event": "detectors.forecast.prophet.settings",
    "FleetFit": "detectors.forecast.prophet.fitted",
    "FleetProphet": "detectors.forecast.prophet.fleet",
    "ProphetSettings": "detectors.forecast.prophet.settings",
    "Regressor": "detectors.forecast.prophet.settings",
    "Seasonality": "detectors.forecast.prophet.settings",
}


def __getattr__(name: str) -> Any:
    """Import the compiled parts when they are first asked for: a forecast's task needs none."""
    if name not in _HOMES:
        raise AttributeError(f"detectors.forecast has no {name}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
