"""A cluster's mechanisms are shared by its targets, kept between incidents, and never stretched."""

from dataclasses import replace

import numpy as np
import pytest

from core.target import Target
from core.types import Floats, Window
from rca.graph.causal_graph import CausalGraph, build_graph
from rca.graph.mechanisms import Mechanisms, fit_mechanisms, residual
from rca.graph.templates import Template
from rca.knowledge import DEFAULT
from rca.posterior.case import open_case
from rca.posterior.standing import Spans, stand
from rca.scm.model import KNOTS
from tests.rca_scenes import NOW_S, ONSET, READINGS, STEP_S, node_inlet, nothing, scene

CAUSE, EFFECT = "node_inlet_temperature_celsius", "gpu_temperature_celsius"


def heated(
    inlet: Floats, gpu: Floats, *, start_s: float = 0.0
) -> tuple[CausalGraph, dict[str, Window]]:
    """Nodes' inlets and one GPU each, (nodes, T) in degrees."""
    nodes = tuple(Target(node=f"n{n}") for n in range(len(inlet)))
    gpus = tuple(Target(node=f"n{n}", gpu=f"g{n}") for n in range(len(inlet)))
    time_s: Floats = start_s + STEP_S * np.arange(inlet.shape[1], dtype=np.float64)
    windows = {
        CAUSE: Window(CAUSE, nodes, time_s, inlet),
        EFFECT: Window(EFFECT, gpus, time_s, gpu),
    }
    return build_graph({name: each.targets for name, each in windows.items()}, None), windows


def spans(rows: int, *, start_s: float = 0.0) -> Spans:
    """All rows are normal."""
    end_s = start_s + rows * STEP_S
    return Spans(start_s, end_s + 600.0, end_s + 700.0)


def only(mechanisms: Mechanisms) -> tuple[Template, Floats]:
    """The one mechanism there is."""
    ((template, gain),) = mechanisms.gain.items()
    return template, gain


def test_a_late_mechanism_is_learned_by_all_nodes_together() -> None:
    rng = np.random.default_rng(1)
    inlet = 22 + rng.normal(size=(4, 200))
    gpu = 60 + 3 * np.roll(inlet - 22, 2, axis=1) + rng.normal(0, 0.1, (4, 200))

    mechanisms = fit_mechanisms(*heated(inlet, gpu), spans(200))

    template, gain = only(mechanisms)
    assert (template.cause, template.effect) == (CAUSE, EFFECT)
    assert gain == pytest.approx([3.0], abs=0.1)
    assert mechanisms.explained[EFFECT] > 0.95


@pytest.mark.parametrize("odd", ["nan", "constant", "short", "huge"])
def test_odd_data_give_a_mechanism_that_claims_little(odd: str) -> None:
    rng = np.random.default_rng(2)
    inlet, gpu = rng.normal(size=(3, 80)), rng.normal(size=(3, 80))
    if odd == "nan":
        inlet[:] = np.nan
    elif odd == "constant":
        inlet[:], gpu[:] = 4.0, 2.0
    elif odd == "short":
        inlet, gpu = inlet[:, :3], gpu[:, :3]
    else:
        inlet *= 1e90

    mechanisms = fit_mechanisms(*heated(inlet, gpu), spans(inlet.shape[1]))

    assert all(np.isfinite(gain).all() for gain in mechanisms.gain.values())
    assert mechanisms.explained.get(EFFECT, 0.0) < 0.2


def test_what_an_hour_adds_is_all_that_a_later_fit_reads() -> None:
    """The second hour follows another law; half forgotten, the old one keeps its third."""
    rng = np.random.default_rng(3)
    inlet = 22 + rng.normal(size=(4, 480))
    gain = np.where(np.arange(480) < 240, 3.0, 0.0)
    gpu = 60 + gain * (inlet - 22)
    first = fit_mechanisms(*heated(inlet[:, :240], gpu[:, :240]), spans(240))
    start_s = 240 * STEP_S
    new = heated(inlet[:, 240:], gpu[:, 240:], start_s=start_s)

    both, half, alone = (
        fit_mechanisms(*new, spans(240, start_s=start_s), known=known, keep=keep)
        for known, keep in ((first, 1.0), (first, 0.5), (None, 1.0))
    )

    assert only(both)[1] == pytest.approx([1.5], abs=0.2)
    assert only(half)[1] == pytest.approx([1.0], abs=0.2)
    assert only(alone)[1] == pytest.approx([0.0], abs=0.1)


