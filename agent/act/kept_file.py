"""What a scheduler does not keep for us, in one JSON file that is written whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from core.codec import from_json, to_json
from core.errors import InputError

log = structlog.get_logger()

KEEP_S = 30 * 86400.0  # an order is not given again a month later
ORDERS = "orders"


def read(path: Path | None, kinds: Mapping[str, type], *, of: str) -> dict[str, Any]:
    """Return the orders and, by part, the records of each kind; both by name.

    A file that is not there or cannot be read is as if all were new: nothing is returned. of: whose
    they are, for the log
    """
    if path is None or not path.exists():
        return {}
    try:
        found = json.loads(path.read_text())
        parts: dict[str, Any] = {
            part: {str(name): from_json(kind, record) for name, record in found[part].items()}
            for part, kind in kinds.items()
        }
        return {ORDERS: {str(key): float(at_s) for key, at_s in found[ORDERS].items()}, **parts}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError) as error:
        log.warning(f"what was kept of {of} is lost", file=str(path), problem=str(error))
        return {}


def lately(orders: Mapping[str, float], now_s: float) -> dict[str, float]:
    """Return the orders that are not too old to matter."""
    return {key: at_s for key, at_s in orders.items() if at_s > now_s - KEEP_S}


def write(path: Path | None, orders: Mapping[str, float], **parts: Mapping[str, object]) -> None:
    """Write the file; a failure is said and lived with."""
    if path is None:
        return
    plain = {
        part: {name: to_json(record) for name, record in records.items()}
        for part, records in parts.items()
    }
    half = path.with_suffix(".half")
    try:
        with half.open("w") as file:
            json.dump({ORDERS: orders, **plain}, file)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    except OSError as error:
        log.warning("orders are not kept", file=str(path), problem=str(error))
