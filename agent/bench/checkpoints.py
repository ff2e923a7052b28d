"""How fast checkpoints are verified, how long a job stands for a save, and if damage is named."""

import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.bench.timing import milliseconds, timed
from agent.checkpoints import manifest as manifests
from agent.checkpoints.catalogue import Catalogue, Look
from agent.checkpoints.found import Checkpoint, State
from agent.checkpoints.work import idle_threads
from agent.launch.jobside.gpumedic_job import manifest as sealing
from agent.launch.jobside.gpumedic_job.manifest import Manifest, Saved
from core.figures import Row, at_least

_CHILD = "agent.bench.checkpoints_child"
_LARGE, _SMALL, _PARTS = "large.pt", "step_1.pt", "step_2"
_SEED = 0
_LISTED = 100


def checkpoint_rows(
    *, quick: bool = False, megabytes: int | None = None, damages: int | None = None
) -> tuple[Row, ...]:
    """Measure on files in the temporary folder, which are read once before: a warm cache."""
    size, runs = megabytes or (128 if quick else 1024), 3 if quick else 7
    with tempfile.TemporaryDirectory(prefix="gpumedic-bench-") as name:
        folder = Path(name)
        _child("make", str(folder), str(size))
        return (
            *_throughput(folder / _LARGE, runs),
            *_stalls(folder, max(1, size // 8), runs),
            _listing(folder),
            _named(folder, damages or (100 if quick else 400)),
        )


def _child(*words: str) -> str:
    done = subprocess.run(  # noqa: S603 - this program's own part
        [sys.executable, "-m", _CHILD, *words], check=True, capture_output=True, text=True
    )
    return done.stdout


def _throughput(path: Path, runs: int) -> Iterator[Row]:
    """Verify one large file in each way, in turn, so that a busy machine slows all alike."""
    gigabytes = path.stat().st_size / 1e9
    sealed = sealing.measure(path, Saved(0.0), form="torch.save")
    sealing.write(path, sealed)
    ways: dict[str, Callable[[], float]] = {
        "sha256sum": lambda: _spent_by(["sha256sum", str(path)]),
        "manifest": lambda: _spent(lambda: manifests.flips(sealed, path.parent)),
        "crc": lambda: _spent(lambda: _crc(path)),
        "blake2b": lambda: _spent(lambda: _blake2b(path)),
    }
    if b3sum := shutil.which("b3sum"):
        ways["b3sum"] = lambda: _spent_by([b3sum, "--num-threads", "1", str(path)])
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, work in ways.items():
            spent[name].append(work())
    spent["load"] = json.loads(_child("load", str(path), str(runs)))
    median = {name: statistics.median(each) for name, each in spent.items()}
    note = "median CPU time; one thread; files in the page cache"
    for name in ("manifest", "crc"):
        rate = gigabytes / median[name]
        yield Row(f"verify_{name}_gb_cpu_s", rate, "GB/CPU-s", n=runs, note=note)
    for name, ours, theirs, goal in (
        ("verify_manifest_over_sha256sum", "manifest", "sha256sum", 0.9),
        ("verify_crc_over_sha256sum", "crc", "sha256sum", 1.0),
        ("verify_crc_over_torch_load", "crc", "load", 0.5),
        ("sha256_over_blake2b", "manifest", "blake2b", 1.0),
        ("verify_manifest_over_b3sum", "manifest", "b3sum", 1.0),
    ):
        if theirs not in median:
            yield Row(name, None, "ratio", note=f"no {theirs} here")
            continue
        value = median[theirs] / median[ours]
        note = "their CPU time over ours, medians, the same file in turn; programs as built here"
        yield at_least(name, value, goal, unit="ratio", n=runs, note=note)
    yield from _walls(path, sealed, runs)


def _walls(path: Path, sealed: Manifest, runs: int) -> Iterator[Row]:
    """Verify with all the threads it takes, and beside it by the program that takes one."""
    gigabytes, threads = path.stat().st_size / 1e9, idle_threads()
    ours, theirs = [], []
    for _ in range(runs):
        began_s = time.perf_counter()
        manifests.flips(sealed, path.parent, threads=threads)
        between_s = time.perf_counter()
        _spent_by(["sha256sum", str(path)])
        ours.append(between_s - began_s)
        theirs.append(time.perf_counter() - between_s)
    note = f"wall time, {threads} threads, what else runs here included"
    yield Row("verify_manifest_gb_s", gigabytes / min(ours), "GB/s", n=runs, note=note)
    note = f"its best wall time over ours, in turn; {threads} threads"
    value = min(theirs) / min(ours)
    yield Row("verify_wall_over_sha256sum", value, "ratio", n=runs, note=note)


def _stalls(folder: Path, megabytes: int, runs: int) -> Iterator[Row]:
    """Say how long a training stands for a save: as scripts do it, and in the background."""
    found = json.loads(_child("stall", str(folder), str(megabytes), str(runs)))
    at_once, aside = (statistics.median(found[name]) for name in ("at once", "aside"))
    size = f"{found['bytes'] / 1e6:.0f} MB, wall time, medians, in turn"
    note = f"{size}: torch.save, fsync, rename"
    yield milliseconds("save_at_once_ms", found["at once"], note=note)
    note = f"{size}: until the state is copied; the first, which takes the memory, is not counted"
    yield milliseconds("save_stall_ms", found["aside"], note=note)
    note = f"{size}: until the checkpoint is sealed, the training going on"
    yield milliseconds("save_took_ms", found["took"], note=note)
    note = f"{size}: at once over the background's"
    yield at_least("save_stall_ratio", at_once / aside, 2.0, unit="ratio", n=runs, note=note)


def _spent(work: Callable[[], object]) -> float:
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


def _spent_by(command: list[str]) -> float:
    """Return the CPU seconds of another program."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - named above
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime


def _crc(path: Path) -> None:
    """Hold a file against its own checksums, as for one without a manifest."""
    from agent.checkpoints.looking import look_at

    if look_at(path, (path.name,), contents=True).troubles:
        raise AssertionError(f"{path} was just written and is damaged")


def _blake2b(path: Path) -> None:
    with path.open("rb") as file:
        hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32))


def _listing(folder: Path) -> Row:
    """Time a look at the headers of many small checkpoints."""
    many = folder / "many"
    many.mkdir()
    for number in range(_LISTED):
        shutil.copy(folder / _SMALL, many / f"step_{number}.pt")
    look = Catalogue(many, Look(read_bytes=0), 0.0).listing
    note = f"headers of {_LISTED} files of torch.save, wall time"
    return milliseconds("list_100_ms", timed(look, runs=5), goal_ms=1000.0, note=note)


@dataclass(frozen=True, slots=True)
class _Damage:
    """What is done to a file, and what it must then be called."""

    state: State
    do: Callable[[Path, random.Random], None]


def _cut(path: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def _flip(path: Path, chance: random.Random) -> None:
    """Turn over a bit of the tensors' bytes, which are most of a file."""
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data) // 4, 3 * len(data) // 4)] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def _foreign(path: Path, chance: random.Random) -> None:
    path.write_bytes(bytes(chance.choice(b"<html>\n{}PK") for _ in range(5000)))


def _tear(path: Path, chance: random.Random) -> None:
    del chance
    path.unlink()


_DAMAGES = (
    (_SMALL, "", _Damage(State.TRUNCATED, _cut)),
    (_SMALL, "", _Damage(State.BIT_FLIPPED, _flip)),
    (_SMALL, "", _Damage(State.WRONG_FORMAT, _foreign)),
    (_PARTS, "__0_0.distcp", _Damage(State.TRUNCATED, _cut)),
    (_PARTS, "__0_0.distcp", _Damage(State.BIT_FLIPPED, _flip)),
    (_PARTS, "__0_0.distcp", _Damage(State.WRONG_FORMAT, _foreign)),
    (_PARTS, "__0_0.distcp", _Damage(State.TORN, _tear)),
    (_PARTS, ".metadata", _Damage(State.TRUNCATED, _cut)),
    (_PARTS, ".metadata", _Damage(State.WRONG_FORMAT, _foreign)),
    (_PARTS, ".metadata", _Damage(State.TORN, _tear)),
)


def _named(folder: Path, count: int) -> Row:
    """Damage small checkpoints in every way and see what each is called."""
    chance = random.Random(_SEED)  # noqa: S311 - the same damage every time
    right = 0
    for number in range(count):
        name, file, damage = _DAMAGES[number % len(_DAMAGES)]
        there = folder / "damaged" / str(number) / name
        there.parent.mkdir(parents=True)
        source = folder / name
        shutil.copytree(source, there) if source.is_dir() else shutil.copy(source, there)
        damage.do(there / file if file else there, chance)
        right += _seen(there).state is damage.state
    note = "random damage to torch.save and torch.distributed.checkpoint that is called what it is"
    return at_least("damage_named_ratio", right / count, 1.0, unit="ratio", n=count, note=note)


def _seen(path: Path) -> Checkpoint:
    return Catalogue(path, Look(), 0.0).listing().checkpoints[0]
