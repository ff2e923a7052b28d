"""Measures root cause in a process of its own, one thread: ours, or DoWhy's with a time limit.

Started by agent.bench.rca as ``python -m agent.bench.rca_child``: a request as JSON on its input,
answers as JSON lines on its output. All times are CPU seconds of this process.
"""

import json
import resource
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agent.bench.rca_graphs import Drawn, draw
from core.types import Floats

SHIFT = 5.0  # standard deviations of one mechanism, in the graphs that are timed
# For rank agreement: further out 20,000 samples hold too few rows like it, and DoWhy's shares are
# noise (facts: strong faults saturate).
AGREED_SHIFT = 3.0
_SAMPLES = 20_000


@dataclass(frozen=True, slots=True)
class Ours:
    """Our times on one graph; diagnose_s: median, low, high of ``runs`` rows.

    found: rows whose planted cause came first; oddest: rows where nothing was further off by chance
    """

    variables: int
    links: int
    fit_s: float
    diagnose_s: tuple[float, float, float]
    runs: int
    found: int
    oddest: int


@dataclass(frozen=True, slots=True)
class Theirs:
    """DoWhy's time for its default attribution of one row; ``finished`` or stopped by then."""

    variables: int
    attribute_s: float
    finished: bool


@dataclass(frozen=True, slots=True)
class Agreement:
    """Kendall's tau between our shares and DoWhy's on one graph."""

    variables: int
    surprise: float
    deviation: float


class OutOfTimeError(Exception):
    """The CPU limit passed."""


def main() -> None:
    """Answer one request."""
    asked = json.load(sys.stdin)
    if asked["what"] == "ours":
        answers: Iterator[Any] = (_ours(size, asked["seed"]) for size in asked["sizes"])
    else:
        answers = _reference(asked)
    for answer in answers:
        sys.stdout.write(json.dumps({type(answer).__name__: asdict(answer)}) + "\n")
        sys.stdout.flush()


def _ours(size: int, seed: int) -> Ours:
    """Time a fit and the diagnosis of each row: residuals, tails, ranking and attribution."""
    from rca.scm.judge import judge
    from rca.scm.model import fit

    drawn = draw(size, seed=seed, shift=SHIFT)
    started_s = time.process_time()
    model = fit(drawn.normal, drawn.links)
    fit_s = time.process_time() - started_s
    first, seconds = [], []
    for row in drawn.abnormal.T:
        started_s = time.process_time()
        found = judge(model, row[:, None], drawn.target)
        seconds.append(time.process_time() - started_s)
        first.append(int(found.order[0]))
    return Ours(
        size,
        len(drawn.links.cause),
        fit_s,
        (statistics.median(seconds), min(seconds), max(seconds)),
        len(seconds),
        int((np.array(first) == drawn.root).sum()),
        int((drawn.oddest == drawn.root).sum()),
    )


def _reference(asked: dict[str, Any]) -> Iterator[Theirs | Agreement]:
    """Time DoWhy at each size, and compare shares on small graphs."""
    for size, limit_s in asked["limits"]:
        yield _theirs(size, asked["seed"], limit_s)
    for number, size in enumerate(asked["agreement"]):
        yield _agreement(size, number)


def _theirs(size: int, seed: int, limit_s: float) -> Theirs:
    """Time attribute_anomalies with its default settings; the fit is not counted."""
    from rca.reference.gcm import shares_of

    drawn = draw(size, seed=seed, shift=SHIFT)
    task, reference = _task_and_reference(drawn)
    started_s = time.process_time()
    finished = True
    try:
        with limited(limit_s):
            shares_of(reference, task)
    except OutOfTimeError:
        finished = False
    return Theirs(size, time.process_time() - started_s, finished)


def _task_and_reference(drawn: Drawn) -> tuple[Any, Any]:
    from rca.reference.gcm import AttributionTask
    from rca.reference.model import reference_of

    pairs = zip(drawn.links.cause.tolist(), drawn.links.effect.tolist(), strict=True)
    names = tuple(str(index) for index in range(drawn.links.size))
    task = AttributionTask(names, tuple(pairs), drawn.normal, drawn.abnormal[:, 0], drawn.target)
    return task, reference_of(task.links, task.normal, task.target, seed=0)


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError once this process has used so much more CPU."""

    def stop(*_: object) -> None:
        raise OutOfTimeError

    used_s = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    before = signal.signal(signal.SIGXCPU, stop)
    limit = int(used_s.ru_utime + used_s.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))
        signal.signal(signal.SIGXCPU, before)


class _SignedScorer:
    """Scores a value by its signed distance from the mean, in standard deviations."""

    def fit(self, samples: Floats) -> None:
        self._mean, self._sd = samples.mean(), samples.std()

    def score(self, value: Floats) -> Floats:
        return np.asarray((value - self._mean) / self._sd)


def _agreement(size: int, seed: int) -> Agreement:
    """Compare both shares with DoWhy's of the same score, all coalitions counted."""
    from rca.reference.gcm import shares_of
    from rca.reference.model import exactly
    from rca.reference.scorer import SortedQuantileScorer
    from rca.scm.judge import judge
    from rca.scm.model import fit

    drawn = draw(size, seed=seed, shift=AGREED_SHIFT)
    found = judge(fit(drawn.normal, drawn.links), drawn.abnormal[:, :1], drawn.target)
    task, reference = _task_and_reference(drawn)
    tau = []
    for ours, scorer in (
        (found.surprise, SortedQuantileScorer()),
        (found.deviation, _SignedScorer()),
    ):
        theirs = shares_of(
            reference,
            task,
            anomaly_scorer=scorer,
            attribute_mean_deviation=ours is found.deviation,
            num_distribution_samples=_SAMPLES,
            shapley_config=exactly(),
        )
        tau.append(kendall_tau(ours, np.array(theirs)))
    return Agreement(size, *tau)


def kendall_tau(first: Floats, second: Floats) -> float:
    """Return the share of pairs in the same order less that in the other, in [-1, 1]."""
    one, two = np.triu_indices(len(first), 1)
    return float(np.mean(np.sign(first[one] - first[two]) * np.sign(second[one] - second[two])))


if __name__ == "__main__":
    main()
