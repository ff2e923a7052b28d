"""Short horizons on a faster clock: what fills in minutes is looked at as if it took hours.

Forecasters and warnings are made for hours: lines through 20 minutes to 8 hours, two hours ahead,
half an hour of readings at least. A scratch volume that fills in two minutes is the same curve on
another clock. So below ``SHORT_S`` all times are multiplied by a factor before a forecast and
divided by it after; a day's wave then has no meaning, and nothing so short has one.
"""

from dataclasses import replace

from core.types import Breach
from detectors.forecast.task import FleetForecast, ForecastTask, Model

# A horizon of half an hour and more is taken as it is.
SHORT_S = 1800.0
USUAL_S = 7200.0


def pace_of(horizon_s: float, model: Model) -> float:
    """Return what times are multiplied by; facebook's package dates them, so never for it."""
    return 1.0 if horizon_s >= SHORT_S or model is Model.PROPHET else USUAL_S / horizon_s


def paced(task: ForecastTask, pace: float) -> ForecastTask:
    """Return the task on the faster clock."""
    if pace == 1.0:
        return task
    return replace(
        task,
        time_s=task.time_s * pace,
        horizon_s=task.horizon_s * pace,
        sustain_s=task.sustain_s * pace,
    )


def unpaced(answer: FleetForecast, pace: float) -> FleetForecast:
    """Return an answer to a task on the faster clock, on the real one."""
    if pace == 1.0:
        return answer
    made, seen = answer.forecast, answer.crossings
    return replace(
        answer,
        forecast=replace(made, made_at_s=made.made_at_s / pace, time_s=made.time_s / pace),
        crossings=replace(
            seen,
            expected_s=seen.expected_s / pace,
            earliest_s=seen.earliest_s / pace,
            latest_s=seen.latest_s / pace,
        ),
    )


def unpaced_breach(breach: Breach, pace: float) -> Breach:
    """Return a warning given on the faster clock, on the real one."""
    if pace == 1.0:
        return breach
    return replace(
        breach,
        made_at_s=breach.made_at_s / pace,
        horizon_s=breach.horizon_s / pace,
        expected_s=breach.expected_s / pace,
        earliest_s=breach.earliest_s / pace,
        latest_s=breach.latest_s / pace,
    )
