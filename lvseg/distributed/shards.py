"""One record file: what goes into it, the task that writes it, and the note that says that it is done.

A task writes the record file and then, beside the plan, a note: the facts of every image for quality control, and
the record file's hash. Both are whole or not there, and the same plan gives the same bytes. So a task may be killed at
any moment, and may run twice, or at the same time as its repetition: a record file counts once a note of the same
plan names its hash.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import TypeAdapter

from lvseg.config import ConvertConfig
from lvseg.distributed.plan import read_items, relative_reason
from lvseg.errors import SourceError
from lvseg.findings import Finding
from lvseg.preprocess import preprocess
from lvseg.quality import FACTS_SCHEMA, load_finding, slice_facts
from lvseg.records import slice_to_row
from lvseg.records.files import SUFFIXES, encode_rows
from lvseg.sources import Item, load
from lvseg.store import UPath, write_bytes

BLOCK_BYTES = 1 << 20
NOTE_KEY = b"lvseg"
RECORD_FACTS = pa.schema(
    [
        pa.field("record_place", pa.int64(), nullable=False),
        pa.field("record_rows", pa.int64(), nullable=False),
        pa.field("record_columns", pa.int64(), nullable=False),
        pa.field("record_bytes", pa.int64(), nullable=False),
        pa.field("record_content", pa.binary(32), nullable=False),
        pa.field("record_source", pa.binary(32), nullable=False),
    ]
)
"""What the manifest sums up: place in the plan, size, bytes of pixels, hash of the pixels, hash of the files."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shard:
    """What goes into one record file."""

    part: str
    """Part of the split."""
    file: str
    """Name of the record file."""
    rows: NDArray[np.int64]
    """Places in the plan, ascending."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leave:
    """What quality control takes out of a record file."""

    slices: tuple[str, ...] = ()
    """Names of slices that are left out, sorted."""
    epicardia: tuple[str, ...] = ()
    """Names of slices that lose their epicardium contour, sorted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What every task must know. Small and picklable."""

    source: UPath
    """The source folder."""
    plan: UPath
    """Folder of the plan and of the notes."""
    out: UPath
    """Folder of the record files."""
    config: ConvertConfig
    """The settings."""
    chunks: tuple[str, ...]
    """The plan's files."""
    fingerprint: str
    """Identity of source, settings and plan."""


@dataclass(kw_only=True, slots=True)
class Note:
    """What is known of a record file."""

    file: str
    """Name of the record file."""
    fingerprint: str
    """Of the job that wrote it."""
    sha256: str = ""
    """Hash over the record file's bytes."""
    images: int = 0
    """Rows in it; there is no file without rows."""
    left: Leave = field(default_factory=Leave)
    """What was left out of it."""
    unusable: list[Finding] = field(default_factory=list)
    """Images that could not be used."""


NOTES = TypeAdapter(Note)


