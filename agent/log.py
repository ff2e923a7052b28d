"""The log: one line an event, a fixed phrase with its facts as keys; JSON, or text on a terminal.

Use it as ``structlog.get_logger().info("plan refused", guard="cooldown")``. What libraries write
through the standard library's logging comes out in the same form.
"""

import logging
import math
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

import numpy as np
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from core.clock import Clock

# These tell of every job and request; the cycle's own line says what came of them.
_TALKATIVE = ("apscheduler", "httpx2", "httpcore2", "uvicorn.access")


def start_logging(*, level: str, form: str, clock: Clock, stream: TextIO) -> None:
    """Send structlog and the standard library's logging to ``stream``.

    level: debug, info, warning or error
    form:  json, text, or auto: text where the stream is a terminal
    """
    text = form == "text" or (form == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _Timestamp(clock),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _name_the_library],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _plain_facts,
                *(_text_form(stream) if text else _json_form()),
            ],
        )
    )
    logging.getLogger().handlers = [handler]
    logging.captureWarnings(capture=True)
    set_level(level)


def set_level(level: str) -> None:
    """Change the level, at the start and on a reload; libraries stay at warning or above."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger().setLevel(number)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


class _Timestamp:
    """Adds the time by our clock, RFC 3339 in UTC to the millisecond."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        at = datetime.fromtimestamp(self._clock.now_s(), UTC)
        event["time"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return event


def _name_the_library(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep a library's own sentence as a fact, so that the event stays a fixed phrase."""
    record: logging.LogRecord = event["_record"]
    event["library"], event["text"] = record.name, event["event"]
    event["event"] = "library says"
    event.pop("color_message", None)  # uvicorn's own text again, for its own handler
    return event


def _plain_facts(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: value if key == "exc_info" else plain(value) for key, value in event.items()}


def plain(value: object) -> Any:
    """Return a fact as JSON has it: NaN is null, an array a list, anything else its own text."""
    match value:
        case None | bool() | int():
            return value
        case float() if math.isfinite(value) or math.isnan(value):
            return None if math.isnan(value) else value
        case np.floating() | np.integer() | np.bool_() | np.ndarray():
            return plain(value.tolist())
        case Mapping():
            return {str(key): plain(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(inner) for inner in value]
        case _:
            return str(value)


def _json_form() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        _order,
        structlog.processors.JSONRenderer(allow_nan=False),
    ]


def _order(
    _logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Put what every line has first."""
    head = {key: event.pop(key) for key in ("time", "level", "event") if key in event}
    return head | dict(event)


def _text_form(stream: TextIO) -> list[Processor]:
    """Print for people; values are quoted, so that nothing from outside can steer a terminal.

    Tracebacks are plain: structlog's own choice prints local variables, secrets among them.
    """
    return [
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(),
            timestamp_key="time",
            repr_native_str=True,
            exception_formatter=structlog.dev.plain_traceback,
        )
    ]
