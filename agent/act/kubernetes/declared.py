"""What a job's owner lets gpumedic do, from its annotation ``gpumedic/job``.

metadata:
  annotations:
    gpumedic/job: "nodes=2-6 unit=2 save=8080/save checkpoint=/ckpt/run7 interval=1800 live=yes"
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PAIR = re.compile(r"([a-z]+)=(\S+)")
_SIZES = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?\Z")
_SAVE = re.compile(r"(\d{1,5})(/[A-Za-z0-9._~/-]*)?\Z")
_COUNT = re.compile(r"\d{1,9}\Z")


@dataclass(frozen=True, slots=True)
class Declared:
    """What an annotation says; what it does not say, or says badly, is as if it were not there.

    least, most: nodes the job can start with, 0: not said; in steps of ``unit``
    save: port and path of its first pod where a POST has it save a checkpoint; 0 where not said
    checkpoint: folder of its checkpoints; interval_s: of work between two, None where not said
    live: the pods that stay go on by themselves when others come or go
    """

    least: int = 0
    most: int = 0
    unit: int = 1
    save: tuple[int, str] = (0, "")
    checkpoint: str = ""
    interval_s: float | None = None
    live: bool = False

    @property
    def can_save(self) -> bool:
        """Say whether it can be told to save, and seen to have."""
        return bool(self.save[0] and self.checkpoint)


def declared(text: str) -> Declared:
    """Read a job's annotation."""
    pairs: Mapping[str, str] = dict(_PAIR.findall(text))
    sizes = _SIZES.match(pairs.get("nodes", ""))
    least, most = (int(sizes[1]), int(sizes[2] or sizes[1])) if sizes else (0, 0)
    save, unit = _SAVE.match(pairs.get("save", "")), pairs.get("unit", "")
    port = int(save[1]) if save else 0
    folder, interval = pairs.get("checkpoint", ""), pairs.get("interval", "")
    return Declared(
        least=least if least <= most else 0,
        most=most if least <= most else 0,
        unit=max(int(unit), 1) if _COUNT.match(unit) else 1,
        save=(port, save[2] or "/") if save and 0 < port < 1 << 16 else (0, ""),
        checkpoint=folder if folder.startswith("/") else "",
        interval_s=float(interval) if _COUNT.match(interval) and int(interval) else None,
        live=pairs.get("live", "") == "yes",
    )
