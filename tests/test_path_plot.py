"""A path can be drawn whatever its readings are, and its picture grows with its steps."""

from dataclasses import replace

import numpy as np
import pytest

from agent.path_plot import DPI, PANEL_INCHES, PathTitle, path_png
from core.target import Target
from core.types import Hop, Window
from rca.hops import HopSeries, hop_series
from tests.diagnoses import ONSET_S, hops

TITLE = PathTitle("node-13: cooling is degraded (p = 0.93)", "thermal", "incident inc-7: slow")


def height(picture: bytes) -> int:
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(picture[20:24], "big")


def no_reading(hop: HopSeries) -> HopSeries:
    nothing = np.zeros(0)
    return replace(hop, time_s=nothing, value=nothing, lower=np.nan, upper=np.nan, began_s=None)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_step_has_its_panel(count: int) -> None:
    one, shown = height(path_png(TITLE, hops()[:1])), height(path_png(TITLE, hops()[:count]))

    assert shown - one == pytest.approx((count - 1) * PANEL_INCHES * DPI, abs=2)


@pytest.mark.parametrize(
    "odd",
    [
        no_reading,
        lambda hop: replace(hop, began_s=None),
        lambda hop: replace(hop, value=np.full(len(hop.time_s), np.nan)),
        lambda hop: replace(hop, value=np.zeros(len(hop.time_s)), lower=0.0, upper=0.0),
        lambda hop: replace(hop, metric="never_heard_of", text="never heard of"),
        lambda hop: replace(hop, target=Target(job=r"$\frac{$"), began_s=ONSET_S),
    ],
)
def test_odd_readings_are_drawn_too(odd: object) -> None:
    assert callable(odd)
    first, middle, *rest = hops()

    assert height(path_png(TITLE, (first, odd(middle), *rest))) > 0
    assert height(path_png(TITLE, tuple(odd(hop) for hop in hops()))) > 0


def test_a_counter_is_followed_by_its_rate() -> None:
    time_s = ONSET_S + 15.0 * np.arange(-100.0, 40.0, dtype=np.float64)
    count = np.cumsum(np.where(time_s >= ONSET_S, 30.0, 0.0))
    port = Target(node="n1", port="mlx5_0")
    window = Window("port_errors_total", (port,), time_s, count[None])
    hop = Hop(port, "port_errors_total", 30.0, ONSET_S, usual=0.0, level=2.0)

    found = hop_series(hop, window, normal_until_s=ONSET_S, shown_from_s=ONSET_S - 300)

    assert found.value[-1] == pytest.approx(2.0)
    assert found.lower < 0 < found.upper < 2.0
    assert found.time_s[0] == ONSET_S - 300
    assert (found.usual, found.level) == (0.0, 2.0)
