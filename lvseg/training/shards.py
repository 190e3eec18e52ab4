"""Rows of record tables → a worker's images in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lvseg.config import SplitName
from lvseg.errors import RecordsError
from lvseg.records import Manifest, read_rows
from lvseg.records.codec import pixels
from lvseg.training.context import Images, Shard

COLUMNS = ("name", "case_id", "rows", "columns", "image_dtype", "image", "mask")
"""Columns of the records that training reads."""


def read_tables(records: Path, manifest: Manifest, split: SplitName) -> Iterator[pa.Table]:
    """All rows of a part, a table for each record file, read one after another."""
    for file in manifest.part(split, records).files:
        yield read_rows(records / file.file, manifest.format, columns=COLUMNS)


def collect(batches: Iterable[pa.Table], shape: tuple[int, int]) -> Images:
    """Rows of record tables → arrays in memory.

    Raises:
        RecordsError: an image is not of ``shape``.
    """
    names: list[str] = []
    case_ids: list[str] = []
    images: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    for table in batches:
        for row in table.to_pylist():
            found = (row["rows"], row["columns"])
            if found != shape:
                raise RecordsError(
                    f"record {row['name']}: image is {found[0]}x{found[1]}, expected {shape[0]}x{shape[1]}"
                )
            names.append(row["name"])
            case_ids.append(row["case_id"])
            images.append(pixels(row["image"], row["image_dtype"], found, row["name"]))
            masks.append(pixels(row["mask"], "|u1", found, row["name"]))
    return Images(
        images=_stack(images, shape), masks=_stack(masks, shape), names=tuple(names), case_ids=tuple(case_ids)
    )


def _stack(arrays: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    return np.stack(arrays) if arrays else np.zeros((0, *shape), np.uint8)


def collect_shard(
    train: Iterable[pa.Table], val: Iterable[pa.Table], shape: tuple[int, int], facts: dict[str, Any]
) -> Shard:
    """A worker's ``Shard`` from its rows and the facts about the whole, see ``split_facts``."""
    return Shard(
        train=collect(train, shape),
        val=collect(val, shape),
        train_images=facts["train_images"],
        val_names=tuple(facts["val_names"]),
        val_case_ids=tuple(facts["val_case_ids"]),
    )


def split_facts(records: Path, manifest: Manifest) -> dict[str, Any]:
    """What every worker must know of the whole: how many images there are, and the validation images' names."""
    val = manifest.part("val", records)
    tables = [read_rows(records / file.file, manifest.format, columns=("name", "case_id")) for file in val.files]
    table = pa.concat_tables(tables)
    return {
        "train_images": manifest.part("train", records).images,
        "val_names": table["name"].to_pylist(),
        "val_case_ids": table["case_id"].to_pylist(),
    }
