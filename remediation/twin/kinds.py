"""The classes of fault that a twin knows: what they do, how likely each is by what is seen."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from core.situation import Fact, Remedy
from core.types import Floats
from remediation.learning.mixture import BASE
from sim.catalogue import CAUSES, CLASSES, class_table
from sim.engine.tables import Table
from sim.engine.words import Effect, Scope

_NOT_HERE = (
    *(Effect.SURGE, Effect.BAD_CANARY, Effect.DROPOUT, Effect.STALE, Effect.SKEW),
    *(Effect.FALSE_ALARM, Effect.MAINTENANCE, Effect.DRIVER),
)
NAMES = tuple(name for name, fault in CLASSES.items() if fault.effect not in _NOT_HERE)
_UNCOUNTED = 0.002  # share of a class that no published mix has: assumed
_RATE = 1e-9  # a day: a class's own clock does not come again within a roll-out
_STANDS = (Effect.NODE_DOWN, Effect.POWER_LOST, Effect.LEAF_DOWN, Effect.HANG)
_DOWN = (Effect.NODE_DOWN, Effect.POWER_LOST)
_BREWS = (Effect.MEMORY_LEAK, Effect.VOLUME_FILLING, Effect.ECC_GROWTH, Effect.SILENT_CORRUPTION)
_SLOWS = (
    *(Effect.SLOW_GPU, Effect.SLOW_NETWORK, Effect.SLOW_HOST, Effect.SLOW_STORAGE),
    *(Effect.COOLING, Effect.NOISY_NEIGHBOUR, Effect.POWER_CAP, Effect.LOADER_STARVED),
)
_SOON_S = 900.0  # a class that kills later than that is seen before it does
_LONGEST_S = 3 * 86_400.0  # a repair counts up to here in the mean, as in ``learning.mixture``
ODD = 0.03  # likelihood of what a class does not show: diagnoses and looks err
_LEAST_SPREAD = 0.05  # of ln of a time that is the same each time
SOUND = 0.97  # share of its own speed from which on a job is not slow


@dataclass(frozen=True, slots=True, eq=False)
class Kinds:
    """Classes as arrays, in the order of ``NAMES``.

    table: rows of FAULT_CLASS: those of ``NAMES``, then each again as it is seen on a job: what
           slows it does so by one GPU, or by the network where it is no node's
    share: (K,) of future faults; cumulative: their running sum
    cause: (K,) index into ``CAUSES``
    remedy: (K, len(Remedy)) the chance that each ends a fault of the class
    stands, soon, slow, brews, down, flaps: (K,) bool what it does to a job
    """

    table: Table
    share: Floats
    cumulative: Floats
    cause: NDArray[np.int64]
    remedy: Floats
    stands: NDArray[np.bool_]
    soon: NDArray[np.bool_]
    slow: NDArray[np.bool_]
    brews: NDArray[np.bool_]
    down: NDArray[np.bool_]
    flaps: NDArray[np.bool_]

    def likelihood(self, facts: Floats) -> Floats:
        """Return (K,) how likely each class is to look like this: by its job's phase and pace."""
        if facts[Fact.JOB_STOPPED] > 0:
            fits = np.where(self.stands | self.soon, 1.0, np.where(self.brews, 0.3, ODD))
        elif facts[Fact.JOB_RUNS] == 0:
            fits = np.ones(len(self.share))
        elif facts[Fact.PACE] <= 0:
            fits = np.where(self.stands, 1.0, np.where(self.flaps, 0.5, ODD))
        elif facts[Fact.PACE] < SOUND:
            fits = np.where(self.slow, 1.0, ODD)
        else:
            fits = np.where(self.brews | self.flaps, 1.0, np.where(self.slow, 0.3, 0.4))
            fits = np.where(self.stands, ODD, fits)
        found: Floats = fits
        return found

    def of_nodes(self, is_down: bool, any_is_down: bool) -> Floats:
        """Return (K,) how likely it is that this is seen of nodes: the fault's, any of its job."""
        if is_down or not any_is_down:
            found: Floats = np.where(self.down == is_down, 1.0, ODD)
            return found
        return np.full(len(self.share), ODD)

    def lasting(self, passed_s: float) -> Floats:
        """Return (K,) the chance that a fault which ends by itself does so later than that.

        1 for what does not
        """
        table = self.table[: len(self.share)]
        alone = table["lasts_alone"] | ~np.isin(table["scope"], (Scope.GPU, Scope.NODE, Scope.JOB))
        spread = np.maximum(table["lasts_sigma"], _LEAST_SPREAD)
        errors = (math.log(max(passed_s, 1.0)) - table["lasts_mu"]) / spread
        late = np.array([0.5 * math.erfc(each / math.sqrt(2.0)) for each in errors.tolist()])
        found: Floats = np.where(alone, late, 1.0)
        return found