@pytest.mark.parametrize("knots", [(), KNOTS])
def test_a_later_fit_is_that_of_all_rows(knots: tuple[float, ...]) -> None:
    """But for its first rows, whose causes lie before them; bends stay where the first rows lay."""
    rng = np.random.default_rng(7)
    inlet = 22 + rng.normal(size=(4, 600))
    gpu = 60 + 3 * np.maximum(inlet - 22, 0) + rng.normal(0, 0.1, (4, 600))
    start_s = 400 * STEP_S
    first = fit_mechanisms(*heated(inlet[:, :400], gpu[:, :400]), spans(400), knots=knots)

    later = fit_mechanisms(
        *heated(inlet[:, 400:], gpu[:, 400:], start_s=start_s),
        spans(200, start_s=start_s),
        known=first,
        knots=knots,
    )

    whole = fit_mechanisms(*heated(inlet, gpu), spans(600), knots=knots)
    found, expected = (np.cumsum(only(each)[1]) for each in (later, whole))
    np.testing.assert_allclose(found, expected, atol=0.1 if knots else 0.01)


def test_what_was_not_read_at_first_is_known_once_it_is() -> None:
    rng = np.random.default_rng(8)
    inlet = 22 + rng.normal(size=(4, 400))
    gpu = 60 + 3 * (inlet - 22)
    blind = fit_mechanisms(*heated(np.full((4, 200), np.nan), gpu[:, :200]), spans(200))
    start_s = 200 * STEP_S

    seen = fit_mechanisms(
        *heated(inlet[:, 200:], gpu[:, 200:], start_s=start_s),
        spans(200, start_s=start_s),
        known=blind,
    )

    assert only(blind)[1] == pytest.approx([0.0])
    assert only(seen)[1] == pytest.approx([3.0], abs=0.1)


def test_mechanisms_of_other_links_are_not_used() -> None:
    case = scene(node_inlet, 6, nodes=3)
    when = Spans(NOW_S - (READINGS - 1) * STEP_S, NOW_S - (READINGS - ONSET) * STEP_S, NOW_S)

    opened = open_case(
        case.incident,
        case.windows,
        case.state,
        spans=when,
        knowledge=replace(DEFAULT, mechanisms=Mechanisms({}, {})),
    )

    assert opened.mechanisms.cover(opened.graph)
    assert opened.mechanisms.gain


def test_other_series_start_anew() -> None:
    rng = np.random.default_rng(4)
    inlet = 22 + rng.normal(size=(3, 200))
    first = fit_mechanisms(*heated(inlet, 3 * inlet), spans(200))

    other = fit_mechanisms(*heated(inlet[:2], 1 * inlet[:2]), spans(200), known=first)

    assert only(other)[1] == pytest.approx([1.0], abs=0.05)


def test_a_threshold_bends_where_the_hourly_fit_may() -> None:
    """Fans hold the GPU until the inlet is a sigma above its usual; then it heats threefold."""
    rng = np.random.default_rng(5)
    inlet = 22 + rng.normal(size=(6, 240))
    gpu = 60 + 3 * np.maximum(inlet - 23, 0) + rng.normal(0, 0.2, (6, 240))

    graph, windows = heated(inlet, gpu)
    straight = fit_mechanisms(graph, windows, spans(240))
    bent = fit_mechanisms(graph, windows, spans(240), knots=KNOTS)

    assert bent.explained[EFFECT] > straight.explained[EFFECT] + 0.1
    assert only(bent)[1].sum() == pytest.approx(3.0, abs=0.4)
    assert abs(only(bent)[1][0]) < 0.3


def test_mechanisms_fitted_before_serve_the_incident() -> None:
    quiet = scene(nothing, 5, nodes=3)
    known = {name: window.targets for name, window in quiet.windows.items()}
    graph = build_graph(known, quiet.state.topology)
    start_s = NOW_S - (READINGS - 1) * STEP_S
    before = fit_mechanisms(graph, quiet.windows, Spans(start_s, NOW_S, NOW_S))
    case = scene(node_inlet, 6, nodes=3)
    when = Spans(start_s, start_s + ONSET * STEP_S, NOW_S)

    handed_in = open_case(
        case.incident,
        case.windows,
        case.state,
        spans=when,
        knowledge=replace(DEFAULT, mechanisms=before),
    )
    own = open_case(case.incident, case.windows, case.state, spans=when)

    expected = residual(own.graph, stand(own.graph, case.windows, when), before)
    np.testing.assert_array_equal(handed_in.left, expected)
    worst = [int(np.nan_to_num(each.left).argmax()) for each in (handed_in, own)]
    assert own.graph.target(worst[0]).node == case.truth.node
    assert own.graph.target(worst[1]).node == case.truth.node
