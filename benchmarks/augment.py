"""Cost of augmentation: milliseconds of CPU time an image, on one thread.

``python -m benchmarks.augment`` runs every change alone, met by every image, and all together at the settings'
own chance. CPU time, not wall clock: other work on the machine then disturbs little.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import tyro
from rich.console import Console
from rich.table import Table

from lvseg.config import AugmentConfig
from lvseg.quiet import import_keras


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is measured."""

    size: int = 256
    """Rows and columns."""
    batch_size: int = 16
    """Images in one call."""
    calls: int = 20
    """Timed calls of each."""


def candidates(every: AugmentConfig) -> Iterator[tuple[str, AugmentConfig]]:
    """Name and settings of what is measured."""
    for name, value in asdict(every).items():
        if name != "augment_chance":
            yield f"{name} {value:g}, every image", AugmentConfig(**{name: value}, augment_chance=1.0)
    chance = f"chance {every.augment_chance:g}"
    yield f"all but elastic, {chance}", replace(every, augment_elastic_px=0.0)
    yield f"all, {chance}", every
    yield "all, every image", replace(every, augment_chance=1.0)


def measure(config: AugmentConfig, benchmark: Benchmark) -> tuple[float, float]:
    """Seconds of the first call, which compiles, and the median milliseconds an image of the later ones."""
    import tensorflow as tf

    from lvseg.training.augment import augment

    shape = (benchmark.batch_size, benchmark.size, benchmark.size)
    images = tf.random.stateless_normal((*shape, 1), (0, 1))
    labels = tf.random.stateless_uniform(shape, (0, 2), maxval=2, dtype=tf.int32)
    numbers = tf.range(benchmark.batch_size)
    call = tf.function(lambda epoch: augment(images, labels, numbers, epoch, config, 0))
    first = _seconds(lambda: call(tf.constant(0)))
    later = [_seconds(lambda at=at: call(tf.constant(at))) for at in range(1, benchmark.calls + 1)]  # type: ignore[misc]
    return first, statistics.median(later) / benchmark.batch_size * 1000


def _seconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def main() -> int:
    benchmark = tyro.cli(Benchmark, description=__doc__)
    os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")
    import_keras()
    import tensorflow as tf

    from lvseg.training.preview import EXAMPLE

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    table = Table(title=f"augmentation of {benchmark.size}x{benchmark.size}, one thread, CPU time")
    table.add_column("changes")
    for heading in ("ms an image", "first call, s"):
        table.add_column(heading, justify="right")
    for name, config in candidates(EXAMPLE):
        first, milliseconds = measure(config, benchmark)
        table.add_row(name, f"{milliseconds:.2f}", f"{first:.2f}")
    Console(highlight=False).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
