"""How much each assumption decides: one after the other at its low and its high value."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape

from agent.scoreboard.assumed import ASSUMED, Assumed, values
from agent.scoreboard.effective import Trial

LOW, HIGH = "low", "high"
WIDTH, _LINE, _HEAD, _FOOT = 760, 15, 26, 24
_LEFT, _RIGHT = 250, 40
_COLOURS = {LOW: "#0072B2", HIGH: "#D55E00"}  # Okabe and Ito's: apart for colour-blind eyes too


@dataclass(frozen=True, slots=True)
class Swing:
    """A row's figure with one assumption at its low value and at its high one."""

    assumed: Assumed
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Panel:
    """A row's figure as assumed, what moves it, its goal and the published figure."""

    name: str
    value: float
    published: float
    goal: float
    swings: tuple[Swing, ...]


def panel(trial: Trial, *, seeds: int, tell: Callable[[], None] = lambda: None) -> Panel:
    """Play a row at both ends of each assumption, with the same seeds."""

    def at(v: Mapping[str, float]) -> float:
        return float(trial.play(trial.ours(v, standby=True), seeds).mean())

    swings = []
    for part in ASSUMED:
        swings.append(
            Swing(part, at(values(**{part.key: part.low})), at(values(**{part.key: part.high})))
        )
        tell()
    return Panel(trial.name, at(values()), trial.published, trial.goal.figure, tuple(swings))


def drawing(panels: Iterable[Panel]) -> str:
    """Return all panels below one another as an SVG."""
    parts: list[str] = []
    top = 8
    for one in panels:
        parts += _drawn(one, top)
        top += _height(one)
    title = "Ours at the low and the high value of each assumption"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {top + 30}" '
        f'aria-label="{title}" font-family="sans-serif" font-size="11">\n'
        f'<rect width="{WIDTH}" height="{top + 30}" fill="#ffffff"/>\n'
        + "\n".join(parts)
        + f'\n<text x="{_LEFT}" y="{top + 18}">bars: from the figure as assumed to the one at the '
        f'<tspan fill="{_COLOURS[LOW]}">low</tspan> and the <tspan fill="{_COLOURS[HIGH]}">high'
        "</tspan> value; dashed: the goal; dotted: published</text>\n</svg>\n"
    )


def _height(one: Panel) -> int:
    return _HEAD + _LINE * len(one.swings) + _FOOT


def _drawn(one: Panel, top: int) -> Iterator[str]:
    found = [one.value, one.goal, *(end for swing in one.swings for end in (swing.low, swing.high))]
    low, high = min(found), max(found)
    room = 0.05 * (high - low or 1.0)
    low, high = low - room, high + room

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    bottom = top + _HEAD + _LINE * len(one.swings)
    yield _text(8, top + 14, f"{one.name}: {one.value:.4g}", weight="bold")
    for number, swing in enumerate(sorted(one.swings, key=_width, reverse=True)):
        y = top + _HEAD + _LINE * number
        part = swing.assumed
        yield _text(
            8, y + 11, f"{part.key} {part.low:g} / {part.value:g} / {part.high:g} {part.unit}"
        )
        for side, end in ((LOW, swing.low), (HIGH, swing.high)):
            left, right = sorted((x(one.value), x(end)))
            yield (
                f'<rect x="{left:.1f}" y="{y + 2}" width="{max(right - left, 0.5):.1f}" '
                f'height="{_LINE - 4}" fill="{_COLOURS[side]}" fill-opacity="0.8"/>'
            )
    yield f'<path d="M{x(one.value):.1f} {top + _HEAD}V{bottom}" stroke="#000000"/>'
    yield (
        f'<path d="M{x(one.goal):.1f} {top + _HEAD - 6}V{bottom}" stroke="#000000" '
        'stroke-dasharray="5 3"/>'
    )
    if low <= one.published <= high:
        yield (
            f'<path d="M{x(one.published):.1f} {top + _HEAD - 6}V{bottom}" stroke="#000000" '
            'stroke-dasharray="1 3"/>'
        )
    for value in (low + room, one.value, high - room):
        yield _text(x(value), bottom + 13, f"{value:.4g}", anchor="middle")


def _width(swing: Swing) -> float:
    return abs(swing.high - swing.low)


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(words)}</text>"
    )
