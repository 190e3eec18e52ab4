"""Where Ray Train and Ray Tune keep their own files: beside the run, on whatever store it is."""

from __future__ import annotations

from typing import Any

import pyarrow.fs

from lvseg.store import UPath, is_local


def ray_storage(folder: UPath) -> dict[str, Any]:
    """Arguments of Ray's ``RunConfig`` that keep its files in a folder.

    They hold no credentials: every process finds its own in its environment.
    """
    if is_local(folder):
        return {"storage_path": str(folder.resolve())}
    handler = pyarrow.fs.FSSpecHandler(folder.fs)
    return {"storage_path": folder.path, "storage_filesystem": pyarrow.fs.PyFileSystem(handler)}


def everywhere(path: UPath) -> UPath:
    """A path that means the same in other working folders."""
    return path.resolve() if is_local(path) else path
