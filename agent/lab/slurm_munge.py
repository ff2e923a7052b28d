"""Authentication as sites have it: a munged of the cluster's own, in the cluster's folder."""

import secrets
from collections.abc import Sequence
from pathlib import Path

PROGRAM = "munged"
KEY_BYTES = 128


def socket_in(folder: Path) -> Path:
    """Return the socket by which Slurm's programs and daemons reach it."""
    return folder / "munge" / "socket"


def prepared(folder: Path) -> Sequence[str]:
    """Make a key that only this user reads; return what starts a munged with it."""
    there = folder / "munge"
    there.mkdir(mode=0o755, exist_ok=True)
    key = there / "key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(KEY_BYTES))
    files = {"key-file": key, "socket": socket_in(folder), "seed-file": there / "seed"}
    files |= {"pid-file": there / "pid"}
    # Forced: the cluster's folder may be closed to others, and none of them is to be let in.
    return (PROGRAM, "--foreground", "--force", *(f"--{name}={at}" for name, at in files.items()))
