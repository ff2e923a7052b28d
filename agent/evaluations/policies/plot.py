"""Loss over the tuned runbook's by policy and family, with intervals: a small drawing."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from agent.evaluations.policies.page import Key, families_in, labelled, policies_in
from core.errors import InputError
from core.figures import Figures, Row

_LEFT, _RIGHT, _TOP, _BOTTOM = 170, 24, 34, 46
_PANEL, _LINE, _COLUMNS = 330, 18, 2
_METRIC = "priced_loss_ratio_vs_tuned_runbook"
# Okabe and Ito's palette: apart for colour-blind eyes too.
_BETTER, _WORSE, _EVEN = "#0072B2", "#D55E00", "#666666"
_LOWEST, _HIGHEST = 0.25, 8.0  # what lies beyond is drawn at the edge, with its number
_TICKS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


def plot(shown: Figures) -> str:
    """Return the drawing: a panel a family, a line a policy; InputError without such rows."""
    rows = labelled(shown)
    policies, families = policies_in(rows), families_in(rows)
    if not any(key.metric == _METRIC for key in rows):
        raise InputError(
            f"The figures {shown.name!r} have no {_METRIC} row; evaluate the tuned runbook too."
        )
    panels = [("all families", ("", "")), *((name, ("family", name)) for name in families)]
    high = _TOP + _LINE * len(policies) + _BOTTOM
    width = _COLUMNS * (_LEFT + _PANEL + _RIGHT)
    height = high * -(-len(panels) // _COLUMNS)
    parts: list[str] = []
    for number, (title, where) in enumerate(panels):
        x = (number % _COLUMNS) * (_LEFT + _PANEL + _RIGHT) + _LEFT
        y = number // _COLUMNS * high + _TOP
        found = [(name, rows.get(Key(_METRIC, name, *where))) for name in policies]
        parts += _panel(title.replace("_", " "), found, x, y)
    label = escape("Priced loss over the tuned runbook's, by policy and family, 95 % intervals")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}" '
        f'aria-label="{label}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _panel(
    title: str, rows: Sequence[tuple[str, Row | None]], left: int, top: int
) -> Iterator[str]:
    bottom = top + _LINE * len(rows)
    yield f'<text x="{left}" y="{top - 12}" font-weight="bold">{escape(title)}</text>'
    for tick in _TICKS:
        x = left + _across(tick)
        colour = "#000000" if tick == 1.0 else "#dddddd"
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="{colour}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{tick:g}</text>'
    middle = left + _PANEL / 2
    yield (
        f'<text x="{middle}" y="{bottom + 32}" text-anchor="middle" fill="#555555">'
        "loss over the tuned runbook's</text>"
    )
    for number, (name, row) in enumerate(rows):
        y = top + _LINE * (number + 0.5)
        yield f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>'
        yield from _mark(row, left, y)


def _mark(row: Row | None, left: int, y: float) -> Iterator[str]:
    if row is None or row.value is None:  # the tuned runbook itself
        yield f'<circle cx="{left + _across(1.0):.1f}" cy="{y:.1f}" r="3" fill="{_EVEN}"/>'
        return
    low, high = row.low or row.value, row.high or row.value
    colour = _BETTER if high < 1.0 else _WORSE if low > 1.0 else _EVEN
    x, x1, x2 = (left + _across(value) for value in (row.value, low, high))
    said = escape(f"{row.value:.3f} ({low:.3f} to {high:.3f})")
    yield (
        f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y:.1f}" y2="{y:.1f}" '
        f'stroke="{colour}" stroke-width="2"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{said}</title></circle>'
    )
    if row.value > _HIGHEST:
        yield f'<text x="{x - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{row.value:.0f}</text>'


def _across(value: float) -> float:
    share = math.log(min(max(value, _LOWEST), _HIGHEST) / _LOWEST) / math.log(_HIGHEST / _LOWEST)
    return share * _PANEL
