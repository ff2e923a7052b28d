"""From what was asked for to the list of runs: settings x policies x seeds, in a fixed order."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.experiments.results import NONE, RULES, RunSpec
from core.errors import InputError
from remediation.policies.trained import Trained
from remediation.policies.trained import load as load_policy
from sim import library, scenario_file
from sim.scenario import Scenario

TELEMETRY = ("full", "surrogate", "none")
LEARNED = "learned"
MOST_RUNS = 100_000  # more is a slip of the keyboard: each result is a file


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for.

    scenario: a name of the library or the path of a TOML file
    seed, seeds: the first, and how many from it on; None: the scenario's own
    settings: ``key=value`` for every run; sweeps: ``key=v1,v2,v3``, the product of which is run
    policies: ``none``, ``rules``, or files of learned ones; "": the scenario's own
    duration_s, telemetry: None: the scenario's own
    """

    scenario: str
    seed: int | None = None
    seeds: int | None = None
    settings: tuple[str, ...] = ()
    sweeps: tuple[str, ...] = ()
    policies: str = ""
    telemetry: str | None = None
    duration_s: float | None = None


def plan(wanted: Wanted) -> tuple[RunSpec, ...]:
    """Return every run, by settings, then policy, then seed; InputError says what does not fit."""
    base = library.find(wanted.scenario)
    fixed = [_pair(text, "--set") for text in wanted.settings]
    swept = [_values(text) for text in wanted.sweeps]
    _check_once([key for key, _ in fixed] + [key for key, _ in swept])
    policies = [_policy(word) for word in (wanted.policies or base.policy).split(",")]
    seeds = _seeds(wanted, base)
    count = len(seeds) * len(policies)
    for _, values in swept:
        count *= len(values)
    if count > MOST_RUNS:
        raise InputError(
            f"These sweeps make {count:,} runs, more than {MOST_RUNS:,}; sweep over fewer values "
            "or fewer seeds."
        )
    specs = []
    for values in itertools.product(*(values for _, values in swept)):
        varied = tuple((key, value) for (key, _), value in zip(swept, values, strict=True))
        script = scenario_file.overridden(base, dict([*fixed, *varied]))
        specs += [
            _spec(script, wanted, policy, settings=(*fixed, *varied), seed=seed)
            for policy in policies
            for seed in seeds
        ]
    return tuple(specs)


def _spec(
    script: Scenario,
    wanted: Wanted,
    policy: tuple[str, Trained | None],
    *,
    settings: Iterable[tuple[str, str]],
    seed: int,
) -> RunSpec:
    name, learned = policy
    duration_s = script.duration_s if wanted.duration_s is None else wanted.duration_s
    if not duration_s > 0:
        raise InputError(f"Simulating {script.name} for {duration_s:g} s; ask for a time above 0.")
    return RunSpec(
        scenario=script,
        seed=seed,
        policy=name,
        telemetry=_telemetry(name, wanted.telemetry, script),
        duration_s=duration_s,
        settings=tuple(settings),
        learned=learned,
    )


def _telemetry(policy: str, asked: str | None, script: Scenario) -> str:
    """Return the level at which a policy can be run: nobody who heals can do without any."""
    if asked is not None and asked not in TELEMETRY:
        raise InputError(f"no telemetry {asked!r}; there are {', '.join(TELEMETRY)}.")
    if policy == NONE:
        return "none"
    if asked == "none":
        raise InputError(
            f"Policy {policy} with --telemetry none: a policy that is told nothing does nothing. "
            "Use surrogate or full, or --policy none."
        )
    own = asked or script.telemetry
    return own if own != "none" else "surrogate"


def _seeds(wanted: Wanted, base: Scenario) -> Sequence[int]:
    if wanted.seeds is None:
        return base.seeds if wanted.seed is None else (wanted.seed,)
    first = wanted.seed if wanted.seed is not None else base.seeds[0]
    return range(first, first + wanted.seeds)


def _policy(word: str) -> tuple[str, Trained | None]:
    if word in (NONE, RULES):
        return word, None
    path = Path(word)
    if path.suffix == ".npz":
        return path.stem, load_policy(path)
    if word == LEARNED:
        raise InputError(
            "Policy learned: none is shipped with this version. Train one with `gpumedic train "
            "--out policy.npz` and name its file: --policy policy.npz."
        )
    raise InputError(f"no policy {word!r}; there are none, rules and files NAME.npz.")


def _pair(text: str, option: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (equals and key.strip() and value.strip()):
        raise InputError(
            f"{option} {text!r}: found no key and value; write it like cluster.nodes=64."
        )
    return key.strip(), value.strip()


def _values(text: str) -> tuple[str, tuple[str, ...]]:
    key, joined = _pair(text, "--sweep")
    values = tuple(value.strip() for value in joined.split(","))
    if not all(values) or len(set(values)) < len(values):
        raise InputError(
            f"--sweep {text!r}: a value is empty or stands there twice; write it like "
            "cluster.nodes=8,16."
        )
    return key, values


def _check_once(keys: Sequence[str]) -> None:
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise InputError(f"{twice} is set twice; name each key once, with --set or with --sweep.")
