"""A reload takes over all that may change while running, or nothing, and says what waits."""

from pathlib import Path

import pytest

from agent.config import Loaded, Reloader, Settings, changes, load
from core.errors import ConfigError
from core.types import Autonomy


class Cluster:
    """A configuration file, and the running parts that were handed its settings."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.toml"
        self.applied: list[Settings] = []
        self.write("")
        self.reloader = Reloader(self.read(), read=self.read, apply=self.apply)

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def read(self) -> Loaded:
        return load([self.path], environ={})

    def apply(self, settings: Settings) -> None:
        self.applied.append(settings)
        if settings.guards.max_nodes_out == 13:
            raise RuntimeError("13 is bad luck.")


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def test_a_live_key_is_taken_over_at_once(cluster: Cluster) -> None:
    cluster.write("[guards]\nmax_nodes_out = 7\n[[autonomy]]\nmode = 'suggest'\n")

    changed = cluster.reloader.reload()

    assert [str(change) for change in changed if change.key.startswith("guards")] == [
        "guards.max_nodes_out: 4 -> 7"
    ]
    assert cluster.reloader.settings.guards.max_nodes_out == 7
    assert cluster.reloader.settings.autonomy_of("drain", "any") is Autonomy.SUGGEST
    assert cluster.applied == [cluster.reloader.settings]


def test_a_causal_link_is_taken_over_at_once(cluster: Cluster) -> None:
    cluster.write("[[diagnose.link]]\ncause = 'node_up'\neffect = 'port_up'\nlag = '1m'\n")

    changed = cluster.reloader.reload()

    assert not any(change.needs_restart for change in changed)
    assert "diagnose.link.0.lag: None -> 1m" in [str(change) for change in changed]
    (link,) = cluster.reloader.settings.diagnose.link
    assert link.lag == 60.0


def test_a_key_that_needs_a_restart_is_listed_and_left(cluster: Cluster) -> None:
    cluster.write(
        '[history]\nstep = "30s"\n[guards]\nmax_nodes_out = 7\n'
        "[[webhooks]]\nname = 'a'\nurl = 'http://a.example'\n"
    )

    changed = cluster.reloader.reload()

    waiting = {change.key: str(change) for change in changed if change.needs_restart}
    assert waiting["history.step"] == "history.step: 15s -> 30s (after a restart)"
    assert "webhooks.0.url" in waiting
    assert cluster.reloader.settings.history.step == 15.0
    assert cluster.reloader.settings.webhooks == ()
    assert cluster.reloader.settings.guards.max_nodes_out == 7
    assert {change.key for change in cluster.reloader.reload()} == waiting.keys()


@pytest.mark.parametrize(
    "text",
    ["[guards]\nmax_nodes_out = 'x'", "[guards", "[guards]\nmax_nodes_out = 9\n[cyle]\n"],
)
def test_a_wrong_file_changes_nothing(cluster: Cluster, text: str) -> None:
    before = cluster.reloader.settings
    cluster.write(text)

    with pytest.raises(ConfigError):
        cluster.reloader.reload()

    assert cluster.reloader.settings is before
    assert cluster.applied == []


def test_a_part_that_refuses_gets_the_old_settings_back(cluster: Cluster) -> None:
    before = cluster.reloader.settings
    cluster.write("[guards]\nmax_nodes_out = 13\n")

    with pytest.raises(ConfigError, match=r"13 is bad luck\. The old ones stay in force\."):
        cluster.reloader.reload()

    assert cluster.reloader.settings is before
    assert cluster.applied[-1] is before


def test_a_live_key_that_leans_on_a_waiting_one_is_refused(cluster: Cluster) -> None:
    cluster.write('[history]\nstep = "2s"\n[detect]\nsilence_after = "5s"\n')

    with pytest.raises(ConfigError, match=r"detect\.silence_after = 5s is too short"):
        cluster.reloader.reload()


def test_an_unchanged_file_changes_nothing(cluster: Cluster) -> None:
    assert cluster.reloader.reload() == ()


def test_a_change_shows_no_webhooks_path() -> None:
    old, new = (
        Settings.model_validate(
            {"webhooks": [{"name": "ops", "url": f"https://hooks.example/T0/{path}"}]}
        )
        for path in ("s3cret", "n3w")
    )

    (change,) = changes(old, new)

    assert str(change) == (
        "webhooks.0.url: https://hooks.example/... -> https://hooks.example/... (after a restart)"
    )


def test_what_is_added_was_nothing_before() -> None:
    old = Settings()
    new = Settings.model_validate({"forecast": {"limits": {"gpu_power_watts": 600}}})

    (change,) = changes(old, new)

    assert (change.key, change.old, change.new, change.needs_restart) == (
        "forecast.limits.gpu_power_watts",
        None,
        600.0,
        False,
    )
