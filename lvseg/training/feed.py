"""Hands a worker's images to the compiled functions, wherever they are kept.

Images in memory are copied to TensorFlow once, and a step gathers its own inside the graph. Images on disk or in a
store are put together some steps ahead, in a background thread; memory then holds two such chunks, never the part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lvseg.training.context import Images, Pixels
from lvseg.training.order import EpochOrder

__all__ = ["Chunk", "Feed", "HostFeed", "MemoryFeed", "Rows", "ahead"]

SCORED_ROWS = 64
"""Images that are put together at once for scoring."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Chunk:
    """What one call of the compiled training function needs."""

    images: tf.Tensor
    """(n, rows, columns), stored pixel values."""
    masks: tf.Tensor
    """(n, rows, columns) uint8."""
    order: EpochOrder
    """Which of these images each step shows; filled up at the end, so that every chunk has the same size."""
    steps: int
    """Steps to make."""

    def part(self, start: int, steps: int) -> Chunk:
        """Some of the steps, in the same shape: what is compiled for the whole serves them too."""
        order = self.order.cut(start, start + len(self.order.rows))
        return dataclasses.replace(self, order=order, steps=steps)


class Feed(Protocol):
    """One worker's images of one part."""

    def __len__(self) -> int:
        """Images."""

    def chunks(self, order: EpochOrder, steps: int) -> Generator[Chunk]:
        """An epoch, some steps at a time."""

    def batches(self) -> Generator[tuple[tf.Tensor, tf.Tensor, int]]:
        """Every image once, in order: images, masks, and how many of them count."""

    def take(self, rows: Sequence[int]) -> Pixels:
        """The images at some rows."""

    def names(self, rows: Sequence[int]) -> list[str]:
        """The names of the images at some rows."""


class Rows(Protocol):
    """Images that are kept outside of TensorFlow's memory."""

    def deliver(self, chunks: Sequence[NDArray[np.int64]]) -> Generator[Pixels]:
        """The images at the rows of one chunk after another; all zero where the row is -1."""


def _parts(order: EpochOrder, steps: int) -> list[tuple[EpochOrder, int]]:
    """An epoch, ``steps`` steps at a time, all parts of one size; and how many steps of each are real."""
    total = len(order.rows)
    steps = min(steps, total)
    return [(order.cut(start, start + steps), min(steps, total - start)) for start in range(0, total, steps)]


def _tensors(pixels: Pixels) -> tuple[tf.Tensor, tf.Tensor]:
    with tf.device("CPU:0"):
        return tf.constant(pixels[0]), tf.constant(pixels[1])


class MemoryFeed:
    """All images in memory, as tensors."""

    def __init__(self, images: Images) -> None:
        self.images, self.masks = _tensors((images.images, images.masks))
        self._names = images.names

    def __len__(self) -> int:
        return len(self._names)

    def chunks(self, order: EpochOrder, steps: int) -> Generator[Chunk]:
        """Always the same tensors; only the order moves on."""
        for part, real in _parts(order, steps):
            yield Chunk(images=self.images, masks=self.masks, order=part, steps=real)

    def batches(self) -> Generator[tuple[tf.Tensor, tf.Tensor, int]]:
        """All at once."""
        yield self.images, self.masks, len(self)

    def take(self, rows: Sequence[int]) -> Pixels:
        """Copies."""
        return tf.gather(self.images, rows).numpy(), tf.gather(self.masks, rows).numpy()

    def names(self, rows: Sequence[int]) -> list[str]:
        """Known without a look into the records."""
        return [self._names[row] for row in rows]


class HostFeed:
    """Images that are put together on the host, a chunk ahead of the step."""

    def __init__(self, rows: Rows, count: int, names: Callable[[Sequence[int]], list[str]]) -> None:
        self._rows, self._count, self._names = rows, count, names

    def __len__(self) -> int:
        return self._count

    def chunks(self, order: EpochOrder, steps: int) -> Generator[Chunk]:
        """Each chunk has its own images, in the order in which the steps show them."""
        parts = _parts(order, steps)
        wanted = [np.where(part.weights > 0, part.rows, -1).astype(np.int64).reshape(-1) for part, _ in parts]
        places = np.arange(parts[0][0].rows.size, dtype=np.int32).reshape(parts[0][0].rows.shape)
        with closing(self._ahead(wanted)) as delivered:
            for (part, real), (images, masks) in zip(parts, delivered, strict=True):
                yield Chunk(images=images, masks=masks, order=dataclasses.replace(part, rows=places), steps=real)

    def batches(self) -> Generator[tuple[tf.Tensor, tf.Tensor, int]]:
        """``SCORED_ROWS`` at a time, the last ones filled up."""
        size = min(SCORED_ROWS, self._count)
        starts = range(0, self._count, size) if size else range(0)
        padded = [np.arange(start, start + size) for start in starts]
        with closing(self._ahead([np.where(rows < self._count, rows, -1) for rows in padded])) as delivered:
            for start, (images, masks) in zip(starts, delivered, strict=True):
                yield images, masks, min(size, self._count - start)

    def _ahead(self, wanted: Sequence[NDArray[np.int64]]) -> Generator[tuple[tf.Tensor, tf.Tensor]]:
        return ahead(_tensors(pixels) for pixels in self._rows.deliver(wanted))

    def take(self, rows: Sequence[int]) -> Pixels:
        """Read now."""
        with closing(self._rows.deliver([np.asarray(rows, np.int64)])) as delivered:
            return next(delivered)

    def names(self, rows: Sequence[int]) -> list[str]:
        """Read now."""
        return self._names(rows)


_END: Any = object()


def ahead(items: Generator[T]) -> Generator[T]:
    """The same items; each is made in a background thread while the one before is in use.

    An error in the thread comes out here; when this generator is closed, the thread has ended.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="lvseg-feed")
    try:
        coming = pool.submit(next, items, _END)
        while (item := coming.result()) is not _END:
            coming = pool.submit(next, items, _END)
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
        items.close()
