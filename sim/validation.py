"""The simulator held against what was published: figure by figure, each with its source."""

import platform
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version

from core.figures import Figures, Row
from sim.calibration.bursts import burst_rows
from sim.calibration.effective import formula_rows, llama3_rows, sweep_rows
from sim.calibration.rates import rate_rows, size_rows
from sim.calibration.workloads import mix_rows, use_rows

Part = Callable[..., Iterator[Row]]

PARTS: dict[str, Part] = {
    "rates of failure": rate_rows,
    "time to failure by job size": size_rows,
    "Meta's effective training time": formula_rows,
    "the best checkpoint interval": sweep_rows,
    "Llama 3's 54 days": llama3_rows,
    "bursts, relapses and repairs": burst_rows,
    "job sizes and lengths": mix_rows,
    "utilisation and waiting": use_rows,
}


def validate(*, quick: bool = False, tell: Callable[[str], None] = lambda line: None) -> Figures:
    """Return every published figure with the simulated one, its interval, and whether it fits.

    quick: fewer seeds, so wider intervals: under a minute
    tell:  is given a line before each part
    """
    rows: list[Row] = []
    for name, part in PARTS.items():
        began_s = time.perf_counter()
        tell(f"Simulating {name} ...")
        rows.extend(part(quick=quick))
        tell(f"{name}: {time.perf_counter() - began_s:.1f} s")
    return Figures(
        name="validate",
        command=" ".join(["gpumedic", *sys.argv[1:]]),
        version=version("gpumedic"),
        machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        seeds=(0,),
        rows=tuple(rows),
    )
