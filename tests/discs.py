"""Small made images: a bright disc on noise, the disc is the label. Shared by tests of several rooms."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from lvseg.records import MANIFEST_NAME, SCHEMA_VERSION, Manifest, RecordFile, SplitPart, slice_to_row, write_rows
from lvseg.records.files import SUFFIXES
from lvseg.slices import Place, Slice
from lvseg.training.context import Images, Shard

SIZE = 32


def make_disc(number: int, size: int = SIZE, dtype: str = "int16") -> Slice:
    """The same number gives the same slice; every four slices are one case."""
    random = np.random.default_rng([7, number])
    row, column = random.uniform(0.35, 0.65, 2) * size
    rows, columns = np.mgrid[:size, :size]
    mask = (np.hypot(rows - row, columns - column) < random.uniform(0.12, 0.25) * size).astype(np.uint8)
    image = np.clip(random.normal(40, 8, (size, size)) + 120 * mask, 0, 255).astype(dtype)
    return Slice(name=f"D-{number:03d}", case_id=f"CASE-{number // 4}", image=image, mask=mask, place=Place())


def write_records(
    folder: Path,
    train: int = 8,
    val: int = 4,
    size: int = SIZE,
    shard_images: int = 5,
    format: str = "parquet",
    **facts: Any,
) -> Manifest:
    """A record set of discs; ``facts`` go before what its manifest would say."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split, numbers in {"train": range(train), "val": range(train, train + val)}.items():
        slices = [make_disc(number, size) for number in numbers]
        files = []
        for start in range(0, len(slices), shard_images):
            part = slices[start : start + shard_images]
            name = f"{split}-{start:05d}{SUFFIXES[format]}"
            write_rows(folder / name, [slice_to_row(item) for item in part], format)
            files.append(RecordFile(file=name, images=len(part)))
        cases = tuple(sorted({item.case_id for item in slices}))
        splits[split] = SplitPart(images=len(slices), patients=len(cases), case_ids=cases, files=tuple(files))
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "lvseg_version": "0",
        "format": format,
        "source_layout": "pairs",
        "labels": "given",
        "split": "image",
        "val_fraction": 0.2,
        "seed": 0,
        "source_sha256": "0" * 64,
        "records_sha256": hashlib.sha256(f"{train} {val} {size}".encode()).hexdigest(),
        "shapes": dict(Counter({f"{size}x{size}": train + val})),
        "splits": splits,
        "skipped": (),
        "unlabelled_images": 0,
    }
    manifest = Manifest(**(content | facts))
    (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def make_images(numbers: range, size: int = SIZE) -> Images:
    """Discs in memory."""
    slices = [make_disc(number, size) for number in numbers]
    return Images(
        images=np.stack([item.image for item in slices]),
        masks=np.stack([item.mask for item in slices]),
        names=tuple(item.name for item in slices),
        case_ids=tuple(item.case_id for item in slices),
    )


def make_shard(train: int = 8, val: int = 4, size: int = SIZE) -> Shard:
    """What the only worker holds."""
    held_out = make_images(range(train, train + val), size)
    return Shard(
        train=make_images(range(train), size),
        val=held_out,
        train_images=train,
        val_names=held_out.names,
        val_case_ids=held_out.case_ids,
    )
