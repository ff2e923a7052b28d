"""What the helper may do on this machine: a file that only root may write, every key checked."""

import os
import pwd
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from core.errors import ConfigError

VERBS = ("power_limit", "clock_lock", "gpu_reset", "signal", "renice", "ionice", "loader_hint")
OFF_BY_DEFAULT = ("reboot",)
SIGNALS = ("TERM", "KILL", "INT", "USR1", "USR2", "STOP", "CONT")


@dataclass(frozen=True, slots=True)
class HelperSettings:
    """The bounds of every verb; the defaults are what stands in no file.

    user:       the only one who may ask
    verbs:      that are carried out; ``reboot`` only where it is named here
    least_watts, most_watts: of one GPU, within what its driver allows; 0: the driver's own bound
    least_mhz, most_mhz: of an SM clock, likewise
    least_nice: most urgent that a process may be made
    least_uid:  processes of users below it, such as root's slurmstepd, are never touched
    job_cgroups: names of cgroups that belong to a job, with * and ?; ``{job}`` is its id,
        ``{job_}`` the same with _ for -. Slurm's and Kubernetes', by both of its cgroup drivers
    nvidia_smi, reboot: programs, as absolute paths with their arguments
    hints:      folder of the hints that jobs may read
    """

    user: str = "gpumedic"
    verbs: tuple[str, ...] = VERBS
    least_watts: int = 0
    most_watts: int = 0
    least_mhz: int = 600
    most_mhz: int = 0
    signals: tuple[str, ...] = SIGNALS
    least_nice: int = 0
    least_uid: int = 1000
    job_cgroups: tuple[str, ...] = ("job_{job}", "pod{job}", "kubepods-*pod{job_}.slice")
    nvidia_smi: tuple[str, ...] = ("/usr/bin/nvidia-smi",)
    reboot: tuple[str, ...] = ("/usr/bin/systemctl", "reboot")
    hints: str = "/run/gpumedic-helper/hints"

    def uid(self) -> int:
        """Return the number of the user who may ask; ConfigError where there is no such user."""
        try:
            return int(self.user) if self.user.isdecimal() else pwd.getpwnam(self.user).pw_uid
        except KeyError:
            raise ConfigError(
                f"The root helper serves the user {self.user!r}, and there is none. Make the user, "
                "or name another one as user in its settings."
            ) from None


def read_settings(path: Path) -> HelperSettings:
    """Read the settings; a file that is not there gives the defaults.

    ConfigError where somebody else could write the file, or it holds what is not known.
    """
    try:
        with path.open("rb") as file:
            _check_owner(path, os.fstat(file.fileno()))
            found = tomllib.load(file)
    except FileNotFoundError:
        return HelperSettings()
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"Reading {path}: {error}. Correct the file, or remove it.") from error
    return HelperSettings(**_checked(path, found))


def _check_owner(path: Path, found: os.stat_result) -> None:
    others = stat.S_IMODE(found.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
    if found.st_uid not in (0, os.geteuid()) or others:
        raise ConfigError(
            f"Reading {path}: others than root may write it (owner {found.st_uid}, mode "
            f"{stat.S_IMODE(found.st_mode):o}). `chown root {path}; chmod 644 {path}`."
        )


def _checked(path: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    plain = HelperSettings()
    known = {field.name: getattr(plain, field.name) for field in fields(HelperSettings)}
    checked: dict[str, Any] = {}
    for key, value in found.items():
        if key not in known:
            raise ConfigError(f"{path}: there is no key {key}. Known are {', '.join(known)}.")
        checked[key] = _as(path, key, value, known[key])
    allowed = {"verbs": (*VERBS, *OFF_BY_DEFAULT), "signals": SIGNALS}
    for key, words in allowed.items():
        if unknown := set(checked.get(key, ())) - set(words):
            raise ConfigError(f"{path}: {key} names {min(unknown)}. Known are {', '.join(words)}.")
    return checked


def _as(path: Path, key: str, value: object, plain: object) -> object:
    """Return the value in its default's form."""
    if isinstance(plain, tuple) and isinstance(value, list):
        if all(isinstance(word, str) and word for word in value):
            return tuple(value)
    elif type(value) is type(plain):
        return value
    form = "a list of texts" if isinstance(plain, tuple) else type(plain).__name__
    raise ConfigError(f"{path}: {key} = {value!r:.60} is no {form}.")