@cache
def kinds() -> Kinds:
    """Return all classes that a twin knows."""
    table = class_table(NAMES)
    table["rate"] = _RATE
    effect, scope = table["effect"], table["scope"]
    share = np.array([max(dict(BASE).get(name, 0.0), 0.0) for name in NAMES])
    stands = np.isin(effect, _STANDS) | table["hangs"]
    return Kinds(
        table=np.concatenate([table, _as_seen(table)]),
        share=np.maximum(share, _UNCOUNTED * share.sum()),
        cumulative=np.cumsum(share) / share.sum(),
        cause=np.array([CAUSES.index(CLASSES[name].cause) for name in NAMES]),
        remedy=_remedies(table),
        stands=stands,
        soon=(table["crash_hi_s"] <= _SOON_S) & ~np.isin(effect, _SLOWS),
        slow=np.isin(effect, _SLOWS),
        brews=np.isin(effect, _BREWS) | ((table["crash_lo_s"] > _SOON_S) & ~stands),
        down=np.isin(effect, _DOWN) & np.isin(scope, (Scope.NODE, Scope.POWER)),
        flaps=np.isin(effect, (Effect.LINK_FLAP, Effect.NAN)),
    )


def _as_seen(table: Table) -> Table:
    seen = table.copy()
    slow = np.isin(seen["effect"], _SLOWS) & (seen["effect"] != Effect.LOADER_STARVED)
    own = np.isin(seen["scope"], (Scope.GPU, Scope.NODE))
    seen["effect"][slow & own], seen["scope"][slow & own] = Effect.SLOW_GPU, Scope.NODE
    seen["effect"][slow & ~own], seen["scope"][slow & ~own] = Effect.SLOW_NETWORK, Scope.FLEET
    seen["ramp_s"][slow] = 0.0
    return seen


def _remedies(table: Table) -> Floats:
    """Return (K, len(Remedy)) what ends faults of each class, as the engine has it."""
    found = np.zeros((len(table), len(Remedy)))
    restart, reboot = table["restart_mends"].astype(float), table["reboot_mends"].astype(float)
    own = np.isin(table["scope"], (Scope.GPU, Scope.NODE))
    alone = table["lasts_alone"] | ~np.isin(table["scope"], (Scope.GPU, Scope.NODE, Scope.JOB))
    reboot = np.where(own, reboot, 0.0)
    found[:, Remedy.RESTART] = restart
    found[:, Remedy.REBOOT] = (1 - restart) * reboot
    left = (1 - restart) * (1 - reboot)
    found[:, Remedy.TIME] = np.where(alone, left, 0.0)
    found[:, Remedy.REPLACE] = np.where(~alone & own, left, 0.0)
    found[:, Remedy.PEOPLE] = np.where(~alone & ~own, left, 0.0)
    tuned = table["effect"] == Effect.LOADER_STARVED
    found[tuned] = 0.0
    found[tuned, Remedy.TUNE] = 1.0
    return found


def _by_crews(known: Kinds) -> NDArray[np.int64]:
    """Return the classes that only a crew's work ends."""
    table = known.table[: len(NAMES)]
    found: NDArray[np.int64] = np.flatnonzero(
        np.isin(table["scope"], (Scope.GPU, Scope.NODE)) & ~table["lasts_alone"]
    )
    return found


@cache
def _repairs() -> tuple[Floats, Floats]:
    """Return scales of crews' work, rising, and the mean repair in seconds at each."""
    known = kinds()
    crews = _by_crews(known)
    scales = np.geomspace(1e-3, 30.0, 40)
    luck = np.exp(np.linspace(-3.0, 3.0, 61))
    weight = np.exp(-0.5 * np.log(luck) ** 2)
    means = []
    for scale in scales:
        each = []
        for at in crews:
            row = known.table[at]
            lasts = scale * math.exp(row["lasts_mu"]) * luck ** float(row["lasts_sigma"])
            each.append(float(np.average(np.minimum(lasts, _LONGEST_S), weights=weight)))
        means.append(float(np.average(each, weights=known.share[crews])))
    return scales, np.array(means)


def repair_scale(mean_s: float) -> float:
    """Return by what factor crews take longer than the catalogue says, for a mean repair."""
    scales, means = _repairs()
    return float(np.exp(np.interp(math.log(max(mean_s, 1.0)), np.log(means), np.log(scales))))


def crews_time(mean_s: float) -> tuple[float, float]:
    """Return mean and deviation of ln of the seconds that crews take, for a mean repair."""
    known = kinds()
    crews = _by_crews(known)
    mu, sigma = known.table["lasts_mu"][crews], known.table["lasts_sigma"][crews]
    weights = known.share[crews]
    middle = float(np.average(mu, weights=weights))
    spread = float(np.sqrt(np.average(sigma**2 + (mu - middle) ** 2, weights=weights)))
    return middle + math.log(repair_scale(mean_s)), spread
