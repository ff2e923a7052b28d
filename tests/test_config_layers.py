"""Settings come from files, environment and flags, each over the one before, and say which."""

from pathlib import Path

import pytest

from agent.config import Loaded, SettingsRefused, load, show
from core.types import Autonomy


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def origins(loaded: Loaded) -> dict[str, str]:
    return {key: origin for key, _, origin in show(loaded)}


def test_without_any_file_everything_has_a_default() -> None:
    loaded = load([], environ={})

    assert loaded.settings.cycle.interval == 15.0
    assert loaded.settings.forecast.memory_limit == 2 * 2**30
    assert loaded.settings.server.listen == "127.0.0.1:8642"
    assert loaded.files == ()
    assert {origins(loaded)["history.step"], origins(loaded)["guards.max_nodes_out"]} == {"default"}


def test_each_layer_wins_over_those_before_it(tmp_path: Path) -> None:
    main = '[history]\nstep = "20s"\nspan = "30h"\n[forecast]\nhorizon = "3h"\nworkers = 2\n'
    write(tmp_path / "config.toml", main)
    write(tmp_path / "conf.d" / "10.toml", '[history]\nspan = "40h"\n[forecast]\nworkers = 3\n')
    write(tmp_path / "conf.d" / "20.toml", "[forecast]\nworkers = 4\n")
    environ = {"GPUMEDIC__FORECAST__WORKERS": "5", "GPUMEDIC__FORECAST__COVERAGE": "0.9"}

    loaded = load([tmp_path], environ=environ, flags={"forecast.coverage": 0.5, "cluster": None})

    assert (loaded.settings.history.step, loaded.settings.history.span) == (20.0, 144000.0)
    assert (loaded.settings.forecast.workers, loaded.settings.forecast.coverage) == (5, 0.5)
    assert loaded.settings.cluster == "default"
    assert origins(loaded) | {
        "history.step": f"{tmp_path}/config.toml:2",
        "history.span": f"{tmp_path}/conf.d/10.toml:2",
        "forecast.horizon": f"{tmp_path}/config.toml:5",
        "forecast.workers": "environment GPUMEDIC__FORECAST__WORKERS",
        "forecast.coverage": "flag --coverage",
        "cluster": "default",
    } == origins(loaded)
    assert [path.name for path in loaded.files] == ["config.toml", "10.toml", "20.toml"]


def test_tables_join_and_a_list_replaces_the_whole_list(tmp_path: Path) -> None:
    first = write(
        tmp_path / "a.toml",
        """
        forecast.limits = { gpu_temperature_celsius = 80 }
        [[autonomy]]
        action = "cordon"
        mode = "auto"
        [[autonomy]]
        mode = "suggest"
        """,
    )
    second = write(
        tmp_path / "b.toml",
        '[[autonomy]]\nmode = "approve"\n[forecast.limits]\nvolume_used_ratio = 0.9\n',
    )

    loaded = load([first, second], environ={})

    limits = {"gpu_temperature_celsius": 80.0, "volume_used_ratio": 0.9}
    assert loaded.settings.forecast.limits == limits
    assert [rule.mode for rule in loaded.settings.autonomy] == [Autonomy.APPROVE]
    assert origins(loaded)["autonomy.0.mode"] == f"{second}:2"
    assert origins(loaded)["autonomy.0.action"] == "default"
    assert origins(loaded)["forecast.limits.gpu_temperature_celsius"] == f"{first}:2"


def test_the_line_is_right_behind_long_strings_and_comments(tmp_path: Path) -> None:
    text = (
        "# cluster = 'no'\n[forecast] # first\n\nhorizon = '3h'\n[[webhooks]]\nname = '''a'''\n"
        "url = 'http://a.example'\nannouncements = [\n  'incident.opened', # url = 1\n]\n"
        "[[webhooks]]\n'name' = 'b'\nurl = 'http://b.example'\n[prometheus.labels]\n"
        'node = """\\\nzone"""\ngpu = "z"\n[log]\nlevel = "debug"\n'
    )
    path = write(tmp_path / "a.toml", text)

    found = origins(load([path], environ={}))

    assert {key: int(place.rsplit(":")[-1]) for key, place in found.items() if ":" in place} == {
        "forecast.horizon": 4,
        "webhooks.0.name": 6,
        "webhooks.0.url": 7,
        "webhooks.0.announcements": 8,
        "webhooks.1.name": 12,
        "webhooks.1.url": 13,
        "prometheus.labels.node": 15,
        "prometheus.labels.gpu": 17,
        "log.level": 19,
    }


