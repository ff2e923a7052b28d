"""Which clusters and lives policies are held against each other on."""

from dataclasses import dataclass

from core.errors import InputError
from remediation.learning.families import (
    HELD_OUT,
    HELD_OUT_SEED,
    LIVES_A_CLUSTER,
    TRAIN,
    TUNING_SEED,
)

_MOST_LIVES = 100_000  # of a family


@dataclass(frozen=True, slots=True)
class Suite:
    """Families, and the first seed of their lives."""

    families: tuple[str, ...]
    first: int

    def seeds(self, family: str, lives: int) -> tuple[int, ...]:
        """Return that many seeds, each of another cluster: lives of one cluster are alike.

        Families share none either: one seed draws much the same cluster in each of them.
        """
        first = self.first + self.families.index(family) * _MOST_LIVES * LIVES_A_CLUSTER
        return tuple(range(first, first + lives * LIVES_A_CLUSTER, LIVES_A_CLUSTER))

    def all_seeds(self, lives: int) -> tuple[int, ...]:
        """Return the seeds of all families."""
        return tuple(seed for family in self.families for seed in self.seeds(family, lives))


GATE_SEED = 3_500_000_000  # lives that decide on adoption are not those that are published
HELD_OUT_SUITE, SEEDS_SUITE, TUNING_SUITE, TRAIN_SUITE = "held-out", "seeds", "tuning", "train"
SUITES = {
    HELD_OUT_SUITE: Suite(HELD_OUT, HELD_OUT_SEED),  # families and seeds that nobody was taught on
    SEEDS_SUITE: Suite((TRAIN,), HELD_OUT_SEED),  # the family of training, seeds it never drew
    TUNING_SUITE: Suite((TRAIN,), TUNING_SEED),  # what rules are tuned on
    TRAIN_SUITE: Suite((TRAIN,), 0),  # what is learned from
}
GATE = Suite((TRAIN, *HELD_OUT), GATE_SEED)


def suite_of(name: str) -> Suite:
    """Return a suite by name; InputError names them all where there is none."""
    if name not in SUITES:
        raise InputError(f"no suite of lives {name!r}; there are {', '.join(SUITES)}.")
    return SUITES[name]
