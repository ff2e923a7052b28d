"""The ground truth beside a run: what broke, where, when, what shows of it, what would be best."""

from typing import Any

from agent.experiments.results import FaultSeen, RunResult, RunSpec
from core.codec import to_json
from sim.catalogue import fault_class


def truth_of(spec: RunSpec, result: RunResult) -> dict[str, Any]:
    """Return what ``truth.json`` holds; times are seconds after the start.

    ``best`` is the scenario's word on what to do, and of each fault what its class calls for.
    """
    return {
        "scenario": result.scenario,
        "text": spec.scenario.text,
        "seed": result.seed,
        "start_s": spec.scenario.start_s,
        "duration_s": result.simulated_s,
        "best": spec.scenario.best,
        "faults": [_fault(each) for each in result.faults],
    }


def _fault(seen: FaultSeen) -> dict[str, Any]:
    known = fault_class(seen.fault)
    return {
        **to_json(seen),
        "what": known.text,
        "symptoms": known.symptoms,
        "cause": known.cause,
        "best": known.best,
        "repaired_by": known.repaired_by,
    }
