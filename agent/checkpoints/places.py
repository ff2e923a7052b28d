"""A second place for checkpoints: a folder, or any store that fsspec reaches by a URL.

What is copied lies below ``.gpumedic-partial`` until it is all there, then it is moved to its name,
and its manifest is written last: a copy without its manifest is none. Where moving is one step of
the file system, as in a folder, the copy appears whole; in an object store it is copied within.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from agent.checkpoints.manifest import from_text
from agent.launch.jobside.gpumedic_job.manifest import OF_FOLDER, SUFFIX, Manifest, as_text
from core.errors import ActionFailed, InputError

PARTIAL = ".gpumedic-partial"


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
        protocols = self._files.protocol
        names = (protocols,) if isinstance(protocols, str) else tuple(protocols)
        return Path(self._root or "/") if "file" in names else None

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
            self._files.makedirs(full.rpartition("/")[0], exist_ok=True)
            return self._files.open(full, "ab" if append else "wb")  # type: ignore[no-any-return]
        except Exception as error:
            raise self._failed(f"Writing {path}", error) from error

    def write(self, file: IO[bytes], data: bytes) -> None:
        """Write to an open file."""
        try:
            file.write(data)
        except Exception as error:
            raise self._failed("Writing", error) from error

    def close(self, file: IO[bytes]) -> None:
        """Close a file that was written, with all of it on its disk."""
        try:
            file.flush()
            self._sync(file)
            file.close()
        except Exception as error:
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
            self._files.makedirs(self._at(to).rpartition("/")[0], exist_ok=True)
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

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root or "/"

    def _failed(self, what: str, error: Exception) -> ActionFailed:
        found = f"{type(error).__name__}: {error}".replace("\n", " ")
        return ActionFailed(
            f"{what} at {self.url}: {found}. See that the place is there, has room and lets this "
            "user write; what was copied so far is kept and gone on with."
        )


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
        package = str(error).removeprefix("Install ").partition(" ")[0]
        raise InputError(
            f"Opening the place {url}: it needs a Python package that is not installed here "
            f"({error}). pip install {package}, or name a folder."
        ) from None
    except (ValueError, OSError) as error:
        raise InputError(
            f"Opening the place {url}: {error}. Name a folder, or an address that fsspec knows, "
            "such as s3://bucket/folder."
        ) from None
    return files, root
