"""Families of clusters and lives: what policies are taught on and what they are held against.

A seed draws one life. The cluster, its jobs, its site and its rates change every
``LIVES_A_CLUSTER`` seeds, so that one ``sim.lanes.Lane`` serves them all; what happens in it
changes with every seed. The ranges are wide on purpose: with spares or none, with quick crews or
slow ones, with faults that pass or that stay, with cheap people or dear ones, no fixed rule is
best everywhere.
"""

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from core.errors import InputError
from core.site import SiteFigures
from core.types import Floats
from remediation.deciding import remedies
from remediation.learning.mixture import (
    BASE,
    DOMAIN_CLASSES,
    NEW_CLASSES,
    Weights,
    a_day,
    is_transient,
    site_repair_s,
    units_of,
)
from sim.catalogue import CAUSES
from sim.scenario import GPUS_PER_NODE, JobSpec, Machines, Scenario, Site
from sim.terms import Terms

LIVES_A_CLUSTER = 16
TUNING_SEED = 2**31  # below: training; from here on: tuning of rules and stopping of training
HELD_OUT_SEED = 3_000_000_000
_HOUR_S = 3600.0
_DAY_S = 86_400.0
_NODE_GPU_S = GPUS_PER_NODE * _HOUR_S
_SAVE_S = 51.0  # 405B parameters to shared storage, end to end (sim.scenario.JobSpec)
_CLUSTER, _PAGE = 15_485_863, 32_452_843  # streams of random numbers

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Family:
    """Ranges from which a cluster is drawn; a pair is drawn evenly, of ``*`` evenly in its log.

    nodes*, rack*:   of the cluster, and of a rack; the ranges of Fact are these of the families
    spares:          one of these, times nodes / 32 where that is more than 1
    free:            share of nodes that no job has
    jobs:            fewest and most; elastic: chance that one can shrink, down to half
    incidents*:      faults in a life; life: hours
    transient:       share of faults that a restart or reboot ends, or time
    jitter:          standard deviation of ln of each class's share
    weights:         share of each class, before that
    profile:         of ``sim/data/rates.toml``, for what follows from a fault; draws none
    repair*:         factor on how long crews take, whose median is 17 h in the catalogue
    validate*, people*, restart*, interval*, stall*, fresh*: seconds
    page*:           price of a page, node-hours
    notice*:         factor on how long until a fault is noticed
    blame:           share of diagnoses that blame the true cause
    alarms:          false ones a day and 32 nodes
    warned:          share of precursors for which an incident is opened
    frailty:         variance of the rates of the nodes; lemons: share of nodes, 11 times as frail
    order_failure:   share of orders that fail though possible
    """

    name: str
    nodes: Range = (8, 64)
    rack: Range = (4, 12)
    spares: tuple[int, ...] = (0, 0, 1, 1, 2, 3, 4)
    free: Range = (0.0, 0.1)
    jobs: tuple[int, int] = (1, 4)
    elastic: float = 0.4
    life: Range = (24.0, 72.0)
    incidents: Range = (10.0, 40.0)
    transient: Range = (0.2, 0.9)
    jitter: float = 0.6
    weights: Weights = BASE
    profile: str = "none"
    repair: Range = (0.02, 1.0)
    validate: Range = (600.0, 7_200.0)
    people: Range = (1_200.0, 14_400.0)
    page: Range = (0.25, 16.0)
    restart: Range = (30.0, 600.0)
    fresh: Range = (10.0, 300.0)
    interval: Range = (300.0, 3_600.0)
    stall: Range = (2.0, 40.0)
    notice: Range = (0.5, 2.0)
    blame: Range = (0.6, 0.97)
    alarms: Range = (0.0, 2.0)
    warned: Range = (0.0, 0.8)
    frailty: Range = (0.0, 1.5)
    lemons: Range = (0.0, 0.08)
    order_failure: Range = (0.0, 0.03)

    def scenario(self, seed: int) -> Scenario:
        """Return the cluster of a seed, with its life's length as its duration."""
        return _drawn(self, _random(seed, _CLUSTER))

    def hours(self, seed: int) -> float:
        """Return how long a life of that seed lasts, hours."""
        return self.scenario(seed).duration_s / _HOUR_S

    def site(self, seed: int) -> SiteFigures:
        """Return what is known of the site: the true means of what was drawn for it."""
        scenario = self.scenario(seed)
        site, days = scenario.site, scenario.duration_s / _DAY_S
        faults = a_day(scenario)
        return SiteFigures(
            repair_s=site_repair_s(scenario),
            validate_s=site.validate_s,
            reboot_s=(site.reboot_lo_s + site.reboot_hi_s) / 2,
            people_s=site.people_s,
            page_gpu_s=_NODE_GPU_S * _log_between(_random(seed, _PAGE), self.page),
            faults_a_day=faults * 1024 / (scenario.nodes * GPUS_PER_NODE),
            false_share=site.false_alarms / max(site.false_alarms + faults, 1 / days),
        )