def plan_shards(codes: NDArray[np.integer], parts: Sequence[str], config: ConvertConfig) -> list[Shard]:
    """Which images go to which record file: by part, in the plan's order, ``shard_images`` to a file.

    Args:
        codes: part of every image of the plan, as index into ``parts``.
        parts: names of the parts.
        config: size and format of the files.
    """
    shards = []
    for code, part in enumerate(parts):
        rows = np.flatnonzero(codes == code).astype(np.int64)
        count = -(-len(rows) // config.shard_images)
        for index in range(count):
            file = f"{part}-{index:05d}-of-{count:05d}{SUFFIXES[config.format]}"
            own = rows[index * config.shard_images : (index + 1) * config.shard_images]
            shards.append(Shard(part=part, file=file, rows=own))
    return shards


def do_shard(job: Job, shard: Shard, leave: Leave | None) -> Note:
    """Make sure that a record file is there, whole, without what is to be left out.

    Args:
        job: the job.
        shard: the record file.
        leave: what is to be left out; None: nothing, but a finished file may stay as it is.

    Returns:
        Its note.

    Raises:
        OSError: it cannot be written.
    """
    note = read_note(job, shard)
    if note and leave in (None, note.left) and _file_hash(job.out / shard.file) == note.sha256:
        return note
    note = Note(file=shard.file, fingerprint=job.fingerprint, left=leave or Leave())
    facts: list[dict[str, Any]] = []
    data = encode_rows(_rows(job, shard, note, facts), job.config.format)
    if note.images:
        write_bytes(job.out / shard.file, data)
        note.sha256 = hashlib.sha256(data).hexdigest()
    else:
        (job.out / shard.file).unlink(missing_ok=True)
    del data
    write_note(job, note, facts)
    return note


def _rows(job: Job, shard: Shard, note: Note, facts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows of a record file, one at a time; notes the facts of all, and what could not be used."""
    for place, item in zip(shard.rows.tolist(), read_items(job.plan, job.chunks, shard.rows), strict=True):
        try:
            row, row_facts = _row(job, shard.part, item)
        except SourceError as error:
            finding = load_finding(item, error)
            note.unusable.append(dataclasses.replace(finding, reason=relative_reason(error, job.source)))
            continue
        except Exception as error:
            error.add_note(f"while converting {item.name}")
            raise
        facts.append({**row_facts, "record_place": place})
        if item.name in note.left.slices:
            continue
        if item.name in note.left.epicardia:
            row["epicardium_xy_px"] = None
        note.images += 1
        yield row


def _row(job: Job, part: str, item: Item) -> tuple[dict[str, Any], dict[str, Any]]:
    """A record row, and the facts of its image."""
    config = job.config
    loaded = load(job.source, item, config)
    facts = slice_facts(loaded, item)
    row = slice_to_row(preprocess(loaded, config.preprocessing(), config.labels, config.structures, item.heart_xy_px))
    content = hashlib.sha256(f"{part} {row['name']} {row['image_dtype']}".encode())
    content.update(row["image"])
    content.update(row["mask"])
    return row, {
        **facts,
        "record_rows": row["rows"],
        "record_columns": row["columns"],
        "record_bytes": len(row["image"]) + len(row["mask"]),
        "record_content": content.digest(),
        "record_source": bytes.fromhex(row["source_sha256"]),
    }


def _file_hash(path: UPath) -> str:
    """Hash over a file's bytes; empty where there is none."""
    total = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                total.update(block)
    except FileNotFoundError:
        return ""
    return total.hexdigest()


def note_path(job: Job, file: str) -> UPath:
    """Where the note of a record file is."""
    return job.plan / f"{file}.note"


def write_note(job: Job, note: Note, facts: list[dict[str, Any]]) -> None:
    """Write the note of a record file, with the facts of its images."""
    schema = pa.schema([*FACTS_SCHEMA, *RECORD_FACTS], metadata={NOTE_KEY: NOTES.dump_json(note)})
    file = BytesIO()
    pq.write_table(pa.Table.from_pylist(facts, schema=schema), file, compression="zstd")
    write_bytes(note_path(job, note.file), file.getvalue())


def _note_of(schema: pa.Schema) -> Note:
    return NOTES.validate_json(schema.metadata[NOTE_KEY])


def read_note(job: Job, shard: Shard) -> Note | None:
    """The note of a record file; None where there is none, or one of another plan."""
    try:
        data = note_path(job, shard.file).read_bytes()
    except FileNotFoundError:
        return None
    note = _note_of(pq.read_schema(BytesIO(data)))
    return note if note.fingerprint == job.fingerprint else None


def read_facts(job: Job, shard: Shard, schema: pa.Schema) -> tuple[Note, pa.Table]:
    """The note of a finished record file, and some columns of the facts of its images, left out ones too."""
    table = pq.read_table(BytesIO(note_path(job, shard.file).read_bytes()), columns=schema.names)
    return _note_of(table.schema), table.replace_schema_metadata(schema.metadata)


def kept(table: pa.Table, leave: Leave) -> pa.Table:
    """The rows of a table with the column ``name`` that were not left out."""
    if not leave.slices:
        return table
    return table.filter(pc.invert(pc.is_in(table["name"], pa.array(leave.slices, pa.string()))))
