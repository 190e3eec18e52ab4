"""Where files are: a local path, or a URI of an object store (``s3://``, ``gs://``) through fsspec.

A ``UPath`` of a local path is a ``pathlib.Path``; the rest of lvseg need not know the difference. Credentials
and endpoints come from the usual environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``~/.aws`` …).
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from upath import UPath

__all__ = [
    "UPath",
    "copy_file",
    "file_sha256",
    "is_local",
    "list_folder",
    "local_copy",
    "location",
    "open_whole",
    "read_file",
    "read_files",
    "remove_file",
    "remove_tree",
    "stamp",
    "write_bytes",
    "write_text",
]

_BLOCK_BYTES = 1 << 20


def location(where: str | Path | UPath) -> UPath:
    """A path or URI as a path object. Listings of object stores are never cached: other nodes write there too."""
    if isinstance(where, UPath):
        return where
    text = str(where)
    return UPath(text, use_listings_cache=False) if "://" in text and not text.startswith("file://") else UPath(text)


def is_local(path: UPath | Path) -> bool:
    """Whether the path is on a mounted file system."""
    return isinstance(path, Path)


def read_file(folder: UPath | Path, name: str) -> bytes:
    """Read a file below a folder. Of a small local one, a path object takes longer to make than the file to read.

    Args:
        folder: the folder.
        name: relative to it, with forward slashes.

    Raises:
        OSError: it cannot be read.
    """
    if not isinstance(folder, Path):
        content: bytes = (folder / name).read_bytes()
        return content
    with open(f"{folder}/{name}", "rb", buffering=0) as file:  # noqa: PTH123
        return file.read()


def file_sha256(path: UPath | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; the file may be larger than memory.

    Raises:
        OSError: it cannot be read.
    """
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            total.update(block)
    return total.hexdigest()


def copy_file(source: UPath | Path, target: UPath | Path) -> str:
    """Copy a file, which may be larger than memory; the target is whole or not there.

    Returns:
        SHA-256 of the bytes that were copied, in hexadecimal.

    Raises:
        OSError: it cannot be read or written.
    """
    total = hashlib.sha256()
    with source.open("rb") as file, open_whole(target) as copy:
        while block := file.read(_BLOCK_BYTES):
            total.update(block)
            copy.write(block)
    return total.hexdigest()


def write_bytes(path: UPath | Path, data: bytes) -> None:
    """Write a file in one step: it is whole or not there. A file of that name is replaced; its folder is made.

    Raises:
        OSError: it cannot be written.
    """
    if not isinstance(path, Path):
        path.write_bytes(data)  # an object store shows an object once it is whole
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextmanager
def open_whole(path: UPath | Path) -> Iterator[BinaryIO]:
    """Open a file too large for memory to be written; it is there, whole, once the block has ended without error.

    Raises:
        OSError: it cannot be written.
    """
    if not isinstance(path, Path):
        with path.fs.transaction, path.fs.open(path.path, "wb") as file:
            yield file
        return
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with aside.open("wb") as file:
            yield file
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def list_folder(folder: UPath | Path) -> dict[str, bool]:
    """Name → whether it is a folder, of everything directly in a folder, sorted; empty where there is none.

    One request to an object store. A link to a folder counts as none, so that who walks on does not go in circles.

    Raises:
        OSError: it cannot be listed.
    """
    try:
        if isinstance(folder, Path):
            return {path.name: path.is_dir() and not path.is_symlink() for path in sorted(folder.iterdir())}
        items = folder.fs.ls(folder.path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    listed = {PurePosixPath(item["name"]): item["type"] == "directory" for item in items}
    itself = PurePosixPath(folder.path)  # some stores keep an empty object for a folder
    return {path.name: is_folder for path, is_folder in sorted(listed.items()) if path != itself}


def read_files(folder: UPath | Path, names: Sequence[str]) -> dict[str, bytes]:
    """Contents of files of a folder by name, fetched together; a file that is gone is left out.

    Raises:
        OSError: one cannot be read.
    """
    if isinstance(folder, Path):
        return {name: content for name in names if (content := _read_if_there(folder / name)) is not None}
    if not names:
        return {}
    found = {}
    for path, content in folder.fs.cat([(folder / name).path for name in names], on_error="return").items():
        if isinstance(content, bytes):
            found[PurePosixPath(path).name] = content
        elif not isinstance(content, FileNotFoundError):
            raise content
    return found


def _read_if_there(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def remove_file(path: UPath | Path) -> None:
    """Remove a file; nothing happens where there is none.

    Raises:
        OSError: it cannot be removed.
    """
    with suppress(FileNotFoundError):
        path.unlink() if isinstance(path, Path) else path.fs.rm_file(path.path)


def remove_tree(folder: UPath | Path) -> None:
    """Remove a folder and all in it; nothing happens where there is none.

    Raises:
        OSError: it cannot be removed.
    """
    if not folder.exists():
        return
    if isinstance(folder, Path):
        shutil.rmtree(folder)
    else:
        folder.fs.rm(folder.path, recursive=True)


def stamp(path: UPath | Path) -> str:
    """Size and time of change, or the store's own mark of the content: differs when the file was changed.

    Raises:
        OSError: it cannot be looked at.
    """
    if isinstance(path, Path):
        status = path.stat()
        return f"{status.st_size} {status.st_mtime_ns}"
    found = path.fs.info(path.path)
    mark = next((found[key] for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified") if found.get(key)), "")
    return f"{found.get('size')} {mark}"


def write_text(path: UPath | Path, text: str) -> None:
    """``write_bytes`` of UTF-8 text."""
    write_bytes(path, text.encode())


@contextmanager
def local_copy(path: UPath | Path) -> Iterator[Path]:
    """The file under a local name, for libraries that want one; a copy where it is not local.

    Raises:
        OSError: it cannot be read.
    """
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="lvseg-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(path.read_bytes())
        yield copy
