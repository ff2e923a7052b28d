"""What a run is asked for and what comes of it: plain frozen data that travels between machines."""

import hashlib
import json
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Protocol

from core.codec import to_json
from core.types import Floats, Ints
from remediation.policies.trained import Trained
from sim.scenario import Scenario

NONE = "none"
RULES = "rules"


class Labelled(Protocol):
    """What a spec must have: a name for its run in messages."""

    @property
    def label(self) -> str:
        """Return the run in words."""
        ...


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One run, with all that it depends on.

    scenario: with the settings applied already
    settings: (key, value) as they were asked for, for labels
    policy:   ``none``, ``rules`` or the name of the learned one
    telemetry: ``full``: the controller reads series; ``surrogate``: incidents are drawn;
      ``none``: nobody looks
    """

    scenario: Scenario
    seed: int
    policy: str
    telemetry: str
    duration_s: float
    settings: tuple[tuple[str, str], ...] = ()
    learned: Trained | None = None

    @property
    def label(self) -> str:
        """Return the run in words: ``rules, seed 3, nodes=64``."""
        words = [self.policy, f"seed {self.seed}"]
        return ", ".join([*words, *(f"{key}={value}" for key, value in self.settings)])

    @property
    def digest(self) -> str:
        """Return what stands for everything the result depends on: 16 hexadecimal digits.

        A result of another version of gpumedic is another result.
        """
        data = json.dumps([version("gpumedic"), to_json(self)], sort_keys=True, default=repr)
        return hashlib.sha256(data.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class FaultSeen:
    """Ground truth of one fault; times are seconds after the start, None: still there."""

    fault: str
    target: str
    onset_s: float
    mended_s: float | None
    severity: float = 1.0
    interrupted: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """One action that a policy ordered; times are seconds after the start."""

    kind: str
    target: str
    started_s: float
    ended_s: float
    worked: bool
    plan: str = ""


@dataclass(frozen=True, slots=True)
class JobSpan:
    """A stretch of a job in one phase; times are seconds after the start."""

    job: str
    gpus: int
    phase: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """The run in windows of equal length.

    time_s: (T,) the windows' ends, seconds after the start
    goodput_ratio: (T,) useful share of the GPU time that jobs asked for in the window; NaN: none
    nodes_out: (T,) nodes that were down or held out of service at the window's end
    """

    time_s: Floats
    goodput_ratio: Floats
    nodes_out: Ints


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of one run; the same spec gives the same but for ``wall_s`` and ``cpu_s``.

    goodput_ratio: useful share of the GPU time that jobs held, steps counted at full speed
    ettr_ratio:    the same with a slow step counted whole: effective training time ratio
      (Kokolis et al., HPCA 2025), GPU-weighted over all jobs
    baseline_*:    the same scenario, seed and time where nobody heals; equal for policy ``none``
    uses_gpu_s:    GPU-seconds of the whole cluster by use; they sum to capacity x time
    losses_gpu_s:  GPU-seconds held and not useful, by cause
    incidents, diagnosed, actions, verified: of the policy; first_verified_s: after the start
    """

    scenario: str
    seed: int
    policy: str
    telemetry: str
    settings: tuple[tuple[str, str], ...]
    nodes: int
    gpus: int
    simulated_s: float
    wall_s: float
    cpu_s: float
    goodput_ratio: float
    ettr_ratio: float
    baseline_goodput_ratio: float
    lost_gpu_s: float
    baseline_lost_gpu_s: float
    interruptions: int
    faults_struck: int
    faults_mended: int
    incidents: int
    diagnosed: int
    actions: int
    verified: int
    first_verified_s: float | None
    jobs_done: int
    jobs_waiting: int
    uses_gpu_s: tuple[tuple[str, float], ...]
    losses_gpu_s: tuple[tuple[str, float], ...]
    faults: tuple[FaultSeen, ...] = ()
    orders: tuple[Order, ...] = ()
    plans: tuple[str, ...] = ()
    timeline: Timeline | None = None
    spans: tuple[JobSpan, ...] = ()


@dataclass(frozen=True, slots=True)
class RunFailed:
    """A run that gave no result: which, and why in a sentence; ``trace`` is for developers."""

    label: str
    reason: str
    trace: str = field(default="", repr=False)


Outcome = RunResult | RunFailed
