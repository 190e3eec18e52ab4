"""Peak memory of a prediction, for sources of growing size.

``python -m benchmarks.predict_memory`` writes phantoms of whole cines, predicts each in a process of its own without
Ray (``--workers 1``: with Ray) and samples the memory that each process has for itself (USS, which leaves out what it
shares, such as Ray's object store and libraries).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.convert_memory import MB, ROOT, SAMPLE_SECONDS, Peaks
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
    words = ["predict", run, source, out, "--workers", workers, "--precision", "float32", "--no-gpu"]
    command = [sys.executable, "-m", "lvseg.cli", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_TMPDIR": ray}
    before, peaks = time.monotonic(), Peaks()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    driver = psutil.Process(process.pid)
    while process.poll() is None:
        peaks.sample(driver)
        time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(f"the prediction failed with {process.returncode}")
    return peaks, time.monotonic() - before


def main(benchmark: Benchmark) -> int:
    """Measure and print."""
    from benchmarks.predict_throughput import Benchmark as RunBenchmark
    from benchmarks.predict_throughput import write_run

    console = Console()
    table = Table("images", "seconds", "driver MB", "to the first", "largest worker MB", "to the first")
    first: tuple[int, int] | None = None
    for images in benchmark.images:
        patients = max(1, round(images / (SLICES * PHASES)))
        with (
            tempfile.TemporaryDirectory(prefix="lvseg-memory-") as name,
            tempfile.TemporaryDirectory(prefix="lv", ignore_cleanup_errors=True) as ray,
        ):
            folder = Path(name)
            run = write_run(folder, RunBenchmark(model=benchmark.model, crop=64))
            write_phantom(
                folder / "source", patients=patients, size=benchmark.size, slices=SLICES, phases=PHASES, fast=True
            )
            peaks, seconds = predict(run, folder / "source", folder / "out", benchmark.workers, ray)
        worker = max(peaks.workers.values(), default=0)
        first = first or (peaks.driver, worker)
        table.add_row(
            str(patients * SLICES * PHASES),
            f"{seconds:.0f}",
            f"{peaks.driver / MB:.0f}",
            f"{peaks.driver / first[0]:.2f}",
            f"{worker / MB:.0f}",
            f"{worker / first[1]:.2f}" if first[1] else "",
        )
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Benchmark)))
