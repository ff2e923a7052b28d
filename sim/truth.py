"""Ground truth: what really broke, where and when; for scoring, never for policies."""

from dataclasses import dataclass

import numpy as np

from core.target import Target
from sim.catalogue import CLASSES
from sim.engine.tables import Tables
from sim.engine.words import Effect, Scope
from sim.names import Names
from sim.scenario import SCRATCH


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """What broke, where and when; ``repaired_s`` None while it still is.

    interrupted: jobs that it stopped; parent: the record that it followed from, None
    """

    fault: str
    target: Target
    onset_s: float
    repaired_s: float | None = None
    severity: float = 1.0
    interrupted: int = 0
    parent: int | None = None


def truth(tables: Tables, names: Names) -> tuple[FaultRecord, ...]:
    """Return every fault so far in order of onset."""
    rows = tables.faults[: int(tables.core[0]["faults_n"])]
    return tuple(_record(row, names) for row in rows)


def _record(row: np.void, names: Names) -> FaultRecord:
    mended_s, parent = float(row["mended_s"]), int(row["parent"])
    name = names.classes[int(row["class"])]
    return FaultRecord(
        fault=name,
        target=_target(row, name, names),
        onset_s=float(row["onset_s"]),
        repaired_s=None if np.isnan(mended_s) else mended_s,
        severity=float(row["severity"]),
        interrupted=int(row["interrupted"]),
        parent=None if parent < 0 else parent,
    )


def _target(row: np.void, name: str, names: Names) -> Target:
    scope, entity, node = Scope(CLASSES[name].scope), int(row["entity"]), int(row["node"])
    match scope:
        case Scope.GPU:
            return names.target(node, int(row["gpu"]))
        case Scope.NODE:
            filling = CLASSES[name].effect == Effect.VOLUME_FILLING
            return names.target(node, volume=SCRATCH if filling else "")
        case Scope.LEAF:
            return Target(switch=names.leaves[entity])
        case Scope.RACK:
            return Target(rack=names.racks[entity])
        case Scope.JOB:
            return Target(job=names.job(int(row["number"])))
        case _:
            return names.target(node) if node >= 0 else Target()
