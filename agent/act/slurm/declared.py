"""What a job's owner lets gpumedic do, from its comment: ``gpumedic: nodes=2-6 signal=USR1``.

sbatch --comment="gpumedic: nodes=2-6 unit=2 signal=USR1 checkpoint=/ckpt/run7 interval=1800"
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_MARK = re.compile(r"\bgpumedic:\s*(.*)", re.DOTALL)
_PAIR = re.compile(r"([a-z]+)=(\S+)")
_SIZES = re.compile(r"(\d+)(?:-(\d+))?\Z")
_SIGNAL = re.compile(r"(?:SIG)?(USR1|USR2|HUP|URG|WINCH|CONT)\Z")
_COUNT = re.compile(r"\d{1,9}\Z")


@dataclass(frozen=True, slots=True)
class Declared:
    """What a comment says; what it does not say, or says badly, is as if it were not there.

    least, most: nodes the job can start with, 0: its size is left alone; in steps of ``unit``
    signal: on which the batch script saves a checkpoint, "" where there is none
    checkpoint: folder of its checkpoints; interval_s: of work between two, None where not said
    steps: file to which it adds a JSON line a step, "" where there is none
    live: it goes on by itself when a node is taken away from under it
    """

    least: int = 0
    most: int = 0
    unit: int = 1
    signal: str = ""
    checkpoint: str = ""
    interval_s: float | None = None
    steps: str = ""
    live: bool = False

    @property
    def can_save(self) -> bool:
        """Say whether it can be told to save, and seen to have."""
        return bool(self.signal and self.checkpoint)


def declared(comment: str) -> Declared:
    """Read a job's comment; text before the mark is the owner's own."""
    found = _MARK.search(comment)
    pairs: Mapping[str, str] = dict(_PAIR.findall(found[1])) if found else {}
    sizes = _SIZES.match(pairs.get("nodes", ""))
    least = int(sizes[1]) if sizes else 0
    most = int(sizes[2] or sizes[1]) if sizes else 0
    signal = _SIGNAL.match(pairs.get("signal", ""))
    interval = pairs.get("interval", "")
    unit = pairs.get("unit", "")
    return Declared(
        least=least if least <= most else 0,
        most=most if least <= most else 0,
        unit=max(int(unit), 1) if _COUNT.match(unit) else 1,
        signal=signal[1] if signal else "",
        checkpoint=_path(pairs.get("checkpoint", "")),
        interval_s=float(interval) if _COUNT.match(interval) and int(interval) else None,
        steps=_path(pairs.get("steps", "")),
        live=pairs.get("live", "") == "yes",
    )


def _path(text: str) -> str:
    return text if text.startswith("/") else ""
