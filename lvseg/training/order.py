"""Which images each worker holds, and in which order it shows them.

The training images are cut into ``batch_size`` lanes of neighbouring rows, equal to within one
image. Every step takes one image of each lane, in an order drawn from (seed, epoch, lane). A worker
holds whole lanes, so its images are one run of neighbouring rows, and the images of a step are
the same whatever the number of workers; one worker may hold a lane more than another. In the last step
the shorter lanes have no image left: a place with weight 0 stands in, and every worker makes the same
number of steps.

A long lane is shuffled so that it can be read as a stream: its blocks of neighbouring rows in a drawn
order, then every row put off by a drawn number of places. Whoever shows the lane then needs no more than
``window_rows`` of it in memory. This order holds for small and large data alike, wherever the images are kept.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import ConfigError

BLOCK_ROWS = 64
"""Rows that are read together: whole row groups of the records."""
WINDOW_ROWS = 2048
"""Rows to shuffle among, over all lanes of a batch …"""
LANE_WINDOW_ROWS = (256, 1024)
"""… but at least and at most so many in a lane."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochOrder:
    """One worker's part of an epoch's steps."""

    rows: NDArray[np.int32]
    """(steps, images of this worker in a step): rows counted from the worker's first."""
    weights: NDArray[np.float32]
    """Same shape: 1, or 0 where the lane has no image left."""
    numbers: NDArray[np.int32]
    """Same shape: rows counted from the part's first, the same for every number of workers; they seed augmentation."""
    batch_images: NDArray[np.float32]
    """(steps,): real images of the step over all workers."""

    def cut(self, start: int, stop: int) -> EpochOrder:
        """The steps from ``start`` to ``stop``, filled up with places of weight 0 past the last."""

        def part(values: NDArray[Any]) -> NDArray[Any]:
            found = values[start:stop]
            return np.pad(found, [(0, stop - start - len(found))] + [(0, 0)] * (values.ndim - 1))

        return EpochOrder(**{f.name: part(getattr(self, f.name)) for f in dataclasses.fields(self)})


def even_bounds(count: int, parts: int) -> NDArray[np.int64]:
    """(parts + 1,) bounds that cut ``count`` rows into parts equal to within one, the longer first."""
    sizes = np.full(parts, count // parts)
    sizes[: count % parts] += 1
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def training_rows(images: int, batch_size: int, workers: int, rank: int) -> range:
    """Rows of the training images that a worker holds.

    Raises:
        ConfigError: a worker would have no image.
    """
    if workers > images:
        raise ConfigError(f"workers must be at most the number of training images, got {workers} and {images}")
    if workers > batch_size:
        raise ConfigError(f"workers must be at most batch_size, got {workers} and {batch_size}")
    needed = _lanes(batch_size, workers, workers - 1).start + 1
    if images < needed:
        raise ConfigError(
            f"batch_size {batch_size} over {workers} workers needs at least {needed} training images, got {images}"
        )
    bounds, lanes = even_bounds(images, batch_size), _lanes(batch_size, workers, rank)
    return range(int(bounds[lanes.start]), int(bounds[lanes.stop]))


def validation_rows(images: int, workers: int, rank: int) -> range:
    """Rows of the validation images that a worker scores; together every row once."""
    bounds = even_bounds(images, workers)
    return range(int(bounds[rank]), int(bounds[rank + 1]))


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Steps that show every image once."""
    return -(-images // batch_size)


def window_rows(batch_size: int) -> int:
    """Rows of a lane that are shuffled together; a lane of so many or fewer is shuffled whole."""
    least, most = LANE_WINDOW_ROWS
    return min(max(WINDOW_ROWS // batch_size, least), most)


def block_bounds(rows: range) -> NDArray[np.int64]:
    """Bounds that cut rows of a part into blocks; blocks begin at multiples of ``BLOCK_ROWS``, as row groups do."""
    inner = np.arange(-(-(rows.start + 1) // BLOCK_ROWS) * BLOCK_ROWS, rows.stop, BLOCK_ROWS)
    return np.concatenate([[rows.start], inner, [rows.stop]]).astype(np.int64)


def training_blocks(images: int, batch_size: int, workers: int, rank: int) -> NDArray[np.int64]:
    """Bounds of the blocks in which ``epoch_order`` shows a worker's images, as rows of the whole part."""
    bounds = even_bounds(images, batch_size)
    lanes = _lanes(batch_size, workers, rank)
    blocks = [block_bounds(range(int(bounds[lane]), int(bounds[lane + 1])))[:-1] for lane in lanes]
    return np.unique(np.concatenate([*blocks, [bounds[lanes[-1] + 1]]]))


def _lanes(batch_size: int, workers: int, rank: int) -> range:
    return range(rank * batch_size // workers, (rank + 1) * batch_size // workers)


def _lane_order(rows: range, window: int, random: np.random.Generator) -> NDArray[np.int64]:
    """The rows of a lane in a drawn order; a long lane's can be shown with ``window`` rows in memory.

    A block's first row comes in when its place is due, its last is put off by less than ``window`` − 2 blocks:
    the blocks that are in use at any moment hold at most ``window`` rows.
    """
    if len(rows) <= window:
        return rows.start + random.permutation(len(rows))
    bounds = block_bounds(rows)
    blocks = random.permutation(len(bounds) - 1)
    places = np.concatenate([np.arange(bounds[block], bounds[block + 1]) for block in blocks])
    put_off = random.uniform(0, window - 2 * BLOCK_ROWS, len(rows))
    return places[np.argsort(np.arange(len(rows)) + put_off, kind="stable")]


def epoch_order(images: int, batch_size: int, workers: int, rank: int, seed: int, epoch: int) -> EpochOrder:
    """The order in which a worker shows its images in an epoch; every image exactly once."""
    bounds = even_bounds(images, batch_size)
    steps = steps_per_epoch(images, batch_size)
    lanes = _lanes(batch_size, workers, rank)
    window = window_rows(batch_size)
    numbers = np.zeros((steps, len(lanes)), np.int32)
    weights = np.zeros((steps, len(lanes)), np.float32)
    for place, lane in enumerate(lanes):
        size = bounds[lane + 1] - bounds[lane]
        lane_rows = range(int(bounds[lane]), int(bounds[lane + 1]))
        order = _lane_order(lane_rows, window, np.random.default_rng([seed, epoch, lane]))
        numbers[:size, place] = order
        weights[:size, place] = 1
    lane_sizes = np.diff(bounds)
    batch_images = (lane_sizes[None, :] > np.arange(steps)[:, None]).sum(axis=1).astype(np.float32)
    rows = np.where(weights > 0, numbers - bounds[lanes.start], 0).astype(np.int32)
    return EpochOrder(rows=rows, weights=weights, numbers=numbers, batch_images=batch_images)
