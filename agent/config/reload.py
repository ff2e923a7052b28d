"""Reload: read, check, compare, and take over all that can change without a restart, or nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from agent.config.loading import Loaded, validate
from agent.config.settings import Settings
from agent.config.showing import plain, redacted
from core.errors import ConfigError

# What the running parts read anew in every cycle; anything else needs a restart.
LIVE = (
    "autonomy*",
    "capacity.*",
    "detect.*",
    "diagnose.*",
    "forecast.cluster_false_alarms_per_day",
    "forecast.coverage",
    "forecast.false_alarms_per_day",
    "forecast.horizon",
    "forecast.limits*",
    "forecast.min_probability",
    "forecast.model",
    "forecast.sustain",
    "guards.*",
    "log.level",
    "policy.*",
    "site.*",
)


@dataclass(frozen=True, slots=True)
class Change:
    """One key that differs, with both values as written; None where there was or is none."""

    key: str
    old: Any
    new: Any
    needs_restart: bool

    def __str__(self) -> str:
        later = " (after a restart)" if self.needs_restart else ""
        return f"{self.key}: {self.old} -> {self.new}{later}"


def changes(old: Settings, new: Settings) -> tuple[Change, ...]:
    """Return the keys whose values differ, in the order of the keys."""
    before, after = _filled(old), _filled(new)
    return tuple(
        Change(key, redacted(key, before.get(key)), redacted(key, after.get(key)), not _live(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    )


class Reloader:
    """Holds the settings in force.

    read:  reads all layers anew, as at the start
    apply: hands settings to the running parts; when it raises, it is called with the old ones
    """

    def __init__(
        self, loaded: Loaded, *, read: Callable[[], Loaded], apply: Callable[[Settings], None]
    ) -> None:
        self.settings = loaded.settings
        self._read = read
        self._apply = apply

    def reload(self) -> tuple[Change, ...]:
        """Take over what changed and return it; ConfigError leaves everything as it was.

        A change that needs a restart is returned and not taken over, so the settings in force
        stay those the process runs with.
        """
        wanted = self._read().settings
        changed = changes(self.settings, wanted)
        taken = validate(_without_restart(self.settings, wanted, changed))
        try:
            self._apply(taken)
        except Exception as error:
            self._apply(self.settings)
            raise ConfigError(
                f"Applying the new settings: {error} The old ones stay in force."
            ) from error
        self.settings = taken
        return changed


def _filled(settings: Settings) -> dict[str, Any]:
    return {key: value for key, value in plain(settings).items() if value not in ([], {})}


def _live(key: str) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in LIVE)


def _without_restart(old: Settings, new: Settings, changed: tuple[Change, ...]) -> dict[str, Any]:
    """Return the new settings with each key that needs a restart as it was; a list as a whole."""
    before, data = old.model_dump(mode="json"), new.model_dump(mode="json")
    for change in changed:
        if change.needs_restart:
            section, _, name = change.key.partition(".")
            if isinstance(before[section], dict):
                name = name.partition(".")[0]
                data[section][name] = before[section][name]
            else:
                data[section] = before[section]
    return data
