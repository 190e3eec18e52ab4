"""Reads images from the record files every epoch, a window of them in memory at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from lvseg.training.context import Pixels

READERS = 4
"""Threads that read: enough to hide the latency of an object store."""
BLOCKS_AHEAD = 8
"""Blocks that are read before they are needed."""


class StreamRows:
    """Reads blocks of neighbouring rows when their first row is due, and drops them after their last."""

    def __init__(self, read: Callable[[int, int], Pixels], bounds: NDArray[np.int64], shape: tuple[int, int]) -> None:
        """Nothing is read yet.

        Args:
            read: Gives the images from one row to another, exclusive.
            bounds: (blocks + 1,) rows where the blocks begin, and the row after the last.
            shape: (rows, columns) of an image.
        """
        self._read, self._bounds, self._shape = read, bounds, shape

    def deliver(self, chunks: Sequence[NDArray[np.int64]]) -> Generator[Pixels]:
        """See ``feed.Rows``; memory holds the blocks that are in use, and ``BLOCKS_AHEAD`` more.

        Raises:
            RecordsError: a record file cannot be read; names it.
        """
        needed = [self._blocks_of(rows) for rows in chunks]
        last_use = {block: index for index, blocks in enumerate(needed) for block in blocks}
        wanted = iter(dict.fromkeys(block for blocks in needed for block in blocks))
        pool = ThreadPoolExecutor(READERS, thread_name_prefix="lvseg-read")
        coming: deque[tuple[int, Future[Pixels]]] = deque()

        def request(count: int) -> None:
            coming.extend((block, pool.submit(self._read_block, block)) for block in islice(wanted, count))

        try:
            request(BLOCKS_AHEAD)
            held: dict[int, Pixels] = {}
            for index, (rows, blocks) in enumerate(zip(chunks, needed, strict=True)):
                while not held.keys() >= blocks:
                    block, pixels = coming.popleft()
                    held[block] = pixels.result()
                    request(1)
                yield self._assemble(rows, held)
                for block in blocks:
                    if last_use[block] == index:
                        del held[block]
        finally:
            pool.shutdown(cancel_futures=True)

    def _blocks_of(self, rows: NDArray[np.int64]) -> set[int]:
        return set((np.searchsorted(self._bounds, rows[rows >= 0], side="right") - 1).tolist())

    def _read_block(self, block: int) -> Pixels:
        return self._read(int(self._bounds[block]), int(self._bounds[block + 1]))

    def _assemble(self, rows: NDArray[np.int64], held: dict[int, Pixels]) -> Pixels:
        block_of = np.where(rows >= 0, np.searchsorted(self._bounds, rows, side="right") - 1, -1)
        blocks = np.unique(block_of[rows >= 0]).tolist()
        dtype = np.result_type(*(held[block][0].dtype for block in blocks)) if blocks else np.uint8
        images = np.zeros((len(rows), *self._shape), dtype)
        masks = np.zeros((len(rows), *self._shape), np.uint8)
        for block in blocks:
            at = np.flatnonzero(block_of == block)
            within = rows[at] - self._bounds[block]
            images[at], masks[at] = held[block][0][within], held[block][1][within]
        return images, masks
