"""What the loop knows of the world around it; one class for each place where it can run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Images:
    """Some images of one split, in memory."""

    images: NDArray[np.integer]
    """(n, rows, columns), stored pixel values."""
    masks: NDArray[np.uint8]
    """(n, rows, columns), 0 or 1."""
    names: tuple[str, ...]
    """The images' names."""
    case_ids: tuple[str, ...]
    """Their patients' pseudonyms."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shard:
    """What one worker holds."""

    train: Images
    """Its training images: ``order.training_rows`` of the split."""
    val: Images
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


class LocalContext:
    """No Ray, one worker: the last and the best checkpoint are kept in a folder, the metrics in a list."""

    rank = 0
    world_size = 1

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.reports: list[dict[str, Any]] = []

    @property
    def best_checkpoint(self) -> Path:
        """Where the best checkpoint is kept."""
        return self._folder / "best"

    @contextmanager
    def latest_checkpoint(self) -> Iterator[Path | None]:
        """The checkpoint folder once something was reported to it."""
        latest = self._folder / "latest"
        yield latest if latest.is_dir() else None

    def report(self, metrics: Mapping[str, Any], checkpoint: Path | None) -> None:
        """Keep the metrics, and copy the checkpoint; the best one is kept beside the last."""
        self.reports.append(dict(metrics))
        if checkpoint is None:
            return
        targets = ["latest", "best"] if metrics["improved"] else ["latest"]
        for target in targets:
            aside = self._folder / f".{target}.partial"
            shutil.rmtree(aside, ignore_errors=True)
            shutil.copytree(checkpoint, aside)
            shutil.rmtree(self._folder / target, ignore_errors=True)
            aside.rename(self._folder / target)