def test_lists_and_tables_in_the_environment_are_json() -> None:
    environ = {
        "GPUMEDIC__PROMETHEUS__METRICS": '["gpu_power_watts"]',
        "GPUMEDIC__FORECAST__LIMITS__GPU_POWER_WATTS": "650",
        "GPUMEDIC__AUTONOMY": '[{"mode": "suggest"}]',
        "gpumedic__cluster": "east",
        "GPUMEDIC_REQUIRE_REAL": "1",
        "HISTORY__STEP": "1h",
    }

    settings = load([], environ=environ).settings

    assert settings.prometheus.metrics == ("gpu_power_watts",)
    assert settings.forecast.limits == {"gpu_power_watts": 650.0}
    assert settings.autonomy[0].mode is Autonomy.SUGGEST
    assert (settings.cluster, settings.history.step) == ("east", 15.0)


def test_a_short_option_is_named_as_the_operator_wrote_it() -> None:
    loaded = load([], environ={}, flags={"prometheus.url": "http://p:9090"})

    assert origins(loaded)["prometheus.url"] == "flag --prometheus"


def test_a_variable_of_this_process_never_leaks_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUMEDIC__HISTORY__STEP", "1h")

    assert load([], environ={}).settings.history.step == 15.0


def test_the_state_lies_where_systemd_put_it_unless_a_file_says_so(tmp_path: Path) -> None:
    environ = {"STATE_DIRECTORY": "/var/lib/gpumedic/node:/var/lib/other"}
    path = write(tmp_path / "a.toml", 'state_dir = "/srv/state"\n')

    assert load([], environ=environ).settings.state_dir == Path("/var/lib/gpumedic/node")
    assert origins(load([], environ=environ))["state_dir"] == "environment STATE_DIRECTORY"
    assert load([path], environ=environ).settings.state_dir == Path("/srv/state")


def test_a_user_without_rights_keeps_state_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = write(tmp_path / "file", "")
    monkeypatch.setattr("agent.config.loading.STATE_DIR", taken / "gpumedic")

    home = load([], environ={"HOME": "/home/ann"})
    xdg = load([], environ={"HOME": "/home/ann", "XDG_STATE_HOME": "/data/state"})

    assert home.settings.state_dir == Path("/home/ann/.local/state/gpumedic")
    assert xdg.settings.state_dir == Path("/data/state/gpumedic")
    assert "is not writable" in origins(home)["state_dir"]


def test_a_folder_without_files_is_no_mistake(tmp_path: Path) -> None:
    assert load([tmp_path], environ={}).files == ()


def test_a_named_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsRefused, match=r"nowhere\.toml: there is no such file"):
        load([tmp_path / "nowhere.toml"], environ={})


def test_the_first_rule_that_matches_decides_the_autonomy(tmp_path: Path) -> None:
    text = """
    [[autonomy]]
    action = "checkpoint_now"
    [[autonomy]]
    action = "c*"
    group = "canary-?"
    mode = "auto"
    [[autonomy]]
    group = "canary-1"
    mode = "approve"
    """
    settings = load([write(tmp_path / "a.toml", text)], environ={}).settings

    assert settings.autonomy_of("checkpoint_now", "canary-1") is Autonomy.OBSERVE
    assert settings.autonomy_of("cordon", "canary-1") is Autonomy.AUTO
    assert settings.autonomy_of("uncordon", "canary-1") is Autonomy.APPROVE
    assert settings.autonomy_of("uncordon", "canary-2") is Autonomy.OBSERVE
    assert settings.autonomy_of("cordon", "CANARY-1") is Autonomy.OBSERVE


def test_settings_cannot_be_changed_in_place() -> None:
    settings = load([], environ={}).settings

    with pytest.raises(ValueError, match="frozen"):
        settings.cluster = "other"
    with pytest.raises(ValueError, match="frozen"):
        settings.guards.max_nodes_out = 99
