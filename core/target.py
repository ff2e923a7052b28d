"""The thing that can fail or be acted on, named by the most specific part that is known."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum


class TargetKind(StrEnum):
    """What a target is, from the whole cluster down to one rank."""

    CLUSTER = "cluster"
    RACK = "rack"
    SWITCH = "switch"
    NODE = "node"
    GPU = "gpu"
    PORT = "port"
    VOLUME = "volume"
    JOB = "job"
    RANK = "rank"


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """One thing that can fail or be acted on.

    gpu:    the GPU's UUID, never its index: indexes move after a reset
    port:   network port as the node names it (``mlx5_0:1``, ``eth0``)
    volume: file system as mounted (``/scratch``); with no node, one that nodes share
    rank:   the rank's number in its job, as text

    All parts empty is the cluster itself. A rank carries its node and GPU where they are known.
    """

    node: str = ""
    gpu: str = ""
    port: str = ""
    volume: str = ""
    job: str = ""
    rank: str = ""
    switch: str = ""
    rack: str = ""

    @property
    def kind(self) -> TargetKind:
        """Return the kind of the most specific part."""
        return next((TargetKind(part) for part in _MOST_SPECIFIC if getattr(self, part)), _CLUSTER)

    @property
    def name(self) -> str:
        """Return the most specific part's own name; ``cluster`` for the whole."""
        kind = self.kind
        return str(kind) if kind is _CLUSTER else str(getattr(self, kind))

    def labels(self) -> dict[str, str]:
        """Return the parts that are known, as Prometheus labels."""
        return {part.name: value for part in fields(self) if (value := getattr(self, part.name))}

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> "Target":
        """Read a target from labels, passing over those that name no part."""
        return cls(**{part.name: labels[part.name] for part in fields(cls) if part.name in labels})

    def __str__(self) -> str:
        """Read as ``node-7/GPU-3f2c``, ``job 88213/rank 4`` or ``rack r2``.

        A GPU known by its number alone has its node in its name: ``node-7/gpu3``.
        """
        match self.kind:
            case TargetKind.RANK:
                return f"job {self.job}/rank {self.rank}"
            case TargetKind.JOB | TargetKind.RACK | TargetKind.SWITCH as kind:
                return f"{kind} {self.name}"
            case TargetKind.GPU if self.gpu.startswith(f"{self.node}/"):
                return self.gpu
            case TargetKind.GPU | TargetKind.PORT | TargetKind.VOLUME if self.node:
                return f"{self.node}{':' if self.name.startswith('/') else '/'}{self.name}"
            case _:
                return self.name


_CLUSTER = TargetKind.CLUSTER
_MOST_SPECIFIC = ("rank", "gpu", "port", "volume", "job", "node", "switch", "rack")
