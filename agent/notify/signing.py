"""Signatures of messages, in and out: Standard Webhooks, version 1, symmetric keys.

The signed text is ``id.timestamp.body``; its HMAC-SHA256 travels as ``v1,<base64>``. Several
signatures stand side by side, a space between, while a secret is being changed for another.
"""

import base64
import binascii
import hashlib
import hmac
import math
from collections.abc import Mapping, Sequence

from core.errors import ConfigError, InputError

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"

TOLERANCE_S = 300.0  # Standard Webhooks: a receiver refuses what is older or newer than 5 minutes
SECRET_PREFIX = "whsec_"  # noqa: S105 - the marker of a secret, not one
MIN_KEY_BYTES = 24  # Standard Webhooks: a key has 24 to 64 bytes
MAX_SIGNATURES = 16  # more than any rotation needs; bounds the work an unsigned sender can ask for


class SignatureRefused(InputError):
    """A message is unsigned, signed by someone else, changed on its way, or sent again later."""

    code = "signature_refused"


def read_secrets(text: str) -> tuple[str, ...]:
    """Return the secrets in a file's text, one a line, newest first; ConfigError if one is unfit.

    Blank lines and lines that start with ``#`` are passed over. No message shows a secret.
    """
    lines = (line.strip() for line in text.splitlines())
    secrets = tuple(line for line in lines if line and not line.startswith("#"))
    for secret in secrets:
        _key(secret)
    return secrets


def sign(body: bytes, *, message_id: str, now_s: float, secrets: Sequence[str]) -> dict[str, str]:
    """Return the three headers that let a receiver check ``body``, one signature per secret."""
    timestamp = str(int(now_s))
    signatures = (_signature(_key(s), message_id, timestamp, body) for s in secrets)
    return {
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: timestamp,
        SIGNATURE_HEADER: " ".join(f"v1,{signature}" for signature in signatures),
    }


def verify(
    headers: Mapping[str, str],
    body: bytes,
    *,
    secrets: Sequence[str],
    now_s: float,
    tolerance_s: float = TOLERANCE_S,
) -> str:
    """Return the message's id when any secret signed this body within the tolerance.

    headers: names in lower case
    SignatureRefused says which header is missing or what does not fit.
    """
    message_id, timestamp, given = (
        _required(headers, name) for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER)
    )
    _check_age(timestamp, now_s, tolerance_s)
    signatures = [text[3:] for text in given.split()[:MAX_SIGNATURES] if text.startswith("v1,")]
    for secret in secrets:
        expected = _signature(_key(secret), message_id, timestamp, body)
        if any(
            hmac.compare_digest(expected.encode(), got.encode(errors="replace"))
            for got in signatures
        ):
            return message_id
    raise SignatureRefused(
        f"checking {SIGNATURE_HEADER} of message {message_id!r:.80}: none of {len(signatures)} v1 "
        f"signatures fits any of {len(secrets)} secrets; the sender needs the same secret, and "
        "nothing on the way may change the body"
    )


def _required(headers: Mapping[str, str], name: str) -> str:
    if value := headers.get(name, "").strip():
        return value
    raise SignatureRefused(
        f"checking the signature: header {name} is missing; a signed message carries {ID_HEADER}, "
        f"{TIMESTAMP_HEADER} and {SIGNATURE_HEADER}"
    )


def _check_age(timestamp: str, now_s: float, tolerance_s: float) -> None:
    try:
        age_s = now_s - float(timestamp)
    except ValueError:
        age_s = math.nan
    if not math.isfinite(age_s):
        raise SignatureRefused(
            f"reading {TIMESTAMP_HEADER}: found {timestamp!r:.40}; it must be seconds since the "
            "epoch"
        )
    if abs(age_s) > tolerance_s:
        side = "old" if age_s > 0 else "in the future"
        raise SignatureRefused(
            f"checking {TIMESTAMP_HEADER}: the message is {abs(age_s):.0f} s {side}, at most "
            f"{tolerance_s:.0f} s are accepted; it was sent before, or a clock is wrong"
        )


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    signed = f"{message_id}.{timestamp}.".encode(errors="surrogatepass") + body
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _key(secret: str) -> bytes:
    """Return the key a secret stands for; padding at the end of its base64 may be left off."""
    encoded = secret.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or len(key) < MIN_KEY_BYTES:
        raise ConfigError(
            f"reading a webhook secret: found {len(secret)} characters that are not "
            f"{SECRET_PREFIX} and the base64 of at least {MIN_KEY_BYTES} bytes; make one with: "
            f'echo "{SECRET_PREFIX}$(openssl rand -base64 32)"'
        )
    return key
