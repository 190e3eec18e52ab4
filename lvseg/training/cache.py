"""A worker's images on its node's disk: written once, mapped into memory by later epochs, runs and trials."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import ConfigError
from lvseg.training.context import Pixels

CACHE_VARIABLE = "LVSEG_CACHE"
"""Environment variable with the cache folder of a node."""
CACHE_NAME = "lvseg-cache"
SPARE = 1.05
"""Room that must be free for every byte to be written."""
_IMAGES, _MASKS = "images.npy", "masks.npy"


def cache_folder() -> Path:
    """This node's cache folder; its entries may be deleted whenever no run uses them."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path(tempfile.gettempdir()) / CACHE_NAME)


def free_bytes(folder: Path) -> int:
    """Room on the file system where a folder is, or would be made; 0 where that cannot be said."""
    try:
        return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    except (OSError, StopIteration):
        return 0


class DiskRows:
    """Images and masks in two memory-mapped arrays."""

    def __init__(self, images: NDArray[Any], masks: NDArray[np.uint8]) -> None:
        self.images, self.masks = np.asarray(images), np.asarray(masks)

    def deliver(self, chunks: Sequence[NDArray[np.int64]]) -> Generator[Pixels]:
        """See ``feed.Rows``."""
        for rows in chunks:
            images, masks = self.images[np.maximum(rows, 0)], self.masks[np.maximum(rows, 0)]
            images[rows < 0] = masks[rows < 0] = 0
            yield images, masks


def cached_rows(
    entry: Path, count: int, shape: tuple[int, int], pixel_bytes: int, read: Callable[[], Iterable[Pixels]]
) -> DiskRows:
    """The images of a cache entry; written first where it is not there, or not whole.

    Args:
        entry: Folder of the entry; its name says what is in it.
        count: Images.
        shape: (rows, columns) of each.
        pixel_bytes: Room that they need.
        read: Gives the images, some at a time, from the first to the last.

    Raises:
        ConfigError: the folder has too little room, or cannot be written.
        RecordsError: a record file cannot be read.
    """
    try:
        entry.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(entry):
            rows = _open_entry(entry, count, shape)
            if rows is None:
                _require_room(entry.parent, pixel_bytes)
                _write_entry(entry, count, shape, read)
                rows = _open_entry(entry, count, shape)
    except OSError as error:
        raise ConfigError(f"ingest disk: {entry.parent}: cannot be written: {error.strerror or error}") from None
    if rows is None:
        raise ConfigError(f"ingest disk: {entry}: not what was written there; is the disk in order?")
    return rows


@contextmanager
def _locked(entry: Path) -> Iterator[None]:
    """One process at a time: of two trials that need the same entry one writes and the other waits."""
    with (entry.parent / f".{entry.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open_entry(entry: Path, count: int, shape: tuple[int, int]) -> DiskRows | None:
    try:
        images, masks = (
            np.load(entry / name, mmap_mode="r" if count else None, allow_pickle=False) for name in (_IMAGES, _MASKS)
        )
    except (OSError, ValueError, EOFError):
        return None
    expected = (count, *shape)
    return DiskRows(images, masks) if images.shape == masks.shape == expected and masks.dtype == np.uint8 else None


def _require_room(folder: Path, pixel_bytes: int) -> None:
    free = free_bytes(folder)
    if free < pixel_bytes * SPARE:
        raise ConfigError(
            f"ingest disk: {folder} has {free / 1e9:.1f} GB free, {pixel_bytes * SPARE / 1e9:.1f} GB are needed; "
            f"set {CACHE_VARIABLE} to a folder with more room, or choose ingest stream"
        )


def _write_entry(entry: Path, count: int, shape: tuple[int, int], read: Callable[[], Iterable[Pixels]]) -> None:
    for left in entry.parent.glob(f".{entry.name}.*.partial"):
        shutil.rmtree(left, ignore_errors=True)  # its writer is dead: it would hold the lock
    shutil.rmtree(entry, ignore_errors=True)
    aside = entry.with_name(f".{entry.name}.{secrets.token_hex(4)}.partial")
    aside.mkdir()
    try:
        dtype: np.dtype[Any] | None = None
        while (wider := _write_arrays(aside, (count, *shape), read(), dtype)) is not None:
            dtype = wider
        aside.rename(entry)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _write_arrays(
    folder: Path, shape: tuple[int, ...], blocks: Iterable[Pixels], dtype: np.dtype[Any] | None
) -> np.dtype[Any] | None:
    """Write images and masks; a dtype comes back where that of the first images does not hold the others'."""
    with (folder / _IMAGES).open("wb") as images, (folder / _MASKS).open("wb") as masks:
        _write_header(masks, shape, np.dtype(np.uint8))
        for block, (block_images, block_masks) in enumerate(blocks):
            found = block_images.dtype if dtype is None else np.result_type(dtype, block_images.dtype)
            if block == 0:
                dtype = found
                _write_header(images, shape, dtype)
            elif found != dtype:
                return found
            images.write(np.ascontiguousarray(block_images, dtype).data)
            masks.write(np.ascontiguousarray(block_masks).data)
        if shape[0] == 0:
            _write_header(images, shape, np.dtype(np.uint8))
        for file in (images, masks):
            file.flush()
            os.fsync(file.fileno())
    return None


def _write_header(file: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
