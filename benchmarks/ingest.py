"""Images/s that reach a step which does nothing, for each way to keep images, against bare ``tf.data``.

``python -m benchmarks.ingest`` uses the Sunnybrook DICOM images that ``LVSEG_SUNNYBROOK`` names, else a phantom, again
and again until there are enough. The step sums one pixel of each image and mask of its batch, in a compiled loop on
both sides. All ways are measured in turn, several rounds, in one process on the CPU; the files are in the page cache.
The method is described in ``docs/benchmarks.md``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from lvseg.config import ConvertConfig, PreprocessConfig, RecordFormat, TrainConfig
from lvseg.errors import ConfigError, LvsegError
from lvseg.phantom import write_phantom
from lvseg.quiet import import_keras
from lvseg.records import SCHEMA_VERSION, Manifest, RecordFile, SplitPart, slice_to_row
from lvseg.records.files import SUFFIXES, encode_rows
from lvseg.slices import Slice
from lvseg.sources import discover, load
from lvseg.store import location

BASELINE = "tf.data, cache() in memory"
BARE = "tf.data, TFRecord files"
REQUIRED_RATIO = 0.95
"""What later epochs from memory promise against ``tf.data`` over the same files."""
FILE_IMAGES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is measured."""

    images: int = 2000
    """Training images."""
    batch_size: int = 4
    """Images in one step."""
    steps_per_call: int = 16
    """Steps in one call of the compiled function, as for lvseg train."""
    epochs: int = 4
    """Epochs of each measurement, at least 2; the first also reads, maps or copies."""
    rounds: int = 5
    """How often all are measured, in turn."""

    def __post_init__(self) -> None:
        if self.epochs < 2:
            raise ConfigError(f"epochs must be at least 2, the first is another thing, got {self.epochs}")
        if self.rounds < 1:
            raise ConfigError(f"rounds must be at least 1, got {self.rounds}")
        if self.images < self.batch_size or self.images % self.batch_size:
            raise ConfigError(f"images must be a multiple of batch_size, got {self.images} and {self.batch_size}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """Images/s of one measurement."""

    first: float
    """The first epoch, with all that has to come before it."""
    later: float
    """Median of the later ones."""


def make_slices(folder: Path, images: int) -> Iterator[Slice]:
    """Real or made slices, over and over under new names."""
    if sunnybrook := os.environ.get("LVSEG_SUNNYBROOK"):
        source = Path(sunnybrook) / "sunnybrook-dicom"
    else:
        source = folder / "phantom"
        write_phantom(source, patients=4, labelled_only=True)
    where, config = location(source), ConvertConfig()
    found = [load(where, item, config) for item in discover(where, config).items]
    shape = found[0].image.shape
    alike = itertools.cycle(item for item in found if item.image.shape == shape)
    for number, item in enumerate(itertools.islice(alike, images)):
        yield dataclasses.replace(item, name=f"I-{number:06d}")


def write_records(folder: Path, slices: Sequence[Slice], format: RecordFormat) -> Manifest:
    """A record set whose training part is all of the slices, and whose validation part is the first."""
    folder.mkdir()
    shape = slices[0].image.shape
    return Manifest(
        schema_version=SCHEMA_VERSION,
        lvseg_version="benchmark",
        format=format,
        source_layout="linked",
        labels="centre",
        structures="endo",
        preprocessing=PreprocessConfig(),
        split="image",
        val_fraction=0.2,
        seed=0,
        source_sha256="",
        records_sha256=hashlib.sha256(str(folder).encode()).hexdigest(),
        shapes={f"{shape[0]}x{shape[1]}": len(slices)},
        splits={"train": _part(folder, "train", slices, format), "val": _part(folder, "val", slices[:1], format)},
        decisions=(),
        findings={},
        skipped=(),
        unlabelled_images=0,
    )


def _part(folder: Path, split: str, slices: Sequence[Slice], format: RecordFormat) -> SplitPart:
    files = []
    for start in range(0, len(slices), FILE_IMAGES):
        part = slices[start : start + FILE_IMAGES]
        name = f"{split}-{start:06d}{SUFFIXES[format]}"
        (folder / name).write_bytes(encode_rows(map(slice_to_row, part), format))
        files.append(RecordFile(file=name, images=len(part), sha256=""))
    pixel_bytes = sum(item.image.nbytes + item.mask.nbytes for item in slices)
    return SplitPart(images=len(slices), pixel_bytes=pixel_bytes, patients=1, case_ids=("-",), files=tuple(files))


def bare_epochs(files: Sequence[Path], item: Slice, benchmark: Benchmark, cache: bool) -> Iterator[float]:
    """Epochs of a plain ``tf.data`` pipeline over TFRecords: parse, decode, shuffle, batch, prefetch.

    Yields:
        What the step summed up: the same for every way.
    """
    import tensorflow as tf

    shape, dtype = item.image.shape, tf.dtypes.as_dtype(item.image.dtype)
    features = {name: tf.io.FixedLenFeature([], tf.string) for name in ("image", "mask")}

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        row = tf.io.parse_single_example(record, features)
        image = tf.reshape(tf.io.decode_raw(row["image"], dtype), shape)
        return image, tf.reshape(tf.io.decode_raw(row["mask"], tf.uint8), shape)

    data = tf.data.TFRecordDataset([str(file) for file in files]).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    data = data.cache() if cache else data
    data = data.shuffle(512).batch(benchmark.batch_size).prefetch(tf.data.AUTOTUNE)

    @tf.function
    def epoch() -> tf.Tensor:
        total = 0.0
        for images, masks in data:
            total += _consumed(images, masks)
        return total

    while True:
        yield float(epoch().numpy())


def _consumed(images: Any, masks: Any) -> Any:
    """One pixel of every image and mask: the step that does nothing."""
    import tensorflow as tf

    return tf.reduce_sum(tf.cast(images[:, 0, 0], tf.float32)) + tf.reduce_sum(tf.cast(masks[:, 0, 0], tf.float32))


def lvseg_epochs(mode: Any, records: Path, manifest: Manifest, benchmark: Benchmark) -> Iterator[float]:
    """Epochs as training has them: the order drawn, chunks of steps, images gathered in the compiled loop.

    Yields:
        As ``bare_epochs``.
    """
    import tensorflow as tf

    from lvseg.training.order import epoch_order
    from lvseg.training.shards import open_shard

    config = TrainConfig(batch_size=benchmark.batch_size, steps_per_call=benchmark.steps_per_call)
    facts = {"train_images": benchmark.images, "val_names": [], "val_case_ids": []}
    feed = open_shard(mode, location(records), manifest, config, facts).train

    @tf.function
    def steps(images: tf.Tensor, masks: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        total = 0.0
        for step in tf.range(count):
            total += _consumed(tf.gather(images, rows[step]), tf.gather(masks, rows[step]))
        return total

    for number in itertools.count(1):
        order = epoch_order(benchmark.images, config.batch_size, 1, 0, config.seed, number)
        sums = [
            steps(chunk.images, chunk.masks, tf.constant(chunk.order.rows), tf.constant(chunk.steps))
            for chunk in feed.chunks(order, config.steps_per_call)
        ]
        yield float(tf.add_n(sums).numpy())


def measure_one(start: Callable[[], Iterator[float]], benchmark: Benchmark) -> Speed:
    """Time the epochs; the first from the very start."""
    seconds = []
    started = time.perf_counter()
    epochs = start()
    for _ in range(benchmark.epochs):
        next(epochs)
        now = time.perf_counter()
        seconds.append(now - started)
        started = now
    return Speed(first=benchmark.images / seconds[0], later=benchmark.images / statistics.median(seconds[1:]))


def measure(benchmark: Benchmark, folder: Path, console: Console) -> dict[str, list[Speed]]:
    """All ways, in turn, several rounds."""
    console.print(f"making {benchmark.images} images")
    slices = list(make_slices(folder, benchmark.images))
    parquet = write_records(folder / "parquet", slices, "parquet")
    tfrecord = write_records(folder / "tfrecord", slices, "tfrecord")
    files = [folder / "tfrecord" / file.file for file in tfrecord.splits["train"].files]
    item = slices[0]
    del slices
    found: dict[str, list[Speed]] = {}
    for number in range(1, benchmark.rounds + 1):
        console.print(f"round {number} of {benchmark.rounds}")
        os.environ["LVSEG_CACHE"] = str(folder / f"cache-{number}")  # so that the first epoch has to write it
        ways: dict[str, Callable[[], Iterator[float]]] = {
            BARE: lambda: bare_epochs(files, item, benchmark, cache=False),
            BASELINE: lambda: bare_epochs(files, item, benchmark, cache=True),
        }
        for mode in ("memory", "disk", "stream"):
            ways[f"lvseg, {mode}"] = lambda mode=mode: lvseg_epochs(mode, folder / "parquet", parquet, benchmark)  # type: ignore[misc]
        for way, start in ways.items():
            found.setdefault(way, []).append(measure_one(start, benchmark))
    return found


def table_of(benchmark: Benchmark, found: dict[str, list[Speed]]) -> Table:
    """A row for each way: medians, and later epochs as ratios to both kinds of ``tf.data``, round by round."""
    table = Table(title=f"{benchmark.images} images, batch {benchmark.batch_size}, {os.cpu_count()} cores")
    table.add_column("way")
    for heading in ("first epoch, images/s", "later epochs, images/s", "later / files", "later / cache", "range"):
        table.add_column(heading, justify="right")
    for way, speeds in found.items():
        ratios = {
            other: [mine.later / its.later for mine, its in zip(speeds, found[other], strict=True)]
            for other in (BARE, BASELINE)
        }
        table.add_row(
            way,
            f"{statistics.median(speed.first for speed in speeds):,.0f}",
            f"{statistics.median(speed.later for speed in speeds):,.0f}",
            *(f"{statistics.median(values):.2f}" for values in ratios.values()),
            f"{min(ratios[BASELINE]):.2f} to {max(ratios[BASELINE]):.2f}",
        )
    return table


def main(args: Sequence[str] | None = None) -> int:
    console = Console(highlight=False, emoji=False, markup=False)
    try:
        benchmark = tyro.cli(Benchmark, args=args, description=__doc__)
        os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")
        import_keras()
        with tempfile.TemporaryDirectory(prefix="lvseg-benchmark-") as folder:
            found = measure(benchmark, Path(folder), console)
    except LvsegError as error:
        print(f"ingest: error: {error}", file=sys.stderr)
        return error.exit_status
    console.print(table_of(benchmark, found))
    console.print(f"Promised for later epochs from memory: at least {REQUIRED_RATIO} of tf.data over the files.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
