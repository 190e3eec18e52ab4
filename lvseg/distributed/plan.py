"""What a conversion will do: every labelled image of the source in order, kept beside the records while it runs.

Units of the source are listed by a Ray Data job; the driver streams their items into a few files and itself keeps
only names, cases and groups. A task reads the few lines that it needs. The files are named by their content, so that
nothing can take the items of one listing for those of another.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray.data
from numpy.typing import NDArray
from pydantic import TypeAdapter

from lvseg.errors import SourceError
from lvseg.findings import Decision, Finding, Skip
from lvseg.sources.listing import CourseItem, DicomItem, Item, Listing, PairItem, SegmentationItem, Source, Unit
from lvseg.store import UPath, is_local, stamp, write_bytes

CHUNK_ROWS = 4096
"""Items in one file of the plan; read whole by every task that needs one of them, about 200 kB."""
UNITS_PER_TASK = 16
"""A unit takes milliseconds to seconds, a task's start some milliseconds."""
STAMP_THREADS = 16
"""An object store is asked for each file, and waiting is most of it."""

ITEM_TYPES: dict[str, TypeAdapter[Item]] = {
    cls.__name__: TypeAdapter(cls) for cls in (DicomItem, PairItem, CourseItem, SegmentationItem)
}
LISTINGS = TypeAdapter(Listing)
KEYS = pa.schema([("name", pa.string()), ("case_id", pa.string()), ("group", pa.string())])
"""What the driver keeps of every item."""
LISTED = pa.schema([*KEYS, ("item", pa.string()), ("stamp", pa.string()), ("listing", pa.string())])
"""What a listing task returns: for each unit one row with only ``listing``, then a row an item."""
CHUNK = pa.schema([("item", pa.string()), ("stamp", pa.string())])


@dataclass(kw_only=True, slots=True)
class Plan:
    """All that was listed; of the items themselves only what the split needs."""

    folder: UPath
    """Where the plan's files are."""
    chunks: list[str] = field(default_factory=list)
    """Names of its files; item i is in file i // ``CHUNK_ROWS``."""
    keys: pa.Table = field(default_factory=KEYS.empty_table)
    """Name, case and group of every item, in order."""
    skipped: list[Skip] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unlabelled_images: int = 0

    def take(self, listing: Listing) -> None:
        """Add what a listing says besides its items."""
        self.skipped += listing.skipped
        self.decisions += listing.decisions
        self.findings += listing.findings
        self.unlabelled_images += listing.unlabelled_images


def make_plan(source: Source, folder: UPath, progress: Callable[[int, int], None] = lambda *_: None) -> Plan:
    """List the whole source and write the plan's files.

    Args:
        source: from ``open_source``.
        folder: folder for the plan's files.
        progress: told units listed and units in all.

    Raises:
        SourceError: no labelled image, or a name is there twice.
    """
    units, listing = source.units()
    plan = Plan(folder=folder)
    plan.take(listing)
    done = 0

    def items() -> Iterator[pa.Table]:
        nonlocal done
        for table in list_units(source, units):
            for text in table["listing"].drop_null().to_pylist():
                plan.take(LISTINGS.validate_json(text))
                done += 1
            progress(done, len(units))
            yield table.filter(pc.is_valid(table["item"]))

    keys = [KEYS.empty_table()]
    for table in _in_chunks(items()):
        plan.chunks.append(_write_chunk(folder, len(plan.chunks), table.select(CHUNK.names)))
        keys.append(_copied(table.select(KEYS.names)))
    plan.keys = pa.concat_tables(keys)
    _check_names(plan, source)
    return plan


def list_units(source: Source, units: Sequence[Unit], *, stamped: bool = True) -> Iterator[pa.Table]:
    """List units on the cluster.

    Args:
        source: from ``open_source``.
        units: of the source.
        stamped: whether to say of every item's files when they were changed, which takes a look at each.

    Yields:
        Tables of ``LISTED``, in the units' order.
    """

    def list_block(block: pa.Table) -> Iterator[pa.Table]:
        for unit in block["unit"].to_pylist():
            yield list_unit(source, pickle.loads(unit), stamped=stamped)

    if not units:
        return
    rows = [{"unit": pickle.dumps(unit)} for unit in units]
    dataset = ray.data.from_items(rows, override_num_blocks=task_count(len(rows), UNITS_PER_TASK)).map_batches(
        list_block, batch_size=None, batch_format="pyarrow"
    )
    dataset.context.execution_options.preserve_order = True
    yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow")


