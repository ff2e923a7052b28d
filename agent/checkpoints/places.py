"""A second place for checkpoints: a folder, or any store that fsspec reaches by a URL.

What is copied lies below ``.gpumedic-partial`` until it is all there, then it is moved to its name,
and its manifest is written last: a copy without its manifest is none. Where moving is one step of
the file system, as in a folder, the copy appears whole; in an object store it is copied within.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from agent.checkpoints.manifest import from_text
from agent.launch.jobside.gpumedic_job.manifest import OF_FOLDER, SUFFIX, Manifest, as_text
from core.errors import ActionFailed, InputError

PARTIAL = ".gpumedic-partial"
# Stores whose addresses begin with a bucket, and in which there are no folders to make.
_WITH_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy with its manifest.

    folder:  whether it is one, and not a single file
    missing: files that the manifest has and the place has not, or not at their length; a copy with
             any is none to go back to
    """

    name: str
    manifest: Manifest
    folder: bool
    missing: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Say whether all its files are there."""
        return not self.missing

    def path(self, file: str) -> str:
        """Return where a file of it lies in its place."""
        return f"{self.name}/{file}" if self.folder else self.name


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
        """Return the copies that have a manifest, the newest first; damaged manifests are none."""
        sizes = self._sizes("")
        found = []
        for path in sizes:
            name = _checkpoint_of(path)
            if name is None or path.startswith(f"{PARTIAL}/"):
                continue
            try:
                manifest = from_text(self.read(path), where=f"{self.url}/{path}")
            except InputError:
                continue
            copy = Copy(name, manifest, folder=path.endswith(f"/{OF_FOLDER}"))
            missing = (
                each.path for each in manifest.files if sizes.get(copy.path(each.path)) != each.size
            )
            found.append(replace(copy, missing=tuple(missing)))
        return tuple(sorted(found, key=lambda each: each.manifest.age_key, reverse=True))

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

    def move(self, path: str, to: str) -> None:
        """Move a file or folder to a name that nothing has.

        A folder of this machine is renamed in one step. In an object store, which has no folders
        and no renaming, each file is copied within the store, and then the old ones are removed.
        """
        try:
            self._make_folder(self._at(to))
            if self.local is not None:
                self._files.mv(self._at(path), self._at(to))
                return
            for file in self._sizes(path):
                self._files.cp_file(self._at(file), self._at(to + file.removeprefix(path)))
            self._files.rm(self._at(path), recursive=True)
        except ActionFailed:
            raise
        except Exception as error:
            raise self._failed(f"Moving {path} to {to}", error) from error

    def remove(self, path: str) -> None:
        """Remove a file or folder; one that is not there is removed already."""
        try:
            self._files.rm(self._at(path), recursive=True)
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._failed(f"Removing {path}", error) from error

    def write_manifest(self, copy: Copy) -> None:
        """Write a copy's manifest: with it the copy is one."""
        path = _manifest_path(copy)
        half = f"{PARTIAL}/{path}"
        file = self.open(half)
        try:
            self.write(file, as_text(copy.manifest).encode())
        finally:
            self.close(file)
        self.remove(path)
        self.move(half, path)

    def drop(self, copy: Copy) -> None:
        """Remove a copy, its manifest first: half removed it is none."""
        self.remove(_manifest_path(copy))
        self.remove(copy.name)

    def _sizes(self, below: str) -> dict[str, int]:
        try:
            self._files.invalidate_cache()
            found = self._files.find(self._at(below), detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:
            raise self._failed("Listing", error) from error
        start = len(self._root) + 1
        return {str(path)[start:]: int(info["size"]) for path, info in found.items()}

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


def _manifest_path(copy: Copy) -> str:
    name = copy.name
    return f"{name}/{OF_FOLDER}" if copy.folder else f"{name}{SUFFIX}"


def _checkpoint_of(path: str) -> str | None:
    """Return the name of the checkpoint whose manifest a path is, None where it is none."""
    if path.endswith(f"/{OF_FOLDER}"):
        return path.removesuffix(f"/{OF_FOLDER}")
    # A name that is nothing but the ending would stand for the whole place.
    return path.removesuffix(SUFFIX) or None if path.endswith(SUFFIX) else None


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
