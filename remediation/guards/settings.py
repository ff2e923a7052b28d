"""The bounds that no plan may cross."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


@dataclass(frozen=True, slots=True)
class Maintenance:
    """People work on these nodes from start_s to end_s: gpumedic keeps its hands off.

    nodes: names, with * and ? as wildcards
    """

    nodes: frozenset[str]
    start_s: float
    end_s: float
    by: str

    def covers(self, node: str) -> bool:
        """Say whether people work on that node."""
        return any(fnmatchcase(node, pattern) for pattern in self.nodes)


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """The bounds. Times in seconds, ratios of the nodes that gpumedic may act on.

    max_nodes_out, max_ratio_out: most nodes out at once; the ratio allows one at least
    max_nodes_out_per_rack, _per_switch: the same of one rack, of one leaf switch
    min_spares_left:   ready spares that no plan may use up
    priority_spares:   ready spares that only a job of the highest priority may use
    max_job_gpus:      largest job that is stopped without a person's word; 0: any
    max_job_share:     the same as a share of the cluster's GPUs
    max_unsaved_gpu_s: work since its newest checkpoint that a running job may lose, GPU-seconds
    probation_s: a node that came back so short a time ago is no spare for the job of the highest
                 priority, and is not rebooted again
    lemon_after: a node taken out so often within lemon_span_s is a lemon: as on probation
    page_pause_s: a person who was called for an incident is not called again for so long
    taken_over_s: a node or job that a person who was called has taken over is left alone so long by
                  plans for other incidents; by those for the same one until it is over
    quiet_s: what a plan took is put back once all has been well there for so long
    owners_agree: kinds that need the word of a job's owner and have it, with * and ?
    automation:  names under which a site's own health checks take nodes out: a job may be moved off
                 such a node, which stays theirs
    """

    max_nodes_out: int = 4
    max_ratio_out: float = 0.1
    max_nodes_out_per_rack: int = 2
    max_nodes_out_per_switch: int = 4
    min_spares_left: int = 0
    priority_spares: int = 0
    max_job_gpus: int = 0
    max_job_share: float = 1.0
    max_unsaved_gpu_s: float = 50 * HOUR_S
    cooldown_s: float = 1800.0
    max_actions_per_hour: int = 20
    evidence_max_age_s: float = 300.0
    min_probability: float = 0.6
    probation_s: float = DAY_S
    lemon_after: int = 3
    lemon_span_s: float = 28 * DAY_S
    page_pause_s: float = HOUR_S
    taken_over_s: float = 4 * HOUR_S
    quiet_s: float = 1800.0  # checks take 15 min to an hour (dcgmi diag -r 3)
    owners_agree: tuple[str, ...] = ()
    automation: tuple[str, ...] = ("site",)
    maintenance: tuple[Maintenance, ...] = ()

    @property
    def looks_back_s(self) -> float:
        """Return how long ago a plan may have ended and still count."""
        return max(
            HOUR_S,
            self.cooldown_s,
            self.probation_s,
            self.lemon_span_s,
            self.page_pause_s,
            self.taken_over_s,
        )
