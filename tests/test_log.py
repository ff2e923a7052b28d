"""A log line is one JSON object, or one line of text, whatever the facts in it are."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.log import plain, set_level, start_logging
from core.clock import ManualClock
from core.target import Target
from core.types import Severity


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Give all logging back as it was: it is one for the whole process."""
    root, level = logging.getLogger().handlers[:], logging.getLogger().level
    configured = structlog.get_config()
    yield
    logging.getLogger().handlers = root
    logging.getLogger().setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.configure(**configured)


def started(form: str = "json", level: str = "info", stream: io.StringIO | None = None) -> Any:
    into = stream or io.StringIO()
    start_logging(level=level, form=form, clock=ManualClock(1_700_000_000.25), stream=into)
    return into


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_the_phrase_the_time_and_the_facts() -> None:
    stream = started()

    structlog.get_logger().info("plan refused", guard="cooldown", target=Target(node="node-9"))

    assert stream.getvalue() == (
        '{"time": "2023-11-14T22:13:20.250Z", "level": "info", "event": "plan refused", '
        '"guard": "cooldown", "target": "node-9"}\n'
    )


def test_facts_that_json_lacks_are_written_plainly() -> None:
    stream = started()

    structlog.get_logger().warning(
        "odd facts",
        missing=float("nan"),
        endless=np.float64("inf"),
        counts=np.arange(3),
        severity=Severity.CRITICAL,
        nested={"a": (1, {Target(rack="r2")})},
        error=ValueError("no"),
    )

    (line,) = lines(stream)
    assert {key: line[key] for key in line if key not in ("time", "level", "event")} == {
        "missing": None,
        "endless": "inf",
        "counts": [0, 1, 2],
        "severity": "critical",
        "nested": {"a": [1, ["rack r2"]]},
        "error": "no",
    }


def test_what_libraries_log_has_the_same_form() -> None:
    stream = started()

    logging.getLogger("uvicorn.error").warning(
        "Port %d\nis taken", 8642, extra={"port": 8642, "color_message": "x"}
    )
    warnings.warn("an old call", stacklevel=1)

    first, second = lines(stream)
    assert first["event"] == second["event"] == "library says"
    assert (first["library"], first["text"], first["port"]) == (
        "uvicorn.error",
        "Port 8642\nis taken",
        8642,
    )
    assert "color_message" not in first
    assert first["time"] == "2023-11-14T22:13:20.250Z"
    assert (second["library"], "an old call" in second["text"]) == ("py.warnings", True)


def test_talkative_libraries_are_heard_only_in_trouble() -> None:
    stream = started(level="debug")

    logging.getLogger("apscheduler.executors.default").info("Running job")
    logging.getLogger("uvicorn.access").info("GET /metrics")
    logging.getLogger("apscheduler.scheduler").error("job raised")

    assert [line["text"] for line in lines(stream)] == ["job raised"]


def test_the_level_changes_while_running() -> None:
    stream = started(level="warning")
    log = structlog.get_logger()

    log.info("too quiet")
    set_level("debug")
    log.debug("loud enough")
    set_level("error")
    log.warning("too quiet again")

    assert [line["event"] for line in lines(stream)] == ["loud enough"]


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_traceback_shows_no_values_of_variables(form: str) -> None:
    stream = started(form)

    def read(token: str) -> None:
        raise ValueError(len(token))

    try:
        read("hunter" + "2" * 3)
    except ValueError:
        structlog.get_logger().exception("cycle failed")

    assert "in read" in stream.getvalue()
    assert "hunter222" not in stream.getvalue()
    assert form == "text" or len(lines(stream)) == 1


def test_a_terminal_gets_text_and_a_pipe_json() -> None:
    terminal, pipe = started("auto", stream=Terminal()), io.StringIO()
    structlog.get_logger().info("cycle done")
    started("auto", stream=pipe)
    structlog.get_logger().info("cycle done")

    assert "{" not in terminal.getvalue()
    assert "cycle done" in terminal.getvalue()
    assert lines(pipe)[0]["event"] == "cycle done"


def test_text_from_outside_cannot_steer_the_terminal() -> None:
    stream = started("text")

    structlog.get_logger().info("webhook refused", name="\x1b[2J\x9b31m\nINFO all is well")
    logging.getLogger("uvicorn.error").warning("\x1b[2J")

    assert not {"\x1b", "\x9b"} & set(stream.getvalue())
    assert len(stream.getvalue().splitlines()) == 2


def test_a_stream_that_is_gone_stops_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    stream = started()
    stream.close()

    structlog.get_logger().info("cycle done")

    assert "ValueError" in capsys.readouterr().err


FACTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(FACTS)
def test_any_fact_has_a_json_form(fact: object) -> None:
    assert json.loads(json.dumps(plain(fact), allow_nan=False)) == plain(fact)
