"""A second place for checkpoints: a folder, or any store that fsspec reaches by a URL.

What is copied lies below ``.gpumedic-partial`` until it is all there. Then its manifest is written:
a copy without one is none. With it the copy can be gone back to before it has its name, and also
where giving it its name, in the place of another, was interrupted.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from agent.checkpoints.manifest import from_text
from agent.launch.jobside.gpumedic_job.manifest import (
    MAX_BYTES,
    OF_FOLDER,
    SUFFIX,
    Manifest,
    as_text,
    sync_one,
)
from core.errors import ActionFailed, InputError

PARTIAL = ".gpumedic-partial"
# Stores whose addresses begin with a bucket, and in which there are no folders to make.
_WITH_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})
# What is added to an object goes into a new one, whose first part is the old: UploadPartCopy of
# Amazon S3 takes no larger one.
_MOST_ADDED_TO = 5 * 2**30
# Names that lead out of the place, or to files of ours that are no checkpoint.
_NO_PARTS = frozenset({"", ".", ".."})
_OURS = ".gpumedic"


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy with its manifest.

    folder:  whether it is one, and not a single file
    missing: files that the manifest has and the place has not, or not at their length; a copy with
             any is none to go back to
    pending: it is not at its name yet, but among what is being copied
    """

    name: str
    manifest: Manifest
    folder: bool
    missing: tuple[str, ...] = ()
    pending: bool = False

    @property
    def whole(self) -> bool:
        """Say whether all its files are there."""
        return not self.missing

    @property
    def at(self) -> str:
        """Return where its file or folder lies in its place."""
        return f"{PARTIAL}/{self.name}" if self.pending else self.name

    @property
    def manifest_at(self) -> str:
        """Return where its manifest lies."""
        return f"{self.at}/{OF_FOLDER}" if self.folder else f"{self.at}{SUFFIX}"

    def path(self, file: str) -> str:
        """Return where a file of it lies."""
        return f"{self.at}/{file}" if self.folder else self.at


