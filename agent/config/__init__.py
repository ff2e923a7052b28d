"""The settings: read from files, environment and flags, checked, shown and reloaded."""

from agent.config.checks import read_secret
from agent.config.example_file import example
from agent.config.loading import Loaded, load
from agent.config.problems import SettingProblem, SettingsRefused
from agent.config.reload import Change, Reloader, changes
from agent.config.settings import Settings, Webhook
from agent.config.showing import check, schema, show

__all__ = [
    "Change",
    "Loaded",
    "Reloader",
    "SettingProblem",
    "Settings",
    "SettingsRefused",
    "Webhook",
    "changes",
    "check",
    "example",
    "load",
    "read_secret",
    "schema",
    "show",
]
