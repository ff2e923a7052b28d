"""Trouble that only a detector of its own can see opens an incident, in the whole loop."""

from pathlib import Path

from agent.staging import StageSettings, drive, stage
from core.clock import ManualClock
from sim.library import scenario


async def test_a_young_job_that_stops_stepping_is_an_incident_in_six_minutes(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    script = scenario("silent-hang").starting_at(clock.now_s())
    staged = await stage(script, StageSettings(folder=tmp_path, seed=1), clock=clock)

    # The hang begins at 600 s; how long the job pauses for a checkpoint is not known of it yet.
    await drive(staged.app, clock, 960.0)
    (incident,) = staged.app.controller.watch.live()
    await staged.app.close()

    assert "llm-70b" in incident.jobs
    assert "hang" in {anomaly.detector for anomaly in incident.anomalies}
