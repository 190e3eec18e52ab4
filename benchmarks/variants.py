"""Which settings of the compiled step are the fastest here: precision, steps in a call, XLA, parts of a batch.

``python -m benchmarks.variants --model unet`` makes the same steps in every way in turn, several rounds, in one process
without Ray, and prints each way's speed as a ratio to lvseg's defaults. Images are in memory, as in a run.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from lvseg.config import TrainConfig
from lvseg.quiet import import_keras

VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "bfloat16": {"precision": "bfloat16"},
    "1 step a call": {"steps_per_call": 1},
    "4 steps a call": {"steps_per_call": 4},
    "64 steps a call": {"steps_per_call": 64},
    "XLA": {"xla": True},
    "batch in 2 parts": {"accumulate": 2},
    "average of the weights": {"ema": 0.99},
    "clipping": {"clip_norm": 1.0},
    "all augmentation": {
        "augment_rotation_deg": 180,
        "augment_flip": True,
        "augment_scale": 0.2,
        "augment_shift": 0.1,
        "augment_elastic_px": 8,
        "augment_gamma": 0.4,
        "augment_brightness": 0.3,
        "augment_shading": 0.4,
        "augment_noise": 0.2,
        "augment_blur_px": 1,
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is measured."""

    model: str = "fcn"
    """Architecture."""
    size: int = 256
    """Rows and columns."""
    steps: int = 16
    """Steps of each measurement."""
    batch_size: int = 4
    """Images in one step."""
    rounds: int = 3
    """How often all are measured, in turn; one more, which compiles, is not counted."""
    threads: int | None = None
    """TensorFlow's threads; default: all cores."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """What is measured; the defaults always are."""


def measure(benchmark: Benchmark) -> dict[str, list[float]]:
    """Images/s of every variant in every round."""
    import_keras()
    import tensorflow as tf

    from lvseg.training.context import Images
    from lvseg.training.engine import Engine
    from lvseg.training.feed import MemoryFeed
    from lvseg.training.loop import configure_threads
    from lvseg.training.order import epoch_order

    configure_threads(benchmark.threads or os.cpu_count() or 1)
    images = benchmark.steps * benchmark.batch_size
    random = np.random.default_rng(0)
    shape = (images, benchmark.size, benchmark.size)
    pixels = random.integers(0, 1000, shape, dtype=np.int16)
    masks = (random.random(shape) < 0.1).astype(np.uint8)
    names = tuple(map(str, range(images)))
    feed = MemoryFeed(Images(images=pixels, masks=masks, names=names, case_ids=names))
    base = TrainConfig(model=benchmark.model, batch_size=benchmark.batch_size, precision="float32")
    engines = {
        name: Engine(replace(base, **VARIANTS[name]), shape[1:], tf.distribute.get_strategy(), total_steps=1000)
        for name in dict.fromkeys(("defaults", *benchmark.variants))
    }
    order = epoch_order(images, benchmark.batch_size, 1, 0, 0, 1)
    speeds: dict[str, list[float]] = {name: [] for name in engines}
    for number in range(benchmark.rounds + 1):
        for name, engine in engines.items():
            started = time.perf_counter()
            chunks = feed.chunks(order, engine.config.steps_per_call)
            counts = [engine.train_steps(chunk, 1, np.zeros(2, np.float32))[0] for chunk in chunks]
            counts[-1].numpy()
            if number:
                speeds[name].append(images / (time.perf_counter() - started))
    return speeds


def main(args: Sequence[str] | None = None) -> int:
    benchmark = tyro.cli(Benchmark, args=args, description=__doc__)
    os.environ.update(CUDA_VISIBLE_DEVICES="")
    Console().print(table_of(benchmark, measure(benchmark)))
    return 0


def table_of(benchmark: Benchmark, speeds: dict[str, list[float]]) -> Table:
    """A row for each variant: its speed, and the ratios to the first one in the same round."""
    first = next(iter(speeds))
    table = Table(title=f"{benchmark.model}, {benchmark.size}x{benchmark.size}, batch {benchmark.batch_size}")
    for heading in ("", "images/s", f"ratio to {first}", "range"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, found in speeds.items():
        ratios = [one / other for one, other in zip(found, speeds[first], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        table.add_row(name, f"{statistics.median(found):.1f}", f"{statistics.median(ratios):.2f}", spread)
    return table


if __name__ == "__main__":
    sys.exit(main())
