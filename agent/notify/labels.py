"""Between targets and the labels of alerts: the same words in both directions."""

import hashlib
from collections.abc import Mapping

from core.exporters import LABELS
from core.target import Target
from core.types import Incident

# Prometheus' ``job`` is the scrape job: a training job travels under its own name.
_JOB_LABEL = LABELS["job"][0]
_GPU_UUID_PREFIX = "GPU-"  # NVML's form of a UUID; dcgm-exporter's ``gpu`` label is only an index
SOURCE = "gpumedic"


def alert_labels(target: Target) -> dict[str, str]:
    """Return the target as alert labels: node, gpu (UUID), port, volume, job_id, rank, ..."""
    return {_JOB_LABEL if part == "job" else part: name for part, name in target.labels().items()}


def target_of(labels: Mapping[str, str]) -> Target:
    """Read the target from an alert's labels, whoever named them; the cluster if none names one.

    A node is cut at its port: Prometheus' ``instance`` reads ``node-7:9100``.
    """
    parts = {
        part: next((labels[name] for name in names if labels.get(name)), "")
        for part, names in LABELS.items()
    }
    if not parts["gpu"] and labels.get("gpu", "").startswith(_GPU_UUID_PREFIX):
        parts["gpu"] = labels["gpu"]
    parts["port"] = parts["port"] or labels.get("port", "")
    parts["node"] = _without_port(parts["node"])
    parts |= {part: labels.get(part, "") for part in ("switch", "rack")}
    return Target(**parts)


def fingerprint(labels: Mapping[str, str]) -> str:
    """Return 16 hexadecimal digits that stand for this set of labels."""
    text = "\xff".join(f"{name}\xfe{labels[name]}" for name in sorted(labels))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def alert_name(incident: Incident) -> str:
    """Name an incident by its first symptom, so that the name stays while symptoms gather."""
    names = [
        *((a.start_s, f"{a.metric}_anomaly") for a in incident.anomalies),
        *((e.time_s, f"{e.kind}_event") for e in incident.events),
        *((b.made_at_s, f"{b.metric}_breach_expected") for b in incident.breaches),
    ]
    return camel(f"{SOURCE}_{min(names)[1] if names else 'incident'}")


def camel(text: str) -> str:
    """Join words to one name: ``gpu_used.ratio`` is GpuUsedRatio."""
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in text).split()
    return "".join(word[:1].upper() + word[1:] for word in words)


def _without_port(node: str) -> str:
    name, colon, port = node.rpartition(":")
    return (
        name.strip("[]")
        if colon and port.isdecimal() and (":" not in name or "]" in name)
        else node
    )
