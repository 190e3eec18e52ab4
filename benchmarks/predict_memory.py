"""Peak memory of a prediction, for sources of growing size.

``python -m benchmarks.predict_memory`` writes phantoms of whole cines, predicts each in a process of its own without
Ray (``--workers 1``: with Ray) and samples the memory that each process has for itself (USS, which leaves out what it
shares, such as Ray's object store and libraries).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from benchmarks.convert_memory import Peaks, PeaksTable, watch
from lvseg.phantom import write_phantom

SLICES, PHASES = 10, 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is measured."""

    images: tuple[int, ...] = (700, 7000)
    """Sizes; rounded to whole patients of 200 images."""
    size: int = 128
    """Rows and columns of an image."""
    workers: int = 0
    """As in lvseg predict."""
    model: str = "unet-light"
    """Architecture; a fast one, since only memory is measured."""


def predict(run: Path, source: Path, out: Path, workers: int, ray: str) -> tuple[Peaks, float]:
    """Peaks and seconds of one prediction."""
    words = ["predict", run, source, out, "--workers", workers, "--precision", "float32", "--gpu", "False"]
    command = [sys.executable, "-m", "lvseg.cli", *map(str, words)]
    return watch(command, ray, "prediction", stdout=subprocess.DEVNULL)


def main(benchmark: Benchmark) -> int:
    """Measure and print."""
    from benchmarks.predict_throughput import make_run

    console = Console()
    table = PeaksTable()
    for images in benchmark.images:
        patients = max(1, round(images / (SLICES * PHASES)))
        with (
            tempfile.TemporaryDirectory(prefix="lvseg-memory-") as name,
            tempfile.TemporaryDirectory(prefix="lv", ignore_cleanup_errors=True) as ray,
        ):
            folder = Path(name)
            run = make_run(folder, benchmark.model, crop=64)
            write_phantom(
                folder / "source", patients=patients, size=benchmark.size, slices=SLICES, phases=PHASES, fast=True
            )
            peaks, seconds = predict(run, folder / "source", folder / "out", benchmark.workers, ray)
        table.add(patients * SLICES * PHASES, seconds, peaks)
    console.print(table.table)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Benchmark)))
