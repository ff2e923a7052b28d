"""The policy that was adopted here: kept in the state folder, with what it was adopted on.

``policy/`` holds a folder for each policy that was ever adopted, named by the digest of its file,
and one small file that says which of them acts. That file alone is replaced, at once, so that a
policy and its evaluation are never of different ones, and what acted before is still there.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.shelf import write_json
from core.codec import from_json, to_json
from core.errors import ActionRefused, InputError
from remediation.evaluation.gate import Verdict
from remediation.policies.trained import Trained, load

FORMAT = 1
MOST_KEPT = 10  # adopted before; older ones go
GATE = "policy_evaluation"
_FOLDER, _POINTER, _POLICY, _RECORD = "policy", "adopted.json", "policy.npz", "evaluation.json"


@dataclass(frozen=True, slots=True)
class Adopted:
    """What a policy was adopted on.

    digest: SHA-256 of the policy's file; at_s: when, seconds since the epoch; version: gpumedic's
    command: that evaluated it, with its seeds
    """

    format: int
    digest: str
    at_s: float
    by: str
    version: str
    command: str
    seeds: tuple[int, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class _Pointer:
    """Which policy acts, "" for none, and which did before, the last one last."""

    current: str = ""
    before: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Adoption:
    """The policies that were adopted, in a state folder."""

    state_dir: Path

    @property
    def folder(self) -> Path:
        """Return where they are kept."""
        return self.state_dir / _FOLDER

    def current(self) -> Adopted | None:
        """Return what acts, or None; InputError where its record cannot be read."""
        return self._record(digest) if (digest := self._pointer().current) else None

    def before(self) -> tuple[Adopted, ...]:
        """Return what acted before, the newest first."""
        return tuple(self._record(digest) for digest in reversed(self._pointer().before))

    def policy(self) -> Trained | None:
        """Return the policy that acts, or None; InputError where its file is not what it was."""
        adopted = self.current()
        if adopted is None:
            return None
        path = self.folder / adopted.digest / _POLICY
        if (found := digest_of(path)) != adopted.digest:
            raise InputError(
                f"reading the adopted policy {path}: its digest is {found[:12]}, and what was "
                f"evaluated had {adopted.digest[:12]}. Promote the evaluated file again, or "
                "`gpumedic policy rollback`."
            )
        return load(path)

    def adopt(self, policy: Path, adopted: Adopted) -> None:
        """Keep a policy with its evaluation and let it act from the daemon's next (re)load on.

        ActionRefused: its verdict says that it may not, or is of another file
        """
        if not adopted.verdict.passed:
            raise ActionRefused(
                GATE,
                f"Not adopting {policy}: {' '.join(adopted.verdict.refused)}",
                "What acts now stays.",
            )
        if digest_of(policy) != adopted.digest:
            raise ActionRefused(
                GATE,
                f"Not adopting {policy}: it is not the file that was evaluated.",
                "Evaluate it again.",
            )
        self._keep(policy, adopted)
        pointer = self._pointer()
        if pointer.current == adopted.digest:
            return  # it acts already, on a newer evaluation
        before = tuple(each for each in (*pointer.before, pointer.current) if each)
        self._point(_Pointer(adopted.digest, before[-MOST_KEPT:]))
        self._tidy()

    def roll_back(self) -> Adopted | None:
        """Let the policy act that did before; None: the runbook, as before the first was adopted.

        ActionRefused: none was adopted, so there is nothing to take back
        """
        pointer = self._pointer()
        if not pointer.current:
            raise ActionRefused(
                GATE,
                f"Nothing to roll back: no policy is adopted in {self.folder}.",
                "The runbook acts already.",
            )
        self._point(_Pointer(*_last(pointer.before)))
        return self.current()

    def _pointer(self) -> _Pointer:
        path = self.folder / _POINTER
        try:
            return from_json(_Pointer, json.loads(path.read_text()))
        except FileNotFoundError:
            return _Pointer()
        except (OSError, ValueError) as error:
            raise InputError(
                f"reading which policy is adopted, {path}: {error}. Promote a policy again, or "
                "delete the file to have the runbook act."
            ) from error

    def _record(self, digest: str) -> Adopted:
        path = self.folder / digest / _RECORD
        try:
            return _of_this_format(path, json.loads(path.read_text()))
        except (OSError, ValueError) as error:
            raise InputError(
                f"reading what a policy was adopted on, {path}: {error}. Promote the policy again, "
                "or `gpumedic policy rollback`."
            ) from error

    def _keep(self, policy: Path, adopted: Adopted) -> None:
        """Write the policy and its record; a half-written one has no record and is no policy."""
        own = self.folder / adopted.digest
        own.mkdir(parents=True, exist_ok=True)
        part = own / f"{_POLICY}.new"
        shutil.copyfile(policy, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(own / _POLICY)
        write_json(own / _RECORD, to_json(adopted), sync=True)

    def _point(self, pointer: _Pointer) -> None:
        write_json(self.folder / _POINTER, to_json(pointer), sync=True)

    def _tidy(self) -> None:
        pointer = self._pointer()
        kept = {pointer.current, *pointer.before}
        for own in self.folder.iterdir():
            if own.is_dir() and own.name not in kept:
                shutil.rmtree(own)


def digest_of(policy: Path) -> str:
    """Return the SHA-256 of a policy's file; InputError where it cannot be read."""
    try:
        return hashlib.sha256(policy.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(
            f"reading policy {policy}: {error.strerror}. Name a file that `gpumedic train` wrote."
        ) from error


def _of_this_format(path: Path, data: object) -> Adopted:
    if isinstance(data, dict) and data.get("format") != FORMAT:
        raise InputError(f"{path}: format {data.get('format')}, this version reads {FORMAT}")
    return from_json(Adopted, data)


def _last(before: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    return (before[-1], tuple(before[:-1])) if before else ("", ())
