"""The figures of an evaluation as a Markdown table: a row a policy, a column a family."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.errors import InputError
from core.figures import Figures, Row

_LABELLED = re.compile(r'(\w+)\{policy="([^"]+)"(?:,(\w+)="([^"]+)")?\}')


@dataclass(frozen=True, slots=True)
class Key:
    """What a row is of; ``by`` is family or cause, "" where it is of all."""

    metric: str
    policy: str
    by: str = ""
    of: str = ""


def labelled(shown: Figures) -> dict[Key, Row]:
    """Return the rows that are of one policy, by what they are of; InputError without any."""
    found = {
        Key(*(part or "" for part in match.groups())): row
        for row in shown.rows
        if (match := _LABELLED.fullmatch(row.metric))
    }
    if not found:
        raise InputError(
            f"The figures {shown.name!r} have no row of a policy; measure some with "
            "`gpumedic evaluate policy --json`."
        )
    return found


def policies_in(rows: Mapping[Key, Row]) -> tuple[str, ...]:
    """Return the policies, those that lose least first."""
    of_all = {key.policy: row for key, row in rows.items() if _priced(key) and not key.by}
    return tuple(sorted(of_all, key=lambda name: of_all[name].value or 0.0))


def families_in(rows: Mapping[Key, Row]) -> tuple[str, ...]:
    """Return the families in their order."""
    return tuple(dict.fromkeys(key.of for key in rows if key.by == "family"))


def page(shown: Figures) -> str:
    """Return the tables: losses by family, then what else each policy came to."""
    rows = labelled(shown)
    policies, families = policies_in(rows), families_in(rows)
    losses = [
        [name, *(_said(rows.get(Key(_LOSS, name, *where))) for where in _places(families))]
        for name in policies
    ]
    others = [
        [name, *(_said(rows.get(Key(metric, name))) for metric in _OTHERS)] for name in policies
    ]
    heads = ["policy", "all families", *(name.replace("_", " ") for name in families)]
    return "\n".join(
        [
            "Priced loss of a life, GPU-hours, with its 95 % interval:\n",
            _table(heads, losses),
            "\nOver all families:\n",
            _table(["policy", *_OTHERS.values()], others),
            f"\n`{shown.command}`, {shown.machine}, version {shown.version}.\n",
        ]
    )


_LOSS = "priced_loss_gpu_hours"
_OTHERS = {
    "lost_gpu_hours": "lost GPU-h a life",
    "lost_gpu_hours_ratio_vs_tuned_runbook": "over the tuned runbook's",
    "ettr": "ETTR",
    "mttr_h": "MTTR, h",
    "manual_interventions": "pages a life",
    "wrong_drains_per_1000_node_days": "wrong drains in 1,000 node-days",
    "guard_breaches": "guard breaches",
    "decision_us": "decision, us",
}


def _priced(key: Key) -> bool:
    return key.metric == _LOSS


def _places(families: Sequence[str]) -> list[tuple[str, ...]]:
    return [(), *(("family", name) for name in families)]


def _said(row: Row | None) -> str:
    if row is None or row.value is None:
        return ""
    if row.low is None or row.high is None:
        return _number(row.value)
    return f"{_number(row.value)} ({_number(row.low)} to {_number(row.high)})"


def _number(value: float) -> str:
    """Return four digits, and of large numbers all before the point."""
    return f"{value:.0f}" if abs(value) >= 1000.0 else f"{value:.4g}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