_ALL_IN_TRAINING = Family("train")
FAMILIES = {
    family.name: family
    for family in (
        _ALL_IN_TRAINING,
        replace(_ALL_IN_TRAINING, name="larger", nodes=(64, 128), rack=(8, 16)),
        replace(_ALL_IN_TRAINING, name="other_faults", weights=NEW_CLASSES, transient=(0.1, 0.5)),
        replace(
            _ALL_IN_TRAINING,
            name="rack_failures",
            weights=DOMAIN_CLASSES,
            profile="bursts",
            transient=(0.2, 0.6),
        ),
        replace(_ALL_IN_TRAINING, name="slow_detection", notice=(5.0, 5.0), blame=(0.7, 0.7)),
        replace(_ALL_IN_TRAINING, name="false_alarms", alarms=(6.0, 12.0)),
    )
}
TRAIN = "train"
HELD_OUT = tuple(name for name in FAMILIES if name != TRAIN)


def family_of(name: str) -> Family:
    """Return a family by name; InputError names them all where there is none."""
    if name not in FAMILIES:
        raise InputError(f"no family {name!r}; there are {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def terms_of(family: Family, seed: int) -> Terms:
    """Return what decisions go by in a life of that seed: the remedies, the guards, the site."""
    return Terms(_remedies(), site=family.site(seed))


@cache
def _remedies() -> Floats:
    return remedies.table(CAUSES)


def _random(seed: int, of: int) -> np.random.Generator:
    return np.random.default_rng([seed // LIVES_A_CLUSTER, of])


def _drawn(family: Family, random: np.random.Generator) -> Scenario:
    nodes = round(_log_between(random, family.nodes))
    spares = int(random.choice(family.spares))
    spares = min(math.ceil(spares * max(1.0, nodes / 32)), nodes // 4)
    free = round(_between(random, family.free) * nodes)
    hours = _between(random, family.life)
    site = _site(family, nodes, random)
    jobs = _jobs(family, nodes - spares - free, random)
    racks = max(1, round(nodes / _log_between(random, family.rack)))
    incidents = _log_between(random, family.incidents)
    rates = _rates(family, nodes=nodes, racks=racks, total=incidents * 24 / hours, by=random)
    return Scenario(
        name=family.name,
        nodes=nodes,
        racks=racks,
        spares=spares,
        jobs=jobs,
        rates=rates,
        history_s=0.0,
        machines=Machines(
            frailty=_between(random, family.frailty),
            lemons=_between(random, family.lemons),
            lemon_times=11.0,
        ),
        site=replace(site, warn_recall=_between(random, family.warned)),
        telemetry="surrogate",
        duration_s=hours * _HOUR_S,
        profile=family.profile,
    )


def _site(family: Family, nodes: int, random: np.random.Generator) -> Site:
    reboot = _log_between(random, (0.5, 2.0))
    return Site(
        requeue=False,
        drain=False,
        restart_s=_log_between(random, family.restart),
        fresh_node_s=_log_between(random, family.fresh),
        reboot_lo_s=480.0 * reboot,
        reboot_hi_s=900.0 * reboot,
        blame=_between(random, family.blame),
        false_alarms=_between(random, family.alarms) * nodes / 32,
        order_failure=_between(random, family.order_failure),
        people_s=_log_between(random, family.people),
        validate_s=_log_between(random, family.validate),
        repair_scale=_log_between(random, family.repair),
        notice_scale=_log_between(random, family.notice),
    )


def _jobs(family: Family, nodes: int, random: np.random.Generator) -> tuple[JobSpec, ...]:
    """Share the nodes out to jobs of different size and priority; each has at least one."""
    count = min(int(random.integers(family.jobs[0], family.jobs[1] + 1)), nodes)
    shares = np.cumsum(random.dirichlet(np.full(count, 2.0))) * (nodes - count)
    sizes = np.diff(np.round(shares).astype(int), prepend=0) + 1
    priorities = random.permutation(count) * 10
    jobs = []
    for number in range(count):
        size = int(sizes[number])
        interval_s = _log_between(random, family.interval)
        least = size
        if random.random() < family.elastic:
            least = max(1, math.floor(size * _between(random, (0.5, 0.95))))
        jobs.append(
            JobSpec(
                f"job-{number}",
                nodes=size,
                priority=int(priorities[number]),
                checkpoint_interval_s=interval_s,
                checkpoint_stall_s=_log_between(random, family.stall),
                checkpoint_save_s=_SAVE_S,
                least_nodes=least,
            )
        )
    return tuple(jobs)


def _rates(
    family: Family, *, nodes: int, racks: int, total: float, by: np.random.Generator
) -> tuple[tuple[str, float], ...]:
    """Return (class, a day and node; of a domain, a day and domain), ``total`` a day in all."""
    shares = {
        name: weight * math.exp(family.jitter * by.normal()) for name, weight in family.weights
    }
    passing = _between(by, family.transient)
    for transient, share in ((True, passing), (False, 1.0 - passing)):
        group = [name for name in shares if is_transient(name) is transient]
        scale = share / sum(shares[name] for name in group)
        shares |= {name: scale * shares[name] for name in group}
    return tuple(
        (name, total * share / units_of(name, nodes=nodes, racks=racks))
        for name, share in shares.items()
    )


def _between(random: np.random.Generator, bounds: Range) -> float:
    return float(random.uniform(*bounds))


def _log_between(random: np.random.Generator, bounds: Range) -> float:
    return float(math.exp(random.uniform(math.log(bounds[0]), math.log(bounds[1]))))
