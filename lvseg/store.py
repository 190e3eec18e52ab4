"""Where files are: a local path, or a URI of an object store (``s3://``, ``gs://``) through fsspec.

A ``UPath`` of a local path is a ``pathlib.Path``; the rest of lvseg need not know the difference. Credentials
and endpoints come from the usual environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``~/.aws`` …).
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from upath import UPath

__all__ = ["UPath", "is_local", "local_copy", "location", "write_bytes", "write_text"]


def location(where: str | os.PathLike[str] | UPath) -> UPath:
    """A path or URI as a path object. Listings of object stores are never cached: other nodes write there too."""
    if isinstance(where, UPath) and not is_local(where):
        return where
    text = os.fspath(where)
    return UPath(text, use_listings_cache=False) if "://" in text and not text.startswith("file://") else UPath(text)


def is_local(path: UPath | Path) -> bool:
    """Whether the path is on a mounted file system."""
    return isinstance(path, Path)


def write_bytes(path: UPath | Path, data: bytes) -> None:
    """Write a file in one step: it is whole or not there. A file of that name is replaced.

    Raises:
        OSError: it cannot be written.
    """
    if not is_local(path):
        path.write_bytes(data)  # an object store shows an object once it is whole
        return
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_text(path: UPath | Path, text: str) -> None:
    """``write_bytes`` of UTF-8 text."""
    write_bytes(path, text.encode())


@contextmanager
def local_copy(path: UPath | Path) -> Iterator[Path]:
    """The file under a local name, for libraries that want one; a copy where it is not local.

    Raises:
        OSError: it cannot be read.
    """
    if is_local(path):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="lvseg-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(path.read_bytes())
        yield copy