class Place:
    """Where copies are kept; every method may block and raises ActionFailed where the place fails.

    url: a folder, or an address such as s3://bucket/job; keys and passwords come from the store's
         own environment or files and never from the address
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") or "/"
        self._files, root = _opened(url)
        self._root = str(root).rstrip("/")

    @property
    def local(self) -> Path | None:
        """Return the folder, where it is one of this machine."""
        return Path(self._root or "/") if "file" in self._protocols else None

    def see_folder(self) -> None:
        """Refuse a place without a folder, or bucket, that can be read; InputError says so."""
        local = self.local
        if local is None:
            self.see_bucket()
        elif not local.is_dir():
            found = "it is a file" if local.exists() else "there is no such folder"
            raise self._not_there(found, "Name the folder that the copies went to.")
        elif not os.access(local, os.R_OK | os.X_OK):
            raise self._not_there("this user may not read it", "Ask as one who may.")

    def see_bucket(self) -> None:
        """Refuse a store whose bucket is not there: a slip of the pen must not make one."""
        bucket = self._root.partition("/")[0]
        if self._has_bucket and not self._sizes("") and not self._files.exists(bucket):
            raise self._not_there(
                f"there is no bucket {bucket}, or the keys do not open it",
                "Make it first, or name another.",
            )

    def copies(self) -> tuple[Copy, ...]:
        """Return the copies that have a manifest, the newest first; damaged manifests are none.

        One that is whole and pending stands for what has its name: it is about to have it.
        """
        sizes = self._sizes("")
        found: dict[str, Copy] = {}
        for path in sizes:
            copy = self._copy_of(path, sizes)
            if copy is None or (copy.pending and not copy.whole):
                continue
            if copy.pending or copy.name not in found:
                found[copy.name] = copy
        return _newest_first(found.values())

    def _copy_of(self, path: str, sizes: Mapping[str, int]) -> Copy | None:
        """Return the copy whose manifest a file is, None where it is none."""
        pending = path.startswith(f"{PARTIAL}/")
        name = _checkpoint_of(path.removeprefix(f"{PARTIAL}/"))
        if name is None or not 0 < sizes[path] <= MAX_BYTES:
            return None
        try:
            manifest = from_text(self.read(path, 0, sizes[path]), where=f"{self.url}/{path}")
        except InputError:
            return None
        copy = Copy(name, manifest, folder=path.endswith(f"/{OF_FOLDER}"), pending=pending)
        missing = (
            each.path for each in manifest.files if sizes.get(copy.path(each.path)) != each.size
        )
        return replace(copy, missing=tuple(missing))

    def partial(self) -> Mapping[str, int]:
        """Return the files of copies that are not whole yet, with their sizes."""
        return self._sizes(PARTIAL)

    def size(self, path: str) -> int | None:
        """Return a file's size, None where it is not there."""
        try:
            found = self._files.info(self._at(path))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failed(f"Looking at {path}", error) from error
        return int(found["size"]) if found.get("type") == "file" else None

    def read(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """Return a file's bytes."""
        try:
            return bytes(self._files.cat_file(self._at(path), start=start, end=end))
        except Exception as error:
            raise self._failed(f"Reading {path}", error) from error

    def can_add_to(self, size: int) -> bool:
        """Say whether a file of so many bytes can be opened at its end."""
        return not self._has_bucket or size <= _MOST_ADDED_TO

    def open(self, path: str, *, append: bool = False) -> IO[bytes]:
        """Open a file for writing, at its end or from the beginning; folders are made."""
        full = self._at(path)
        try:
            self._make_folder(full)
            return self._files.open(full, "ab" if append else "wb")  # type: ignore[no-any-return]
        except Exception as error:
            raise self._failed(f"Writing {path}", error) from error

    def write(self, file: IO[bytes], data: bytes) -> None:
        """Write to an open file; where that fails it is closed."""
        try:
            file.write(data)
        except Exception as error:
            _leave(file)
            raise self._failed("Writing", error) from error

    def close(self, file: IO[bytes]) -> None:
        """Close a file that was written, with all of it on its disk, once."""
        if file.closed:
            return
        try:
            file.flush()
            self._sync(file)
            file.close()
        except Exception as error:
            _leave(file)
            raise self._failed("Writing", error) from error

    def _sync(self, file: IO[bytes]) -> None:
        """Have the disk take a file; a store without one takes it when it is closed."""
        if self.local is not None:
            os.fsync(file.fileno())

    def settle(self, copy: Copy) -> None:
        """Give a copy that is whole and pending its name, in the place of what has it now.

        A folder of this machine is renamed in one step, if nothing is in its way. Else the copy
        can be gone back to where it is until it is whole at its name: in an object store, which
        has no renaming, each file is copied within the store.
        """
        named = replace(copy, pending=False)
        for was_folder in (True, False):
            self.drop(replace(named, folder=was_folder))
        try:
            self._make_folder(self._at(named.at))
            if self.local is not None and not (self.local / named.at).exists() and copy.folder:
                self._files.mv(self._at(copy.at), self._at(named.at))
                return
            self.write_manifest(named)
            for each in copy.manifest.files:
                self._bring(copy.path(each.path), named.path(each.path), rename=not copy.folder)
        except ActionFailed:
            raise
        except Exception as error:
            raise self._failed(f"Moving {copy.at} to {named.at}", error) from error
        self.drop(copy)

    def _bring(self, path: str, to: str, *, rename: bool) -> None:
        self._make_folder(self._at(to))
        if rename and self.local is not None:
            self._files.mv(self._at(path), self._at(to))
        else:
            self._files.cp_file(self._at(path), self._at(to))
            if self.local is not None:
                sync_one(self.local / to)

    def remove(self, path: str) -> None:
        """Remove a file or folder; one that is not there is removed already."""
        try:
            self._files.rm(self._at(path), recursive=True)
        except (FileNotFoundError, NotADirectoryError):
            return
        except Exception as error:
            raise self._failed(f"Removing {path}", error) from error

    def write_manifest(self, copy: Copy) -> None:
        """Write a copy's manifest: with it the copy is one, where all its files are there."""
        file = self.open(copy.manifest_at)
        try:
            self.write(file, as_text(copy.manifest).encode())
        finally:
            self.close(file)

    def drop(self, copy: Copy) -> None:
        """Remove a copy, its manifest first: half removed it is none. Copies below it stay."""
        self.remove(copy.manifest_at)
        there = self._sizes(copy.at)
        before = copy.at.removesuffix(copy.name)
        names = {_checkpoint_of(path.removeprefix(before)) for path in there} - {None, copy.name}
        others = [f"{before}{name}" for name in names]
        for path in there if others else (copy.at,):
            if not any(_is_of(path, other) for other in others):
                self.remove(path)

    def _sizes(self, below: str) -> dict[str, int]:
        try:
            self._files.invalidate_cache()
            found = self._files.find(self._at(below), detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:
            raise self._failed("Listing", error) from error
        start = len(self._root) + 1
        # s3fs shows a folder whose first file comes between its two requests.
        files = ((path, info) for path, info in found.items() if info["type"] == "file")
        return {str(path)[start:]: int(info["size"]) for path, info in files}

    @property
    def _protocols(self) -> tuple[str, ...]:
        protocols = self._files.protocol
        return (protocols,) if isinstance(protocols, str) else tuple(protocols)

    @property
    def _has_bucket(self) -> bool:
        return not _WITH_BUCKETS.isdisjoint(self._protocols)

    def _make_folder(self, full: str) -> None:
        if not self._has_bucket:
            self._files.makedirs(full.rpartition("/")[0], exist_ok=True)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root or "/"

    def _failed(self, what: str, error: Exception) -> ActionFailed:
        found = f"{type(error).__name__}: {error}".replace("\n", " ")
        return ActionFailed(
            f"{what} at {self.url}: {found.rstrip('.')}. See that the place is there, has room and "
            "lets this user in (a store takes its keys from its own environment or files); what "
            "was copied so far is kept and gone on with."
        )

    def _not_there(self, found: str, remedy: str) -> InputError:
        return InputError(f"Looking for the place {self.url}: {found}. {remedy}")


def _leave(file: IO[bytes]) -> None:
    """Give up a file that could not be written.

    A file of fsspec that sends parts writes what it still holds when it is closed or forgotten: at
    the end of the process, where that never returns, or much later, over what was sent since.
    """
    from fsspec.spec import AbstractBufferedFile  # noqa: PLC0415 - not in the base install

    if isinstance(file, AbstractBufferedFile):
        file.closed = True
    else:
        with suppress(OSError):
            file.close()


def _checkpoint_of(path: str) -> str | None:
    """Return the name of the checkpoint whose manifest a path is, None where it is none.

    Whoever writes to a store chooses its names: one that leads elsewhere is none.
    """
    if path.endswith(f"/{OF_FOLDER}"):
        name = path.removesuffix(f"/{OF_FOLDER}")
    elif path.endswith(SUFFIX):
        name = path.removesuffix(SUFFIX)
    else:
        return None
    parts = name.split("/")
    elsewhere = not _NO_PARTS.isdisjoint(parts) or "\0" in name
    return None if elsewhere or any(part.startswith(_OURS) for part in parts) else name


def _is_of(path: str, checkpoint: str) -> bool:
    """Say whether a file is a checkpoint, below it, or its manifest."""
    return path in (checkpoint, f"{checkpoint}{SUFFIX}") or path.startswith(f"{checkpoint}/")


def _newest_first(copies: Iterable[Copy]) -> tuple[Copy, ...]:
    """Sort by fence token and step; where not all have a token, by when they were saved.

    Without tokens nothing else says that a job was rolled back and its newest state has a lower
    step. A copy's manifest keeps the time, which moves where files are copied.
    """
    found = list(copies)
    if all(each.manifest.fence is not None for each in found):
        return tuple(sorted(found, key=lambda each: each.manifest.age_key, reverse=True))
    return tuple(sorted(found, key=lambda each: each.manifest.saved_s, reverse=True))


def _opened(url: str) -> tuple[Any, str]:
    """Return the file system and the folder in it; InputError says what would work."""
    if "://" in url and "@" in urlsplit(url).netloc:
        raise InputError(
            f"Opening the place {url.partition('://')[0]}://...: its address holds a user or "
            "password, and it is shown and logged. Give the store its keys by its own "
            "environment or files, and write the address without them."
        )
    try:
        import fsspec  # noqa: PLC0415 - not in the base install
    except ModuleNotFoundError:
        raise InputError(
            f"Opening the place {url}: it needs the Python package fsspec, which is not installed "
            "here. pip install 'gpumedic[controller]'."
        ) from None
    try:
        files, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise InputError(
            f"Opening the place {url}: it needs a Python package that is not installed here. Have "
            f"`{sys.executable} -m pip` install what fsspec names ({error}), or name a folder."
        ) from None
    except (ValueError, OSError) as error:
        raise InputError(
            f"Opening the place {url}: {error}. Name a folder, or an address that fsspec knows, "
            "such as s3://bucket/folder."
        ) from None
    if not root:
        raise InputError(
            f"Opening the place {url}: it names no bucket. Write one behind it, and a folder, "
            "such as s3://bucket/folder."
        )
    return files, root
