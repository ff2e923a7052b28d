"""The settings in operators' words come to the bounds that the guards go by."""

from typing import Any

from agent.config import Settings
from agent.tuning import run_settings
from remediation.guards import GuardSettings, Maintenance


def guards(**chosen: Any) -> GuardSettings:
    given: dict[str, Any] = {"guards": chosen}
    return run_settings(Settings(**given)).guards


def test_the_defaults_of_the_settings_are_those_of_the_guards() -> None:
    assert guards() == GuardSettings()


def test_hours_and_days_become_seconds() -> None:
    found = guards(max_unsaved_gpu_hours=2.0, probation="2d")

    assert (found.max_unsaved_gpu_s, found.probation_s) == (7200.0, 172_800.0)


def test_a_maintenance_window_says_who_works_where_and_when() -> None:
    window = {"nodes": ["gpu-1*"], "start": "2026-12-01T22:00:00Z", "end": "2026-12-02T01:00:00Z"}

    (found,) = guards(maintenance=[window | {"by": "ada"}]).maintenance

    assert found == Maintenance(frozenset({"gpu-1*"}), 1796162400.0, 1796173200.0, "ada")
    assert [found.covers(node) for node in ("gpu-17", "gpu-2")] == [True, False]
