"""What `gpumedic export` prints: files of the folder ``deploy``, which goes with the package."""

from pathlib import Path

from core.errors import InputError

DEPLOY = Path(__file__).parent.parent / "deploy"
RULES = DEPLOY / "prometheus" / "gpumedic.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "gpumedic.json"


def units() -> dict[str, Path]:
    """Return systemd's files by their names, such as ``gpumedic-node.service``."""
    return {path.name: path for path in sorted((DEPLOY / "systemd").iterdir())}


def unit(name: str) -> str:
    """Return the text of a unit; ``node`` stands for ``gpumedic-node.service``.

    InputError where there is no such unit.
    """
    known = units()
    path = known.get(name) or known.get(f"gpumedic-{name}.service")
    if path is None:
        raise InputError(f"There is no unit {name!r:.60}. There are {', '.join(known)}.")
    return path.read_text()
