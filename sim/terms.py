"""What decisions of a simulated cluster go by: what ends each fault, the shield, figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from core.errors import InputError
from core.site import SiteFigures
from core.situation import Remedy
from core.types import Floats
from sim.catalogue import CAUSES
from sim.engine import terms
from sim.engine.rows_cluster import ACTS
from sim.engine.rows_machines import TAKEN
from sim.engine.terms import CALM, COLUMNS, KNOB, UNKNOWN, Knob, Term

# The knob that each cause calls for; no other has one.
KNOBS: Mapping[str, Knob] = {
    "data_loading_slow": Knob.LOADERS,
    "bad_release": Knob.CANARY,
    "driver_rollout": Knob.ROLLOUT,
    "inference_overload": Knob.REPLICAS,
}
# Names of causes that are none: their probability is that of "unknown" or "no fault".
NAMELESS = {"unknown": UNKNOWN, "none": CALM}


@dataclass(frozen=True, slots=True)
class Shield:
    """The bounds that what is offered keeps: ``GuardSettings`` of ``remediation.guards`` says what
    each is for, and has the same defaults.

    max_actions_per_hour: at most 64
    lemon_after: 1 to 4
    """

    max_nodes_out: int = 4
    max_ratio_out: float = 0.1
    max_nodes_out_per_rack: int = 2
    cooldown_s: float = 1800.0
    min_probability: float = 0.6
    max_actions_per_hour: int = 20
    min_spares_left: int = 0
    priority_spares: int = 0
    max_nodes_out_per_switch: int = 4
    max_unsaved_gpu_s: float = 180_000.0
    max_job_gpus: int = 0
    max_job_share: float = 1.0
    probation_s: float = 86_400.0
    lemon_after: int = 3
    lemon_span_s: float = 28 * 86_400.0

    def __post_init__(self) -> None:
        if not 0 <= self.max_actions_per_hour <= ACTS:
            raise InputError(
                f"shield: {self.max_actions_per_hour} actions an hour; a bound from 0 to {ACTS} "
                "can be kept here."
            )
        if not 1 <= self.lemon_after < TAKEN:
            raise InputError(
                f"shield: a lemon after {self.lemon_after} times; 1 to {TAKEN - 1} can be counted "
                "here."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What decisions go by.

    remedies: (len(CAUSES), len(Remedy)) the probability that each ends a fault of that name
    late_gpu_s: what a request that is late or fails is priced at, GPU-seconds (assumed: as much as
      a replica takes for one alone on its GPU)
    """

    remedies: Floats
    shield: Shield = field(default_factory=Shield)
    site: SiteFigures = field(default_factory=SiteFigures)
    late_gpu_s: float = 0.4

    def __post_init__(self) -> None:
        if self.remedies.shape != (len(CAUSES), len(Remedy)):
            raise InputError(
                f"terms: remedies of shape {self.remedies.shape}; there must be {len(CAUSES)} "
                f"causes and {len(Remedy)} remedies."
            )

    def causes_row(self) -> Floats:
        """Return (causes, COLUMNS) the remedies and the knob of each cause, for compiled code."""
        rows = np.zeros((len(CAUSES), COLUMNS))
        rows[:, : len(Remedy)] = self.remedies
        rows[:, KNOB] = [float(KNOBS.get(name, Knob.NONE)) for name in CAUSES]
        rows[[name in NAMELESS for name in CAUSES], : len(Remedy)] = 0.0
        rows[:, terms.NAMELESS] = [float(NAMELESS.get(name, 0)) for name in CAUSES]
        return rows

    def numbers(self) -> Floats:
        """Return (len(Term),) the figures and bounds, for compiled code."""
        numbers = np.zeros(len(Term))
        for name, value in (
            (Term.REPAIR_S, self.site.repair_s),
            (Term.REBOOT_S, self.site.reboot_s),
            (Term.PEOPLE_S, self.site.people_s),
            (Term.PAGE_GPU_S, self.site.page_gpu_s),
            (Term.FAULTS_A_DAY, self.site.faults_a_day),
            (Term.FALSE_SHARE, self.site.false_share),
            (Term.MOST_OUT, self.shield.max_nodes_out),
            (Term.MOST_OUT_SHARE, self.shield.max_ratio_out),
            (Term.MOST_OUT_RACK, self.shield.max_nodes_out_per_rack),
            (Term.COOLDOWN_S, self.shield.cooldown_s),
            (Term.LEAST_PROBABILITY, self.shield.min_probability),
            (Term.MOST_AN_HOUR, self.shield.max_actions_per_hour),
            (Term.SPARES_KEPT, self.shield.min_spares_left),
            (Term.PRIORITY_SPARES, self.shield.priority_spares),
            (Term.MOST_OUT_SWITCH, self.shield.max_nodes_out_per_switch),
            (Term.MOST_UNSAVED_GPU_S, self.shield.max_unsaved_gpu_s),
            (Term.MOST_JOB_GPUS, self.shield.max_job_gpus),
            (Term.MOST_JOB_SHARE, self.shield.max_job_share),
            (Term.PROBATION_S, self.shield.probation_s),
            (Term.LEMON_AFTER, self.shield.lemon_after),
            (Term.LEMON_SPAN_S, self.shield.lemon_span_s),
        ):
            numbers[name] = value
        return numbers


def even_remedies() -> Floats:
    """Return remedies that say nothing: each as likely for every cause."""
    return np.full((len(CAUSES), len(Remedy)), 1.0 / len(Remedy))
