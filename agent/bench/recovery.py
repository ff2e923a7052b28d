"""How fast a real training comes back, under gpumedic and under others, in turns, in one run."""

import contextlib
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from agent.bench.recovery_rows import Results, Seen, results_of, rows_of
from agent.bench.recovery_runs import FAULTS, Recovery, Running, kill_rank, running
from agent.bench.recovery_systems import PEERS, Gpumedic, SharedStore, System
from core.figures import Row

_REFERENCE_S = 900.0
_HOPELESS = 2  # what a system did not come back from so often is not tried again with it


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run: these faults a job and round, and seconds until one is not recovered."""

    worlds: tuple[int, ...]
    rounds: int
    faults: tuple[str, ...]
    limit_s: float
    hang_limit_s: float
    goodput_s: float
    every_s: float


QUICK = Plan((2,), 1, ("kill", "kill", "kill", "hang"), 40.0, 20.0, 40.0, 13.0)
LONG = Plan((2, 4), 5, ("kill", "torn", "hang"), 60.0, 40.0, 600.0, 30.0)


class Undisturbed(System):
    """The job under torchrun with nothing done to it, and without waiting, up to a step."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last

    def job(self, folder: Path) -> list[str]:
        """Return the script and what it is told."""
        return [*super().job(folder), str(self.last)]


def recovery_rows(
    *,
    quick: bool = False,
    peers: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Kill, stop, unplug and tear, the systems taking turns; then kill again and again.

    An interrupt ends the rounds, or the kills; what was seen until then is reported.

    peers: the folder with the peers' environments; ``tell`` hears of each fault
    """
    plan, seen, how = QUICK if quick else LONG, Seen(), "interrupted"
    systems: list[System] = [Gpumedic(), System()]
    # Being told to end is an interrupt too: what was started must be stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        _rounds(
            systems if quick else [*systems, SharedStore(), *peer_systems(peers, seen)],
            plan,
            seen,
            tell,
        )
    with contextlib.suppress(KeyboardInterrupt):
        how = _goodput(systems, plan, seen, tell)
    return rows_of(seen, _undisturbed(seen, tell), how)


def _rounds(systems: Sequence[System], plan: Plan, seen: Seen, tell: Callable[[str], None]) -> None:
    for round_ in range(plan.rounds):
        tell(f"round {round_ + 1} of {plan.rounds}")
        for world in plan.worlds:
            for system in systems:
                _ranks(system, world, plan, seen, tell)
            if world == plan.worlds[0]:
                for system in systems:
                    _node(system, plan, seen, tell)


def peer_systems(peers: Path | None, seen: Seen) -> list[System]:
    """Return those whose environments are in the folder; say of all others why they are not."""
    found: list[System] = []
    for peer in PEERS:
        if peers is not None and peer.found(peers):
            python = peers.absolute() / peer.folder / "bin" / "python"
            found += [kind(str(python)) for kind in peer.systems]
        else:
            why = f"left out; to have it: {peer.how()}, and --peers PEERS"
            seen.skipped += [(kind.name, why) for kind in peer.systems]
    for system in found:
        seen.skipped += [
            (system.name, f"not put to {f}: {why}") for f, why in system.without.items()
        ]
    return found


def _ranks(system: System, world: int, plan: Plan, seen: Seen, tell: Callable[[str], None]) -> None:
    """Kill and stop ranks, and tear checkpoints, of one job or of one after another."""
    faults = [each for each in plan.faults if each in system.faults]
    faults = [
        each for each in faults if not _is_hopeless(seen.recoveries[each, world, system.name])
    ]
    while faults:
        with running(system, world) as job:
            while faults and _settled(job, tell):
                seen.memory[world, system.name] = job.memory()
                recovery = _hurt(job, faults.pop(0), plan, seen, tell)
                if recovery.full_width_s is None or not system.lasts:
                    break
            else:
                faults = faults if job.fault_s is not None else []  # it does not even start
            _keep(job, seen)


def _is_hopeless(found: Sequence[Recovery]) -> bool:
    return len(found) >= _HOPELESS and all(each.full_width_s is None for each in found)


def _settled(job: Running, tell: Callable[[str], None]) -> bool:
    if job.settle():
        return True
    tell(f"{job.system.name}, {job.world} ranks: did not settle; it said: {job.last_words()}")
    return False


def _hurt(
    job: Running, fault: str, plan: Plan, seen: Seen, tell: Callable[[str], None]
) -> Recovery:
    limit_s = plan.hang_limit_s if fault == "hang" else plan.limit_s
    recovery = job.recover(FAULTS[fault], limit_s)
    seen.recoveries[fault, job.world, job.system.name].append(recovery)
    tell(f"{job.system.name}, {job.world} ranks, {fault}: {recovery}")
    return recovery


def _keep(job: Running, seen: Seen) -> None:
    if job.fault_s is not None:
        found = results_of(job.look(), job.world, job.fault_s)
        seen.results[job.world, job.system.name] += found


def _node(system: System, plan: Plan, seen: Seen, tell: Callable[[str], None]) -> None:
    """Kill one of two nodes, a third being there."""
    if "dead_node" not in system.faults:
        return
    with running(system, 2, nodes=2, spares=1) as job:
        if _settled(job, tell):
            _hurt(job, "dead_node", plan, seen, tell)
            _keep(job, seen)


def _goodput(systems: Sequence[System], plan: Plan, seen: Seen, tell: Callable[[str], None]) -> str:
    """Kill a rank of each system again and again, beside a job that nothing is done to."""
    kills = int(plan.goodput_s / plan.every_s) - 1
    with ExitStack() as stack:
        jobs = [stack.enter_context(running(each, 2)) for each in (*systems, System())]
        if not all(_settled(job, tell) for job in jobs):
            return "a job did not start"
        began_s = time.monotonic()
        for kill in range(1, kills + 1):
            for turn, job in enumerate(jobs[:-1]):  # in turns, so that none starts beside another
                at_s = began_s + (kill + turn / len(systems) - 0.5) * plan.every_s
                time.sleep(max(0.0, at_s - time.monotonic()))
                job.fault_s = job.fault_s or time.monotonic()
                kill_rank(job)
        time.sleep(max(0.0, began_s + plan.goodput_s - time.monotonic()))
        until_s = time.monotonic()
        made = [_progress(job, until_s) - _progress(job, began_s) for job in jobs]
        for job, steps in zip(jobs[:-1], made, strict=False):
            seen.goodput[job.system.name] = steps / made[-1]
            _keep(job, seen)
    tell(f"goodput: {made} steps, the last undisturbed")
    return f"2 ranks, one killed every {plan.every_s:g} s, {kills} times in {plan.goodput_s:g} s"


def _progress(job: Running, until_s: float) -> int:
    return max(step for step, end_s in job.whole_steps().items() if end_s <= until_s)


def _undisturbed(seen: Seen, tell: Callable[[str], None]) -> dict[int, Results]:
    """Make the steps that were seen once more, in peace; by world."""
    last: dict[int, int] = {}
    for (world, _), found in seen.results.items():
        last[world] = max([last.get(world, 0), *(step for each in found for step in each)])
    done: dict[int, Results] = {}
    for world, step in last.items():
        with running(Undisturbed(step), world) as job:
            whole = job.wait(lambda job=job: job.started[0].poll() is not None, _REFERENCE_S)  # type: ignore[misc]
            tell(f"undisturbed, {world} ranks, up to step {step}: {'done' if whole else 'late'}")
            done[world] = next(iter(results_of(job.look(), world, 0.0)), {})
    return done
