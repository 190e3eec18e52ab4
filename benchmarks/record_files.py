"""What row-group size and zstd level cost: writing, size on disk, reading a worker's part.

``python -m benchmarks.record_files`` uses the Sunnybrook DICOM images that ``LVSEG_SUNNYBROOK`` names, else a phantom.
Every setting writes the same rows to memory, in turn, several rounds; the table gives medians. A worker's part is a
quarter of the rows, from somewhere in the middle, with the columns that training reads.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from rich.console import Console
from rich.table import Table

from lvseg.config import ConvertConfig
from lvseg.phantom import write_phantom
from lvseg.records import SCHEMA, slice_to_row
from lvseg.records.files import PIXELS, encode_rows
from lvseg.sources import discover, load
from lvseg.store import location

GROUPS = (16, 32, 64, 256)
LEVELS = (1, 3, 9)
COLUMNS = ("name", "case_id", "rows", "columns", "image_dtype", "image", "mask")
"""What training reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is measured."""

    images: int = 256
    """Rows of a file; the source's images again and again."""
    rounds: int = 5
    """How often each setting is measured, in turn."""


@contextmanager
def source_folder() -> Iterator[Path]:
    """Sunnybrook's DICOM images, or a phantom of the same size."""
    if folder := os.environ.get("LVSEG_SUNNYBROOK"):
        yield Path(folder) / "sunnybrook-dicom"
        return
    with tempfile.TemporaryDirectory(prefix="lvseg-") as made:
        write_phantom(Path(made) / "phantom", patients=3, labelled_only=True)
        yield Path(made) / "phantom"


def read_source(images: int) -> list[dict[str, Any]]:
    """Rows of as many images."""
    with source_folder() as folder:
        config = ConvertConfig()
        items = discover(location(folder), config).items
        rows = [slice_to_row(load(location(folder), item, config)) for item in items]
    return [rows[index % len(rows)] | {"name": f"image-{index}"} for index in range(images)]


def write(rows: list[dict[str, Any]], group: int, level: int) -> bytes:
    """A record file with other settings than lvseg's own."""
    file = BytesIO()
    labels = [name for name in SCHEMA.names if name not in PIXELS]
    pq.write_table(
        pa.Table.from_pylist(rows, schema=SCHEMA),
        file,
        row_group_size=group,
        compression="zstd",
        compression_level=level,
        use_dictionary=labels,
        write_statistics=labels,
        write_page_checksum=True,
    )
    return file.getvalue()


def read_part(data: bytes, rows: int) -> int:
    """Read the row groups that hold a quarter of the rows; returns the rows read."""
    with pq.ParquetFile(BytesIO(data), page_checksum_verification=True) as file:
        first, last, offset, groups = rows * 3 // 8, rows * 5 // 8, 0, []
        for index in range(file.metadata.num_row_groups):
            count = file.metadata.row_group(index).num_rows
            if offset < last and offset + count > first:
                groups.append(index)
            offset += count
        return int(file.read_row_groups(groups, columns=list(COLUMNS)).num_rows)


def timed(function: Any, *args: Any) -> tuple[float, Any]:
    """Seconds, and what the function returned."""
    before = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - before, result


def main(benchmark: Benchmark) -> int:
    """Measure and print."""
    rows = read_source(benchmark.images)
    settings = [(group, level) for group in GROUPS for level in LEVELS]
    writing: dict[tuple[int, int], list[float]] = {each: [] for each in settings}
    reading: dict[tuple[int, int], list[float]] = {each: [] for each in settings}
    sizes: dict[tuple[int, int], int] = {}
    tfrecord: list[float] = []
    for _ in range(benchmark.rounds):
        for each in settings:
            seconds, data = timed(write, rows, *each)
            writing[each].append(seconds)
            sizes[each] = len(data)
            reading[each].append(timed(read_part, data, len(rows))[0])
        tfrecord.append(timed(encode_rows, rows, "tfrecord")[0])
    raw = sum(len(row["image"]) + len(row["mask"]) for row in rows)
    table = Table("row group", "zstd level", "write images/s", "size / pixels", "read a quarter, images/s")
    for each in settings:
        table.add_row(
            *map(str, each),
            f"{len(rows) / statistics.median(writing[each]):.0f}",
            f"{sizes[each] / raw:.3f}",
            f"{len(rows) / 4 / statistics.median(reading[each]):.0f}",
        )
    table.add_row("TFRecord", "", f"{len(rows) / statistics.median(tfrecord):.0f}", "", "")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Benchmark)))
