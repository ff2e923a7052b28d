"""The catalogue: every checkpoint below a folder with its state, the newest first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from agent.checkpoints import manifest as manifests
from agent.checkpoints.discovery import GONE, Walk, own_files
from agent.checkpoints.found import (
    Checked,
    Checkpoint,
    Format,
    Listing,
    Seen,
    State,
    Trouble,
    newest_first,
    said,
    worst,
)
from agent.checkpoints.looking import look_at
from agent.checkpoints.names import number_in_name, step_in_name
from agent.checkpoints.writers import writers_below
from agent.launch.jobside.gpumedic_job.manifest import Manifest, folder_of, manifest_path
from core.errors import InputError

# A save on another machine cannot be told from a torn one, except by its being so young.
YOUNG_S = 120.0
_NO_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class Look:
    """How to look.

    read_bytes: contents are read, the newest first, while they fit into so many bytes in all; None
                reads everything, 0 nothing but headers
    names:      only these, by name; () for all
    threads:    that hash at once
    """

    read_bytes: int | None = None
    names: tuple[str, ...] = ()
    threads: int = 1


@dataclass(slots=True)
class Catalogue:
    """Looks at the checkpoints below a folder.

    ahead: hears before each piece of work what it is, how many files and how many bytes
    """

    root: Path
    how: Look
    now_s: float
    ahead: Callable[[str, int, int], object] = lambda what, files, size_bytes: None
    _writers: Mapping[str, int] | None = field(default=None)

    def listing(self) -> Listing:
        """Look; InputError where the folder is not there or cannot be read."""
        walk = self._walk(self._only())
        try:
            paths = list(walk.candidates())
        except OSError as error:
            raise InputError(
                f"Looking for checkpoints in {self.root}: {error.strerror}. Name a folder or file "
                f"that is there and that this user may read{_near(self.root)}."
            ) from None
        if missing := set(self.how.names) - {self._name(path) for path in paths}:
            raise InputError(_unknown(self.root, missing, self._all_names()))
        left = _NO_LIMIT if self.how.read_bytes is None else self.how.read_bytes
        found = []
        headers = [self._looked(path, contents=False) for path in paths]
        # A job drops its own old ones: what went while we looked is not there.
        for each in newest_first(each for each in headers if not _gone(Path(each.path))):
            if each.valid and each.size_bytes <= left:
                left -= each.size_bytes
                found.append(self._looked(Path(each.path), contents=True))
            else:
                found.append(each)
        return Listing(str(self.root), self.now_s, newest_first(found), walk.passed_over)

    def _walk(self, only: frozenset[Path] | None) -> Walk:
        return Walk(self.root, only, lambda what, files: self.ahead(what, files, 0))

    def _only(self) -> frozenset[Path] | None:
        """Return the paths that have the names which are looked for; None: all are."""
        names = self.how.names
        itself = [self.root] if self.root.name in names else []
        return frozenset([*(self.root / name for name in names), *itself]) if names else None

    def _name(self, path: Path) -> str:
        return path.name if path == self.root else str(path.relative_to(self.root))

    def _all_names(self) -> list[str]:
        return [self._name(path) for path in self._walk(None).candidates()]

    def _looked(self, path: Path, *, contents: bool) -> Checkpoint:
        name = self._name(path)
        names: Sequence[str] = ()
        trouble: Sequence[Trouble] = ()
        size, newest_s, sealed = 0, _changed_s(path, self.now_s), None
        try:
            self.ahead(name, 0, 0)
            names = own_files(path)
            self.ahead(name, len(names), 0)
            size, newest_s, trouble = _stats(folder_of(path), names, newest_s)
            self.ahead(name, len(names), size if contents else 0)
            seen = look_at(path, names, contents=False)
            sealed, seen = self._held(path, names, seen, size=size, contents=contents)
        except OSError as error:
            seen = Seen(Format.UNKNOWN, (_unreadable(path, error),))
        except MemoryError:
            text = "its index asks for more memory than a reader may have"
            seen = Seen(Format.UNKNOWN, (Trouble(State.UNREADABLE, path.name, text),))
        troubles = tuple(_bare(each, path) for each in (*seen.troubles, *trouble))
        state, reason = self._state(path, names, troubles, seen)
        age_s = self.now_s - newest_s
        young = state in (State.TORN, State.TRUNCATED) and age_s < YOUNG_S
        notes = (*seen.notes, *([_young(age_s)] if young else ()))
        return Checkpoint(
            name=name,
            path=str(path),
            format=seen.format,
            state=state,
            reason=reason,
            step=_step(path, seen, sealed),
            saved_s=sealed.saved_s if sealed else newest_s,
            size_bytes=size,
            files=len(names),
            checked=seen.checked,
            notes=notes,
            world=sealed.world if sealed else "",
            fence=sealed.fence if sealed else None,
            save_s=sealed.save_s if sealed else None,
            took_s=sealed.took_s if sealed else None,
            sealed=sealed is not None,
        )

    def _held(
        self, path: Path, names: Sequence[str], seen: Seen, *, size: int, contents: bool
    ) -> tuple[Manifest | None, Seen]:
        """Hold a checkpoint against its manifest, or its contents against their own checksums."""
        try:
            sealed = manifests.read(path)
        except InputError as error:
            seen = replace(seen, notes=(*seen.notes, str(error)))
            sealed = None
        if sealed is None:
            return None, _read_too(path, names, seen) if contents else seen
        folder = folder_of(path)
        troubles = manifests.misfits(sealed, folder)
        if contents and not troubles and not seen.troubles:
            troubles = manifests.flips(sealed, folder, threads=self.how.threads)
            seen = replace(seen, checked=Checked.CONTENTS)
        if troubles and not seen.troubles and _overwritten(path, sealed):
            self.ahead(self._name(path), len(names), size if contents else 0)
            again = look_at(path, names, contents=True) if contents else seen
            enough = Checked.CONTENTS if contents else Checked.HEADERS
            if not again.troubles and again.checked is enough:
                note = f"its manifest is of an earlier save: {said(troubles, most=1)}"
                return None, replace(again, notes=(*again.notes, note))
        return sealed, replace(seen, troubles=(*seen.troubles, *troubles))

    def _state(
        self, path: Path, names: Sequence[str], troubles: Sequence[Trouble], seen: Seen
    ) -> tuple[State, str]:
        if not troubles:
            return State.COMPLETE, _FITS[seen.checked]
        folder = folder_of(path).resolve() if names else path
        writers = self._open_for_writing() if names else {}
        for name in names:
            if (pid := writers.get(str(folder / name))) is not None:
                return State.BEING_WRITTEN, f"process {pid} has {name} open for writing"
        return worst(troubles), said(troubles)

    def _open_for_writing(self) -> Mapping[str, int]:
        if self._writers is None:
            self._writers = writers_below(folder_of(self.root))
        return self._writers


_FITS = {
    Checked.HEADERS: "headers and sizes fit; the contents were not read",
    Checked.CONTENTS: "every byte fits its checksum",
    Checked.NO_CHECKSUMS: "headers and sizes fit; there are no checksums to hold the contents to",
}


def _bare(trouble: Trouble, path: Path) -> Trouble:
    """Leave out the file's name where it is the checkpoint's own."""
    return replace(trouble, file="") if trouble.file == path.name else trouble


def _young(age_s: float) -> str:
    return (
        f"it was changed {max(0.0, age_s):.0f} s ago: no process here writes it, one on another "
        "machine may"
    )


def _read_too(path: Path, names: Sequence[str], noted: Seen) -> Seen:
    """Read the contents as well; what the headers gave reason to note stays noted."""
    seen = look_at(path, names, contents=True)
    return replace(seen, notes=tuple(dict.fromkeys((*noted.notes, *seen.notes))))


def _gone(path: Path) -> bool:
    """Say whether what was looked at is no longer there; what cannot be read is."""
    try:
        path.stat()
    except OSError as error:
        return error.errno in GONE
    return False


def _stats(
    folder: Path, names: Sequence[str], else_s: float
) -> tuple[int, float, tuple[Trouble, ...]]:
    """Return the size of all files, when the newest was written, and what cannot be looked at.

    else_s: when, where there is no file
    """
    sizes, times, troubles = [], [], []
    for name in names:
        try:
            found = (folder / name).stat()
        except OSError as error:
            troubles.append(_unreadable(folder / name, error))
            continue
        sizes.append(found.st_size)
        times.append(found.st_mtime)
    return sum(sizes), max(times, default=else_s), tuple(troubles)


def _changed_s(path: Path, now_s: float) -> float:
    """Return when a file or folder was changed; now where that cannot be seen."""
    try:
        return path.stat().st_mtime
    except OSError:
        return now_s


def _overwritten(path: Path, sealed: Manifest) -> bool:
    """Say whether every file of a manifest was written after it: another save of that name.

    Every one and not only those that differ: else a save that was killed half-way, or a copy that
    was, would pass for whole with what is left of the earlier one.
    """
    folder = folder_of(path)
    try:
        sealed_s = manifest_path(path).stat().st_mtime
        return all((folder / each.path).stat().st_mtime > sealed_s for each in sealed.files)
    except OSError:
        return False


def _unreadable(path: Path, error: OSError) -> Trouble:
    file = Path(str(error.filename or path)).name
    return Trouble(State.UNREADABLE, file, f"cannot be read: {error.strerror or error}")


def _step(path: Path, seen: Seen, sealed: Manifest | None) -> int | None:
    """Return the step: by its manifest, its trainer's state, its name, its contents, any number."""
    given = (
        sealed.step if sealed else None,
        seen.step if seen.format is Format.HUGGING_FACE else None,
        step_in_name(path.name),
        seen.step,
        step_in_name(path.parent.name),
        number_in_name(path.name),
    )
    return next((step for step in given if step is not None), None)


def _near(root: Path) -> str:
    """Say what is there under a name much like the one that is not."""
    try:
        names = [path.name for path in root.parent.iterdir()]
    except OSError:
        return ""
    near = get_close_matches(root.name, names, n=1)
    return f"; the nearest is {root.parent / near[0]}" if near and near[0] != root.name else ""


def _unknown(root: Path, missing: set[str], there: Sequence[str]) -> str:
    name = min(missing)
    near = get_close_matches(name, there, n=1, cutoff=0.0)
    known = f"the nearest is {near[0]}" if near else "there is none at all"
    return (
        f"Looking for the checkpoint {name} in {root}: it is not there; {known}. "
        "`gpumedic checkpoints list` shows all."
    )
