"""Source files → record set, as a Ray Data job: one task reads, rasterises and writes one record file."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.data

from lvseg import __version__
from lvseg.config import ConvertConfig, RasterConvention, RecordFormat, SplitName
from lvseg.distributed.session import ray_session
from lvseg.errors import RecordsError, SourceError
from lvseg.records import MANIFEST_NAME, SCHEMA_VERSION, Manifest, RecordFile, Skip, SplitPart, slice_to_row, write_rows
from lvseg.records.files import SUFFIXES
from lvseg.results import write_text_atomically
from lvseg.sources import Item, LinkedItem, Listing, discover, load
from lvseg.split import assign_splits, check_no_leak

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")

Progress = Callable[[int, int], None]
"""Called with images done and images in all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """What one task does."""

    split: SplitName
    file: str
    items: tuple[Item, ...]


def convert(
    source: Path,
    records: Path,
    config: ConvertConfig,
    *,
    overwrite: bool = False,
    progress: Progress = lambda *_: None,
    verbose: bool = False,
) -> Manifest:
    """Convert a source folder into a record set, in the Ray session that is there or in its own.

    Files that cannot be used are skipped and listed in the manifest. The record files are the
    same, byte for byte, whatever the cluster.

    Args:
        source: Folder in one of the known layouts.
        records: Folder to write to; made if missing.
        config: Label convention, split, format.
        overwrite: Replace a record set that is there.
        progress: Told after every finished record file.
        verbose: Show Ray's own messages.

    Raises:
        SourceError: nothing usable in ``source``.
        RecordsError: ``records`` holds other files, or a record set and ``overwrite`` is not set.
    """
    source, records = source.resolve(), records.resolve()
    listing = discover(source, config.source)
    items = [(item.name, item.case_id) for item in listing.items]
    parts = assign_splits(items, config.split, config.val_fraction, config.seed)
    if config.split != "image":
        check_no_leak(items, parts)
    shards = plan_shards(listing.items, parts, config)
    _claim_folder(records, overwrite)
    with ray_session(verbose=verbose):
        done = _run(shards, source, records, config, progress)
    manifest = _manifest(shards, done, listing, config)
    _require_images(manifest, source)
    _remove_stale_files(records, manifest)
    write_text_atomically(records / MANIFEST_NAME, manifest.to_json())
    return manifest


