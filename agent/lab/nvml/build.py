"""Build the test driver with the system's C compiler."""

import shutil
import subprocess
from pathlib import Path

from core.errors import ActionFailed, InputError

SOURCE = Path(__file__).with_name("driver.c")
LIBRARY = "libnvidia-ml.so.1"  # by this name nvidia-ml-py asks the loader for the driver


def build(folder: Path) -> Path:
    """Compile the library into ``folder``, which goes into LD_LIBRARY_PATH; return its path."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise InputError(
            "Building the NVML test library: found no C compiler (gcc or cc) on PATH. "
            "Install your distribution's gcc."
        )
    made = folder / LIBRARY
    words = ["-std=gnu11", "-O1", "-shared", "-fPIC", f"-Wl,-soname,{LIBRARY}", "-pthread"]
    command = [compiler, *words, "-o", str(made), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise ActionFailed(f"Building the NVML test library: {compiler} said {done.stderr.strip()}")
    return made
