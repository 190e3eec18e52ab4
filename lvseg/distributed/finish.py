"""Finished record files → a record set: the split table, the schema, the course's two files, the manifest."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lvseg import __version__
from lvseg.config import LabelConvention, RecordFormat, SourceLayout
from lvseg.distributed.plan import Plan
from lvseg.distributed.shards import BLOCK_BYTES, RECORD_FACTS, Job, Note, Shard, kept, read_facts
from lvseg.findings import Finding, Skip
from lvseg.records import SCHEMA, SCHEMA_VERSION, SPLIT_TABLE_NAME, Manifest, RecordFile, SplitPart
from lvseg.records.course_tfrecord import COURSE_FEATURES, course_file
from lvseg.records.files import feature_kind
from lvseg.store import UPath, open_whole, write_text

SCHEMA_NAME = "schema.json"
"""Features of the TFRecords, which do not describe themselves."""
NOTES_AT_ONCE = 32
"""Notes fetched together; a store answers many requests at a time, memory holds few answers."""
MASK_LAYOUTS: frozenset[SourceLayout] = frozenset({"pairs", "course", "segmentation"})
"""Layouts whose masks come as files."""
SUMMARY = pa.schema([pa.field("name", pa.string()), pa.field("case_id", pa.string()), *RECORD_FACTS])


@dataclass(kw_only=True, slots=True)
class _PartTotals:
    images: int = 0
    pixel_bytes: int = 0
    case_ids: set[str] = field(default_factory=set)
    files: list[RecordFile] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class Totals:
    """What the manifest says of the images."""

    parts: dict[str, _PartTotals]
    shapes: Counter[str] = field(default_factory=Counter)
    skipped: list[Skip] = field(default_factory=list)
    records_sha256: str = ""
    source_sha256: str = ""


def notes(job: Job, shards: Sequence[Shard], schema: pa.Schema) -> Iterator[tuple[Shard, Note, pa.Table]]:
    """Notes and facts of finished record files, in order, a few at a time."""
    with ThreadPoolExecutor(NOTES_AT_ONCE) as threads:
        for start in range(0, len(shards), NOTES_AT_ONCE):
            some = shards[start : start + NOTES_AT_ONCE]
            for shard, (note, facts) in zip(some, threads.map(lambda s: read_facts(job, s, schema), some), strict=True):
                yield shard, note, facts


def sum_up(job: Job, shards: Sequence[Shard], plan: Plan, parts: Sequence[str], records: UPath) -> Totals:
    """Go through the facts of all images once; write the split table on the way."""
    totals = Totals(parts={part: _PartTotals() for part in parts})
    sources = np.zeros((plan.keys.num_rows, 32), np.uint8)
    content = hashlib.sha256()
    with open_whole(records / SPLIT_TABLE_NAME) as file:
        file.write(b"name,case_id,part\n")
        for shard, note, table in notes(job, shards, SUMMARY):
            totals.skipped += [Skip(finding.file, finding.reason) for finding in note.unusable]
            table = kept(table, note.left)
            _add(totals, shard, note, table)
            content.update(b"".join(table["record_content"].to_pylist()))
            _place_hashes(sources, table)
            file.write(_split_lines(shard, table))
    totals.records_sha256 = content.hexdigest()
    totals.source_sha256 = hashlib.sha256(sources[sources.any(axis=1)].tobytes()).hexdigest()
    return totals


def _add(totals: Totals, shard: Shard, note: Note, table: pa.Table) -> None:
    if not note.images:
        return
    part = totals.parts[shard.part]
    part.images += note.images
    part.pixel_bytes += int(table["record_bytes"].to_numpy().sum())
    part.case_ids.update(table["case_id"].unique().to_pylist())
    part.files.append(RecordFile(file=shard.file, images=note.images, sha256=note.sha256))
    sizes = zip(table["record_rows"].to_pylist(), table["record_columns"].to_pylist(), strict=True)
    totals.shapes.update(f"{rows}x{columns}" for rows, columns in sizes)


def _place_hashes(sources: NDArray[np.uint8], table: pa.Table) -> None:
    hashes = b"".join(table["record_source"].to_pylist())
    sources[table["record_place"].to_numpy()] = np.frombuffer(hashes, np.uint8).reshape(-1, sources.shape[1])


def _split_lines(shard: Shard, table: pa.Table) -> bytes:
    text = io.StringIO(newline="")
    names, cases = table["name"].to_pylist(), table["case_id"].to_pylist()
    csv.writer(text, lineterminator="\n").writerows(
        (name, case, shard.part) for name, case in zip(names, cases, strict=True)
    )
    return text.getvalue().encode()


def join_course_files(job: Job, totals: Totals, records: UPath) -> None:
    """Put the files of every part, one after another, into the one file that the course reads."""
    for name, part in totals.parts.items():
        if not part.files:
            continue
        total = hashlib.sha256()
        with open_whole(records / course_file(name)) as joined:
            for file in part.files:
                with (job.out / file.file).open("rb") as piece:
                    while block := piece.read(BLOCK_BYTES):
                        total.update(block)
                        joined.write(block)
        part.files = [RecordFile(file=course_file(name), images=part.images, sha256=total.hexdigest())]


def write_schema(format: RecordFormat, records: UPath) -> None:
    """``schema.json`` beside TFRecords: name, list and type of every feature."""
    if format == "parquet":
        return
    if format == "course-tfrecord":
        features = COURSE_FEATURES
    else:
        features = [
            {"name": each.name, "list": feature_kind(each.type), "type": str(each.type), "optional": each.nullable}
            for each in SCHEMA
        ]
    content = {"message": "tensorflow.Example", "schema_version": SCHEMA_VERSION, "features": features}
    write_text(records / SCHEMA_NAME, json.dumps(content, indent=2) + "\n")


def make_manifest(
    job: Job, layout: SourceLayout, plan: Plan, totals: Totals, findings: Mapping[str, int] | Counter[str]
) -> Manifest:
    """The manifest of a finished record set."""
    config = job.config
    given: LabelConvention = "given" if layout in MASK_LAYOUTS else "centre"
    return Manifest(
        schema_version=SCHEMA_VERSION,
        lvseg_version=__version__,
        format=config.format,
        source_layout=layout,
        labels=config.labels or given,
        structures=config.structures,
        preprocessing=config.preprocessing(),
        split=config.split,
        val_fraction=config.val_fraction,
        seed=config.seed,
        source_sha256=totals.source_sha256,
        records_sha256=totals.records_sha256,
        shapes=dict(sorted(totals.shapes.items())),
        splits={
            name: SplitPart(
                images=part.images,
                pixel_bytes=part.pixel_bytes,
                patients=len(part.case_ids),
                case_ids=tuple(sorted(part.case_ids)),
                files=tuple(part.files),
            )
            for name, part in totals.parts.items()
            if part.images
        },
        decisions=tuple(plan.decisions),
        findings={severity: findings[severity] for severity in ("error", "warning", "note") if findings[severity]},
        skipped=(*plan.skipped, *totals.skipped),
        unlabelled_images=plan.unlabelled_images,
    )


def severities(findings: Sequence[Finding]) -> Counter[str]:
    """Number of findings by severity."""
    return Counter(finding.severity for finding in findings)