def plan_shards(items: Sequence[Item], parts: dict[str, SplitName], config: ConvertConfig) -> list[Shard]:
    """Which images go to which record file: by part, in the items' order, ``shard_images`` to a file."""
    shards = []
    for split in SPLITS:
        chosen = [item for item in items if parts[item.name] == split]
        count = -(-len(chosen) // config.shard_images)
        for index in range(count):
            file = f"{split}-{index:05d}-of-{count:05d}{SUFFIXES[config.format]}"
            members = tuple(chosen[index * config.shard_images : (index + 1) * config.shard_images])
            shards.append(Shard(split=split, file=file, items=members))
    return shards


def write_shard(
    shard: Shard, source: Path, records: Path, labels: RasterConvention, format: RecordFormat
) -> dict[str, Any]:
    """Read, rasterise and write one record file.

    Returns:
        Per row name, case id, size and hashes, and the skipped files; or the error that ends the job.
    """
    rows, facts, skipped = [], [], []
    for item in shard.items:
        try:
            row = slice_to_row(load(item, labels))
        except SourceError as error:
            skipped.append({"file": _label_file(item, source), "reason": str(error).replace(f"{source}/", "")})
            continue
        rows.append(row)
        content = hashlib.sha256(f"{shard.split} {row['name']} {row['image_dtype']}".encode())
        content.update(row["image"])
        content.update(row["mask"])
        facts.append(
            {
                "name": row["name"],
                "case_id": row["case_id"],
                "shape": f"{row['rows']}x{row['columns']}",
                "source": row["source_sha256"],
                "content": content.hexdigest(),
            }
        )
    try:
        if rows:
            write_rows(records / shard.file, rows, format)
    except OSError as error:
        return {"error": f"{records / shard.file}: cannot be written: {error.strerror}"}
    return {"facts": facts, "skipped": skipped}


def _label_file(item: Item, source: Path) -> str:
    file = item.contour if isinstance(item, LinkedItem) else item.mask
    return file.relative_to(source).as_posix() if file.is_relative_to(source) else file.name


def _run(
    shards: Sequence[Shard], source: Path, records: Path, config: ConvertConfig, progress: Progress
) -> list[dict[str, Any]]:
    labels, format = config.labels or "centre", config.format

    def task(row: dict[str, Any]) -> dict[str, Any]:
        result = write_shard(pickle.loads(row["shard"]), source, records, labels, format)
        return {"index": row["index"], "result": json.dumps(result)}

    rows = [{"index": index, "shard": pickle.dumps(shard)} for index, shard in enumerate(shards)]
    dataset = ray.data.from_items(rows, override_num_blocks=max(len(rows), 1)).map(task)
    results: dict[int, dict[str, Any]] = {}
    total = sum(len(shard.items) for shard in shards)
    progress(0, total)
    for row in dataset.iter_rows():
        results[row["index"]] = result = json.loads(row["result"])
        if "error" in result:
            raise RecordsError(result["error"])
        progress(sum(len(shards[index].items) for index in results), total)
    return [results[index] for index in range(len(shards))]


def _manifest(
    shards: Sequence[Shard], done: Sequence[dict[str, Any]], listing: Listing, config: ConvertConfig
) -> Manifest:
    facts = [fact for result in done for fact in result["facts"]]
    splits: dict[SplitName, SplitPart] = {}
    for split in SPLITS:
        own = [(shard, result["facts"]) for shard, result in zip(shards, done, strict=True) if shard.split == split]
        files = tuple(RecordFile(file=shard.file, images=len(rows)) for shard, rows in own if rows)
        cases = tuple(sorted({row["case_id"] for _, rows in own for row in rows}))
        if files:
            images = sum(file.images for file in files)
            splits[split] = SplitPart(images=images, patients=len(cases), case_ids=cases, files=files)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        lvseg_version=__version__,
        format=config.format,
        source_layout=listing.layout,
        labels=config.labels or ("given" if listing.layout == "pairs" else "centre"),
        split=config.split,
        val_fraction=config.val_fraction,
        seed=config.seed,
        source_sha256=_digest(fact["source"] for fact in sorted(facts, key=lambda f: f["name"])),
        records_sha256=_digest(fact["content"] for fact in facts),
        shapes=dict(sorted(Counter(fact["shape"] for fact in facts).items())),
        splits=splits,
        skipped=(
            *(Skip(file=skip.file, reason=skip.reason) for skip in listing.skipped),
            *(Skip(**skip) for result in done for skip in result["skipped"]),
        ),
        unlabelled_images=listing.unlabelled_images,
    )


def _digest(hashes: Any) -> str:
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _require_images(manifest: Manifest, source: Path) -> None:
    for split in ("train", "val"):
        if split not in manifest.splits:
            reasons = "; ".join(f"{skip.file}: {skip.reason}" for skip in manifest.skipped[:3])
            raise SourceError(f"{source}: no usable image for split {split}" + (f" ({reasons})" if reasons else ""))


def _is_record_file(path: Path) -> bool:
    name = path.name.removeprefix(".").removesuffix(".partial")
    return name == MANIFEST_NAME or name.startswith(tuple(f"{s}-" for s in SPLITS))


def _claim_folder(records: Path, overwrite: bool) -> None:
    if records.exists() and not records.is_dir():
        raise RecordsError(f"{records}: is a file, expected a folder to write records to")
    if (records / MANIFEST_NAME).exists() and not overwrite:
        raise RecordsError(f"{records}: holds a record set already; name another folder or give --overwrite")
    try:
        records.mkdir(parents=True, exist_ok=True)
        foreign = [path.name for path in sorted(records.iterdir()) if not _is_record_file(path)]
    except OSError as error:
        raise RecordsError(f"{records}: cannot be written: {error.strerror}") from None
    if foreign:
        raise RecordsError(f"{records}: holds other files ({', '.join(foreign[:3])}); name an empty or new folder")
    (records / MANIFEST_NAME).unlink(missing_ok=True)


def _remove_stale_files(records: Path, manifest: Manifest) -> None:
    current = {file.file for part in manifest.splits.values() for file in part.files}
    for path in records.iterdir():
        if _is_record_file(path) and path.name not in current:
            path.unlink()
