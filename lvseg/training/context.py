"""What the loop knows of the world around it; one class for each place where it can run."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import RunError
from lvseg.store import UPath, is_local, remove_tree, write_bytes, write_text

if TYPE_CHECKING:
    from lvseg.training.feed import Feed

CHECKPOINT_PREFIX = "epoch-"
KEPT_NAME = "kept.json"
"""Names the last and the best checkpoint of a run without Ray Train."""


def checkpoint_name(epoch: int) -> str:
    """Of a checkpoint's folder. It holds the time: a checkpoint that was lost in a crash is never overwritten."""
    return f"{CHECKPOINT_PREFIX}{epoch:05d}-{time.time_ns()}"


Pixels: TypeAlias = tuple[NDArray[Any], NDArray[np.uint8]]
"""(n, rows, columns) images and masks."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Images:
    """Some images of one split, in memory."""

    images: NDArray[Any]
    """(n, rows, columns), stored pixel values: integers, or float32."""
    masks: NDArray[np.uint8]
    """(n, rows, columns), the class of every pixel."""
    names: tuple[str, ...]
    """The images' names."""
    case_ids: tuple[str, ...]
    """Their patients' pseudonyms."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shard:
    """What one worker trains and scores."""

    train: Feed
    """Its training images: ``order.training_rows`` of the split."""
    val: Feed
    """Its validation images: ``order.validation_rows`` of the split."""
    train_images: int
    """Training images over all workers."""
    val_names: tuple[str, ...]
    """Names of all validation images, over all workers, in row order."""
    val_case_ids: tuple[str, ...]
    """Their patients' pseudonyms."""


class RunContext(Protocol):
    """One worker's view of its run."""

    rank: int
    world_size: int

    def latest_checkpoint(self) -> Any:
        """Context manager: the folder of the last full-state checkpoint, or None."""

    def report(self, metrics: Mapping[str, Any], checkpoint: Path | None) -> None:
        """Hand over an epoch's metrics and, from rank 0, the folder to keep; a barrier over all workers."""

    def must_stop(self) -> bool:
        """Whether this worker has been told that the run shall save its state and stop; quick, no communication."""

    def wants_look(self) -> bool:
        """Whether this worker finds it time for all to ask ``must_save``; quick, no communication."""

    def must_save(self) -> bool:
        """Whether the state should be saved now, since a node is about to be lost; all workers ask together."""


class LocalContext:
    """No Ray, one worker: the last and the best checkpoint are kept in a folder, the metrics in a list.

    Checkpoints are folders of their own; one small file says which of them count, and is written last.
    """

    rank = 0
    world_size = 1

    def __init__(self, folder: UPath, stop: threading.Event | None = None) -> None:
        """Keep checkpoints in a folder; ``stop``, once set, ends the run after it has saved its state."""
        self._folder = folder
        self._stop = stop or threading.Event()
        self.reports: list[dict[str, Any]] = []

    def must_stop(self) -> bool:
        """Whether the event is set."""
        return self._stop.is_set()

    def wants_look(self) -> bool:
        """Never: whoever ends this process says so by a signal."""
        return False

    def must_save(self) -> bool:
        """Never; see ``wants_look``."""
        return False

    @property
    def best_checkpoint(self) -> UPath | None:
        """The best checkpoint, once there is one."""
        return self._kept("best")

    @contextmanager
    def latest_checkpoint(self) -> Iterator[Path | None]:
        """The last checkpoint, once there is one; a local copy where it is not local."""
        latest = self._kept("latest")
        if latest is None or is_local(latest):
            yield None if latest is None else Path(str(latest))
            return
        with tempfile.TemporaryDirectory(prefix="lvseg-checkpoint-") as folder:
            for file in latest.iterdir():
                (Path(folder) / file.name).write_bytes(file.read_bytes())
            yield Path(folder)

    def report(self, metrics: Mapping[str, Any], checkpoint: Path | None) -> None:
        """Keep the metrics, and copy the checkpoint; those that are neither the last nor the best are deleted."""
        self.reports.append(dict(metrics))
        if checkpoint is None:
            return
        name = checkpoint_name(metrics["epoch"])
        for file in checkpoint.iterdir():
            write_bytes(self._folder / name / file.name, file.read_bytes())
        kept = self._read() | {"latest": name} | ({"best": name} if metrics["improved"] else {})
        write_text(self._folder / KEPT_NAME, json.dumps(kept) + "\n")
        for folder in self._folder.iterdir():
            if folder.name.startswith(CHECKPOINT_PREFIX) and folder.name not in kept.values():
                remove_tree(folder)

    def _read(self) -> dict[str, str]:
        path = self._folder / KEPT_NAME
        if not path.exists():
            return {}
        try:
            return {str(key): str(name) for key, name in json.loads(path.read_bytes()).items()}
        except (OSError, ValueError, AttributeError):
            raise RunError(f"{path}: damaged") from None

    def _kept(self, which: str) -> UPath | None:
        name = self._read().get(which)
        return None if name is None else self._folder / name
