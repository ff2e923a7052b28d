"""Prometheus labels to targets and back."""

from collections.abc import Mapping

from core.details import METRICS
from core.exporters import LABELS, OWN_PREFIX
from core.target import Target, TargetKind

# Which parts name a target of each scope. Others are left out even where a label offers them:
# dcgm-exporter's ``device`` is a GPU's file, node_exporter's that of a file system or a port.
_PARTS: Mapping[TargetKind, tuple[str, ...]] = {
    TargetKind.NODE: ("node",),
    TargetKind.GPU: ("node", "gpu"),
    TargetKind.PORT: ("node", "port"),
    TargetKind.VOLUME: ("node", "volume"),
    TargetKind.JOB: ("job",),
    TargetKind.RANK: ("node", "gpu", "job", "rank"),
}
_NEEDED: Mapping[TargetKind, tuple[str, ...]] = {
    **_PARTS,
    TargetKind.VOLUME: ("volume",),
    TargetKind.RANK: ("job", "rank"),
}
# Our own exporter's label for a part that Prometheus has a meaning of its own for.
_OWN_LABEL = {"job": "job_id"}


def own_labels(target: Target) -> dict[str, str]:
    """Return the labels under which our exporter shows a target."""
    return {_OWN_LABEL.get(part, part): value for part, value in target.labels().items()}


def target_of(
    labels: Mapping[str, str], metric: str, *, extra: Mapping[str, str] | None = None
) -> Target | None:
    """Return the target a series is about, None where its labels do not say.

    extra: target part -> the label that names it here; tried before the well-known ones
    """
    scope = METRICS[metric].scope
    own = labels.get("__name__", "").startswith(OWN_PREFIX)
    found: dict[str, str] = {}
    for part in _PARTS.get(scope, ()):
        if value := _part(part, labels, own=own, extra=(extra or {}).get(part)):
            found[part] = value
    if not all(part in found for part in _NEEDED.get(scope, ())):
        return None
    return Target(**found)


def _part(part: str, labels: Mapping[str, str], *, own: bool, extra: str | None) -> str:
    if extra and labels.get(extra):
        return labels[extra]
    if own and labels.get(_OWN_LABEL.get(part, part)):
        return labels[_OWN_LABEL.get(part, part)]
    if part == "port" and not labels.get("port_name") and labels.get("port"):
        return f"{labels.get('device', '')}:{labels['port']}"  # InfiniBand: mlx5_0 has ports 1, 2
    for label in LABELS[part]:
        if value := labels.get(label):
            return without_port(value) if label == "instance" else value
    return ""


def without_port(instance: str) -> str:
    """Return the node of ``node:9100``, ``10.0.0.1:9100`` or ``[fe80::1]:9100``."""
    if instance.startswith("["):
        return instance[1:].partition("]")[0]
    name, colon, port = instance.rpartition(":")
    return name if colon and port.isdigit() and ":" not in name else instance
