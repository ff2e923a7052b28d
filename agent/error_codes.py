"""Which error code somebody means, and all that is known of it in plain values."""

import re
from typing import Any

from agent.kernel.lines import finding, recovery
from core.errors import InputError
from detectors.faults.catalogue import SXid, Xid, sxid, xid, xids
from detectors.faults.recovery import RECOVERY_ACTIONS, Advice, action_of

_CODE = re.compile(r"(?:(s)?xid)?[\s:#]*(\d{1,6})", re.IGNORECASE)
# NVSwitch codes begin here; Xids end far below (NVIDIA's fabric manager guide).
FIRST_SXID = 10_000
_SHOWN = 120


def meant(text: str) -> Xid | SXid:
    """Return the code that a number or a line of the kernel's log names.

    InputError where it names none.
    """
    if (found := _CODE.fullmatch(text)) is not None:
        code = int(found[2])
        return sxid(code) if found[1] or code >= FIRST_SXID else xid(code)
    said = finding(text)
    if said is not None and said.kind == "xid":
        return xid(int(said.code))
    if said is not None and said.kind == "sxid":
        return sxid(int(said.code))
    found_instead = f"it tells of {said.kind.replace('_', ' ')}" if said else "no code is in it"
    raise InputError(
        f"Looking for an Xid or SXid in {text[:_SHOWN]!r}: {found_instead}. Give a code (79), or "
        'the line as the kernel wrote it: "NVRM: Xid (PCI:0000:3b:00): 79, ..."'
    )


def recovery_named(text: str) -> str:
    """Return the recovery action of a word, of NVML's number, or of a line of Xid 154.

    InputError where it is none of these; "" stays "".
    """
    word = text.strip().lower()
    if word.isdecimal() and int(word[:6]) in RECOVERY_ACTIONS:
        return RECOVERY_ACTIONS[int(word[:6])]
    said = recovery(text)
    if said is not None:
        return said.code
    if word and word not in RECOVERY_ACTIONS.values():
        raise InputError(
            f"--recovery {text[:_SHOWN]!r} is no recovery action of NVIDIA's driver. There are "
            f"{', '.join(f'{word} ({number})' for number, word in RECOVERY_ACTIONS.items())}."
        )
    return word


def as_plain(known: Xid | SXid, action: str = "") -> dict[str, Any]:
    """Return what is known of a code as JSON has it; ``action``: the GPU's recovery action."""
    if isinstance(known, SXid):
        advice = Advice(known.step, "catalogue")
        return {
            "name": f"SXid {known.first}" + (f"-{known.last}" if known.last > known.first else ""),
            "meaning": known.meaning,
            "severity": str(known.severity),
            "advice": _advised(advice),
            "source": "NVIDIA's fabric manager guide, by ranges of codes",
        }
    is_known = known.code in xids()
    return {
        "name": f"Xid {known.code}",
        "code": known.code,
        "known": is_known,
        "mnemonic": known.mnemonic,
        "meaning": known.meaning,
        "severity": str(known.severity),
        "origin": known.origin,
        "workload": known.workload,
        "immediate": known.immediate,
        "investigate": known.investigate,
        "advice": _advised(action_of(known.code, action)),
        "alone": known.alone,
        "context": known.context,
        "why": known.why,
        "source": f"{known.source.name} ({known.source.date.isoformat()})" if is_known else "",
    }


def _advised(advice: Advice) -> dict[str, str]:
    return {"action": advice.step.action, "words": advice.step.words, "by": advice.by}
