"""Addresses to listen on."""

import re

_PORTS = range(65536)


def host_and_port(text: str) -> tuple[str, int]:
    """Split "127.0.0.1:8642", "[::1]:8642" or ":8642" (every address) into host and port.

    >>> host_and_port("[::1]:8642")
    ('::1', 8642)
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    number = int(port) if re.fullmatch(r"\d{1,5}", port, re.ASCII) else -1
    if not colon or number not in _PORTS or (":" in host) is not bracketed or " " in host:
        raise ValueError(
            'is not an address to listen on: write it like "127.0.0.1:8642", "[::1]:8642", or '
            '":8642" for every address of this machine'
        )
    return host or "0.0.0.0", number  # noqa: S104
