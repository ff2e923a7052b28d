"""Where a Prometheus is and how much it may ask of us; light enough to import anywhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class PrometheusAccess:
    """How to reach one Prometheus, or what speaks its query API.

    timeout_s: deadline of one query, connecting and reading the last byte included
    metrics: catalogue metrics to ask for; empty: all
    extra_labels: target part (node, gpu, ...) -> the label that names it at this site
    stale_after_s: a series without a scrape for that long is missing; one and a half of
        Prometheus' default scrape interval of 60 s
    max_body_bytes: the longest answer that is read
    parallel: queries at once
    """

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None
    timeout_s: float = 10.0
    metrics: tuple[str, ...] = ()
    extra_labels: Mapping[str, str] = field(default_factory=dict)
    stale_after_s: float = 90.0
    max_body_bytes: int = 64 << 20
    parallel: int = 4

    @property
    def shown_url(self) -> str:
        """Return the address without a name and password it may carry."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@dataclass(frozen=True, slots=True)
class Answer:
    """What Prometheus said: ``date_s`` is its clock by the HTTP header, NaN where it had none."""

    data: Any
    warnings: tuple[str, ...]
    date_s: float


class Failed(Exception):
    """One query came to nothing; ``code`` is stable, the text says what was found and the remedy.

    Codes: unreachable, timeout, cut_off, tls, redirect, unauthorized, token_file, query_refused,
    http_status, not_json, too_large, shape.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text
