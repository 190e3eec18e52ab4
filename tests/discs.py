"""Small made images: a bright disc on noise, the disc is the label. Shared by tests of several rooms."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lvseg.config import PreprocessConfig
from lvseg.records import MANIFEST_NAME, SCHEMA_VERSION, Manifest, RecordFile, SplitPart, slice_to_row
from lvseg.records.files import SUFFIXES, encode_rows
from lvseg.slices import Place, Slice
from lvseg.store import UPath, write_bytes, write_text
from lvseg.training.context import Images, Shard
from lvseg.training.feed import MemoryFeed

SIZE = 32


def make_disc(number: int, size: int = SIZE, dtype: str = "int16") -> Slice:
    """The same number gives the same slice; every four slices are one case."""
    random = np.random.default_rng([7, number])
    row, column = random.uniform(0.35, 0.65, 2) * size
    rows, columns = np.mgrid[:size, :size]
    mask = (np.hypot(rows - row, columns - column) < random.uniform(0.12, 0.25) * size).astype(np.uint8)
    image = np.clip(random.normal(40, 8, (size, size)) + 120 * mask, 0, 255).astype(dtype)
    return Slice(name=f"D-{number:03d}", case_id=f"CASE-{number // 4}", image=image, mask=mask, place=Place())


def make_ring(number: int, size: int = SIZE, dtype: str = "int16") -> Slice:
    """The disc with a darker ring around it, the myocardium, of a third of its radius."""
    disc = make_disc(number, size)
    wide = cv2.dilate(disc.mask, np.ones((1 + size // 8, 1 + size // 8), np.uint8))
    ring = (wide > 0) & (disc.mask == 0)
    image = np.where(ring, 10, disc.image).astype(dtype)
    return dataclasses.replace(disc, image=image, mask=(disc.mask + 2 * ring).astype(np.uint8))


def write_part(folder: Path | UPath, split: str, slices: Sequence[Slice], shard_images: int, format: str) -> SplitPart:
    """Record files of some slices."""
    files = []
    for start in range(0, len(slices), shard_images):
        part = slices[start : start + shard_images]
        data = encode_rows([slice_to_row(item) for item in part], format)
        name = f"{split}-{start:05d}{SUFFIXES[format]}"
        write_bytes(folder / name, data)
        files.append(RecordFile(file=name, images=len(part), sha256=hashlib.sha256(data).hexdigest()))
    cases = tuple(sorted({item.case_id for item in slices}))
    return SplitPart(
        images=len(slices),
        pixel_bytes=sum(item.image.nbytes + item.mask.nbytes for item in slices),
        patients=len(cases),
        case_ids=cases,
        files=tuple(files),
    )


def write_records(
    folder: Path | UPath,
    train: int = 8,
    val: int = 4,
    size: int = SIZE,
    shard_images: int = 5,
    format: str = "parquet",
    folds: int = 0,
    dtype: str = "int16",
    structures: str = "endo",
    **facts: Any,
) -> Manifest:
    """A record set of discs; ``facts`` go before what its manifest would say. With folds there are no train and val."""
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)
    numbers = {"train": range(train), "val": range(train, train + val)}
    if folds:
        numbers = {f"fold-{fold}": range(fold, train + val, folds) for fold in range(folds)}
    make = make_ring if structures == "endo+myo" else make_disc
    splits = {
        split: write_part(folder, split, [make(n, size, dtype) for n in rows], shard_images, format)
        for split, rows in numbers.items()
    }
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "lvseg_version": "0",
        "format": format,
        "source_layout": "pairs",
        "labels": "given",
        "structures": structures,
        "preprocessing": PreprocessConfig(),
        "split": "kfold" if folds else "image",
        "val_fraction": 0.2,
        "seed": 0,
        "source_sha256": "0" * 64,
        "records_sha256": hashlib.sha256(f"{train} {val} {size} {folds} {dtype} {structures}".encode()).hexdigest(),
        "shapes": dict(Counter({f"{size}x{size}": train + val})),
        "splits": splits,
        "decisions": (),
        "findings": {},
        "skipped": (),
        "unlabelled_images": 0,
    }
    manifest = Manifest(**(content | facts))
    write_text(folder / MANIFEST_NAME, manifest.to_json())
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
        train=MemoryFeed(make_images(range(train), size)),
        val=MemoryFeed(held_out),
        train_images=train,
        val_names=held_out.names,
        val_case_ids=held_out.case_ids,
    )
