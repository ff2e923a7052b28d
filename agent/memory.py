"""What the detectors and the warnings have learned, as a file beside the history.

Plain arrays without objects, so that reading a file runs no code. Losing it costs the detectors a
while of learning and nothing else: a file that cannot be read is said and passed over.
"""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import structlog

from detectors.detector import Array

log = structlog.get_logger()

Memory = Mapping[str, Mapping[str, Array]]
SEPARATOR = "/"


def write_memory(path: Path, memory: Memory) -> bool:
    """Write who knows what, whole or not at all; False, and a line in the log, where that fails."""
    arrays = {
        f"{name}{SEPARATOR}{key}": array
        for name, state in memory.items()
        for key, array in state.items()
    }
    half = path.with_suffix(".half")
    try:
        with half.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # its names are the caller's
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    except OSError as error:
        log.warning("what was learned is not kept", file=str(path), problem=str(error))
        return False
    return True


def read_memory(path: Path) -> Memory:
    """Return who knew what; empty where there is no file, or none that is whole."""
    memory: dict[str, dict[str, Array]] = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for full in file.files:
                name, _, key = full.partition(SEPARATOR)
                memory.setdefault(name, {})[key] = file[full]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        log.warning("what was learned cannot be read", file=str(path), problem=str(error))
        return {}
    return memory
