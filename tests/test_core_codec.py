"""Every value that flows survives being written as JSON and read back; wrong JSON is named."""

import dataclasses
import json
from enum import Enum
from types import ModuleType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import core.cluster
import core.types
from core.codec import from_json, to_json
from core.errors import InputError
from core.target import Target
from core.topology import NOWHERE, Topology
from core.types import Action, Event, Forecast, Severity, Window

FINITE = st.floats(allow_nan=False, allow_infinity=False)
READINGS = st.floats(allow_nan=True, allow_infinity=True)
NAMES = st.text(max_size=12)


def dataclasses_in(module: ModuleType) -> list[type]:
    """Find every value type a module defines, so that a new one is tested from its first day."""
    return [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type)
        and dataclasses.is_dataclass(kind)
        and kind.__module__ == module.__name__
    ]


KINDS = [*dataclasses_in(core.types), *dataclasses_in(core.cluster), Target, Topology]


def matrix(rows: int, columns: int) -> st.SearchStrategy[Any]:
    return arrays.arrays(np.float64, (rows, columns), elements=READINGS)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    targets = draw(st.lists(values(Target), max_size=3).map(tuple))
    count = draw(st.integers(0, 4))
    start = draw(st.integers(0, 2_000_000_000))
    value = draw(matrix(len(targets), count))
    return Window(draw(NAMES), targets, np.arange(count, dtype=np.float64) * 15 + start, value)


@st.composite
def forecasts(draw: st.DrawFn) -> Forecast:
    targets = draw(st.lists(values(Target), min_size=1, max_size=3).map(tuple))
    count = draw(st.integers(1, 4))
    return Forecast(
        metric=draw(NAMES),
        targets=targets,
        made_at_s=draw(FINITE),
        time_s=np.arange(count, dtype=np.float64) * 60,
        mean=draw(matrix(len(targets), count)),
        lower=draw(matrix(len(targets), count)),
        upper=draw(matrix(len(targets), count)),
        coverage=draw(st.floats(0.01, 0.99)),
        model=tuple(draw(NAMES) for _ in targets),
        skill=draw(arrays.arrays(np.float64, len(targets), elements=READINGS)),
    )


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    nodes = draw(st.integers(0, 3))
    gpus = draw(st.integers(0, 4)) if nodes else 0
    jobs = draw(st.integers(0, 2))
    ranks = draw(st.integers(0, 4)) if gpus and jobs else 0

    def indices(count: int, below: int, least: int = 0) -> Any:
        inside = st.integers(least, max(least, below - 1))
        return np.array([draw(inside) for _ in range(count)], dtype=np.int64)

    return Topology(
        nodes=tuple(f"node-{i}" for i in range(nodes)),
        racks=("r0", "r1"),
        switches=("leaf-0",),
        gpus=tuple(f"GPU-{i}" for i in range(gpus)),
        jobs=tuple(str(i) for i in range(jobs)),
        node_rack=indices(nodes, 2, NOWHERE),
        node_switch=indices(nodes, 1, NOWHERE),
        gpu_node=indices(gpus, nodes),
        rank_job=indices(ranks, jobs),
        rank_gpu=indices(ranks, gpus),
    )


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Draw values of a field's type, following the annotations down."""
    if kind in SPECIAL:
        return SPECIAL[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return st.one_of(*(values(argument) for argument in arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*(values(argument) for argument in arguments))
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        parts = {part.name: values(hints[part.name]) for part in dataclasses.fields(kind)}
        return st.builds(kind, **parts)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    raise AssertionError(f"no way to draw {kind}")


SPECIAL: dict[Any, st.SearchStrategy[Any]] = {
    Window: windows(),
    Forecast: forecasts(),
    Topology: topologies(),
    str: NAMES,
    int: st.integers(),
    bool: st.booleans(),
    float: FINITE,
    NoneType: st.none(),
}


def test_the_types_that_flow_are_all_found() -> None:
    assert {"Window", "Plan", "PlanRecord", "ClusterState", "JobState"} <= {
        kind.__name__ for kind in KINDS
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_value_written_as_json_reads_back_the_same(kind: Any, data: st.DataObject) -> None:
    value = data.draw(values(kind))

    written = json.dumps(to_json(value), allow_nan=False)
    again = from_json(kind, json.loads(written))

    assert to_json(again) == to_json(value)
    if kind.__dataclass_params__.eq:  # the others hold arrays, which compare by element
        assert again == value


@given(READINGS)
def test_a_reading_is_null_when_missing_and_text_when_infinite(reading: float) -> None:
    value = np.array([[reading]])
    window = Window("gpu_power_watts", (Target(node="n1"),), np.array([0.0]), value)

    again = from_json(Window, json.loads(json.dumps(to_json(window), allow_nan=False)))

    np.testing.assert_array_equal(again.value, value)


EVENT = Event(Target(node="n1"), 5.0, "xid", "79", "fell off the bus", Severity.CRITICAL)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tme_s": 1.0}, "no field 'tme_s'"),
        ({"severity": "bad"}, "'bad'"),
        ({"time_s": "noon"}, "'noon'"),
        ({"time_s": True}, "True"),
        ({"text": 3}, "3"),
        ({"target": ["n1"]}, "Target must be an object"),
        ({"target": {"nod": "n1"}}, "no field 'nod'"),
    ],
)
def test_json_that_does_not_fit_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match="reading Event from JSON") as refused:
        from_json(Event, to_json(EVENT) | change)

    assert named in str(refused.value)


@pytest.mark.parametrize("missing", ["target", "time_s", "severity"])
def test_a_missing_field_is_named(missing: str) -> None:
    data = {key: value for key, value in to_json(EVENT).items() if key != missing}

    with pytest.raises(InputError, match=f"lacks the field '{missing}'"):
        from_json(Event, data)


@pytest.mark.parametrize("data", [None, 3, "text", [], [1, 2]])
def test_what_is_no_object_is_no_event(data: object) -> None:
    with pytest.raises(InputError, match="must be an object"):
        from_json(Event, data)


def test_true_stays_true_and_one_stays_one_in_parameters() -> None:
    action = Action("k", "cordon", Target(node="n1"), (("a", True), ("b", 1), ("c", 1.5)), 60.0, "")

    again = from_json(Action, json.loads(json.dumps(to_json(action))))

    assert [(name, type(value)) for name, value in again.params] == [
        ("a", bool),
        ("b", int),
        ("c", float),
    ]


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="no JSON form for object"):
        to_json(object())
