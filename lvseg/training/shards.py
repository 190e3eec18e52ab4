"""A worker's images: in memory, on its node's disk, or read as they are needed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lvseg.config import TrainConfig
from lvseg.records import Manifest
from lvseg.store import UPath
from lvseg.training.cache import cache_folder, cached_rows
from lvseg.training.context import Shard
from lvseg.training.feed import Feed, HostFeed, MemoryFeed
from lvseg.training.order import block_bounds, training_blocks
from lvseg.training.portion import Mode, Portion, collect, decode, portions
from lvseg.training.stream import StreamRows


def memory_feed(portion: Portion, tables: Iterable[pa.Table] | None = None) -> MemoryFeed:
    """All images in memory; from these tables, or read now."""
    tables = portion.tables() if tables is None else tables
    return MemoryFeed(collect(tables, portion.shape, len(portion.rows)))


def disk_feed(portion: Portion, fold: int | None = None, folds: int | None = None) -> HostFeed:
    """Images in the node's cache, written by whoever needs them first.

    Raises:
        ConfigError: the cache has too little room, or cannot be written.
        RecordsError: a record file cannot be read.
    """
    count, part = len(portion.rows), portion.part
    of = "" if folds is None else f"of-{folds}-"
    split = portion.split if fold is None else f"fold-{fold}-{of}{portion.split}"
    name = f"{portion.manifest.records_sha256[:32]}-{split}-{portion.rows.start}-{portion.rows.stop}"
    rows = cached_rows(
        cache_folder() / name,
        count,
        portion.shape,
        part.pixel_bytes * count // part.images,
        lambda: (decode(table, portion.shape) for table in portion.tables()),
    )
    return HostFeed(rows, count, portion.names)


def stream_feed(portion: Portion, bounds: NDArray[np.int64] | None = None) -> HostFeed:
    """Images that are read again every epoch.

    Args:
        portion: What to show.
        bounds: Where the blocks begin, as rows of the part; default: as for reading in order.
    """
    bounds = block_bounds(portion.rows) if bounds is None else bounds
    rows = StreamRows(portion.read, bounds - portion.rows.start, portion.shape)
    return HostFeed(rows, len(portion.rows), portion.names)


def open_shard(
    mode: Mode,
    records: UPath,
    manifest: Manifest,
    config: TrainConfig,
    facts: dict[str, Any],
    *,
    workers: int = 1,
    rank: int = 0,
    tables: tuple[Iterable[pa.Table], Iterable[pa.Table]] | None = None,
) -> Shard:
    """A worker's ``Shard``.

    Args:
        mode: Where the images are kept.
        records: The record set.
        manifest: Its facts, with the parts train and val.
        config: The run.
        facts: See ``split_facts``.
        workers: How many share the images.
        rank: Which of them this is.
        tables: The worker's training and validation rows, where they were read already; for mode memory.
    """
    train, val = portions(records, manifest, config.batch_size, workers, rank)
    feeds: tuple[Feed, Feed]
    if mode == "memory":
        feeds = memory_feed(train, tables and tables[0]), memory_feed(val, tables and tables[1])
    elif mode == "disk":
        feeds = disk_feed(train, config.fold, config.folds), disk_feed(val, config.fold, config.folds)
    else:
        blocks = training_blocks(train.part.images, config.batch_size, workers, rank)
        feeds = stream_feed(train, blocks), stream_feed(val)
    return Shard(
        train=feeds[0],
        val=feeds[1],
        train_images=facts["train_images"],
        val_names=tuple(facts["val_names"]),
        val_case_ids=tuple(facts["val_case_ids"]),
    )