def task_count(rows: int, most: int) -> int:
    """Enough tasks to keep the cluster busy, of few rows each, but not of fewer than need be."""
    cpus = int(ray.cluster_resources().get("CPU", 1))
    return max(min(rows, 4 * cpus), -(-rows // most))


def list_unit(source: Source, unit: Unit, *, stamped: bool = True) -> pa.Table:
    """One unit as a table of ``LISTED``. A unit that cannot be listed costs only itself."""
    try:
        listing = source.list_unit(unit)
    except SourceError as error:
        skip = Skip(unit.folders[0] if unit.folders else unit.case_id, relative_reason(error, source.folder))
        listing = Listing(items=(), skipped=(skip,))
    files = {file for item in listing.items for file in item.files}
    stamps = _stamps(source.folder, files) if stamped else dict.fromkeys(files, "")
    rows: list[dict[str, Any]] = [{"listing": _encode_listing(listing)}]
    for item in listing.items:
        own = " ".join(stamps[file] for file in item.files)
        rows.append(
            {
                "name": item.name,
                "case_id": item.case_id,
                "group": item.group,
                "item": encode_item(item),
                "stamp": hashlib.sha256(own.encode()).hexdigest()[:32],
            }
        )
    return pa.Table.from_pylist(rows, schema=LISTED)


def relative_reason(error: SourceError, folder: UPath) -> str:
    """An error's message with paths relative to the source folder."""
    return str(error).replace(f"{folder}/", "")


def _stamps(folder: UPath, files: set[str]) -> dict[str, str]:
    def one(file: str) -> str:
        try:
            return stamp(folder / file)
        except OSError:
            return "missing"  # loading it will say so

    names = sorted(files)
    if is_local(folder):
        return dict(zip(names, map(one, names), strict=True))
    with ThreadPoolExecutor(STAMP_THREADS) as threads:
        return dict(zip(names, threads.map(one, names), strict=True))


def encode_item(item: Item) -> str:
    """An item as text; equal items give equal text."""
    return f"{type(item).__name__} {json.dumps(dataclasses.asdict(item), ensure_ascii=False)}"


def decode_item(text: str) -> Item:
    """The inverse of ``encode_item``."""
    kind, _, content = text.partition(" ")
    return ITEM_TYPES[kind].validate_json(content)


def _encode_listing(listing: Listing) -> str:
    return json.dumps(dataclasses.asdict(dataclasses.replace(listing, items=())), ensure_ascii=False)


def _in_chunks(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of ``CHUNK_ROWS``; the last may be shorter."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        while rows >= CHUNK_ROWS:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, CHUNK_ROWS)
            waiting = [joined.slice(CHUNK_ROWS)]
            rows -= CHUNK_ROWS
    if rows:
        yield pa.concat_tables(waiting)


def _copied(table: pa.Table) -> pa.Table:
    """A table of its own memory: a slice would keep the whole block in Ray's object store."""
    return pa.Table.from_pydict(table.to_pydict(), schema=KEYS)


def _write_chunk(folder: UPath, index: int, table: pa.Table) -> str:
    file = BytesIO()
    pq.write_table(table, file, compression="zstd", use_dictionary=False, write_statistics=False)
    content = file.getvalue()
    name = f"items-{index:05d}-{hashlib.sha256(content).hexdigest()[:16]}.parquet"
    write_bytes(folder / name, content)
    return name


def _check_names(plan: Plan, source: Source) -> None:
    if not plan.keys.num_rows:
        reasons = "; ".join(f"{skip.file}: {skip.reason}" for skip in plan.skipped[:3])
        raise SourceError(f"{source.folder}: no labelled image" + (f" ({reasons})" if reasons else ""))
    names = plan.keys["name"]
    if pc.count_distinct(names).as_py() != plan.keys.num_rows:
        counts = pc.value_counts(names)
        twice = counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"]
        raise SourceError(f"{source.folder}: the name {twice} is there twice; give every image a name of its own")


def read_items(folder: UPath, chunks: Sequence[str], rows: NDArray[np.int64]) -> Iterator[Item]:
    """The items at some places of the plan, in order.

    Args:
        folder: the plan's folder.
        chunks: names of the plan's files.
        rows: places, ascending.
    """
    for index in np.unique(rows // CHUNK_ROWS).tolist():
        content = (folder / chunks[index]).read_bytes()
        places = rows[rows // CHUNK_ROWS == index] % CHUNK_ROWS
        texts = pq.read_table(BytesIO(content), columns=["item"])["item"].take(places)
        del content
        yield from (decode_item(text.as_py()) for text in texts)


def digest(parts: Iterable[str]) -> str:
    """SHA-256 over lines of text."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.encode() + b"\n")
    return total.hexdigest()
