"""Peak memory of a conversion's driver and of its largest worker, for data sets of growing size.

``python -m benchmarks.convert_memory`` writes phantoms of small images, converts each in a process of its own with a
Ray cluster of two cores, and samples the memory that each process has for itself (USS, which leaves out what it
shares, such as Ray's object store and libraries).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import tyro
from rich.console import Console
from rich.table import Table

from lvseg.phantom import write_phantom

ROOT = Path(__file__).parents[1]
SLICES, PHASES = 10, 20
SAMPLE_SECONDS = 0.25
MB = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is measured."""

    images: tuple[int, ...] = (1000, 10_000, 100_000)
    """Sizes; rounded to whole patients of 200 images."""
    size: int = 64
    """Rows and columns of an image."""
    workers: int = 2
    """Cores of the cluster."""


@dataclass(slots=True)
class Peaks:
    """Largest memory seen, bytes."""

    driver: int = 0
    workers: dict[int, int] = field(default_factory=dict)

    def sample(self, driver: psutil.Process) -> None:
        """Look at the driver and at its cluster's workers."""
        self.driver = max(self.driver, uss(driver))
        for child in driver.children(recursive=True):
            try:
                name = " ".join(child.cmdline()[:1])
            except psutil.Error:
                continue
            if name.startswith("ray::") and "Agent" not in name:
                self.workers[child.pid] = max(self.workers.get(child.pid, 0), uss(child))


def uss(process: psutil.Process) -> int:
    """Bytes that a process has for itself; 0 when it has ended."""
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0


def convert(source: Path, records: Path, workers: int, folder: str) -> tuple[Peaks, float]:
    """Peaks and seconds of one conversion."""
    code = (
        "import sys, ray\n"
        "from lvseg.config import ConvertConfig\n"
        "from lvseg.distributed.convert import convert\n"
        f"ray.init(address='local', num_cpus={workers}, include_dashboard=False, log_to_driver=False)\n"
        "manifest = convert(sys.argv[1], sys.argv[2], ConvertConfig())\n"
        "print(sum(part.images for part in manifest.splits.values()), manifest.findings)\n"
    )
    before, peaks = time.monotonic(), Peaks()
    environment = os.environ | {"RAY_TMPDIR": folder, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(source), str(records)], env=environment, cwd=ROOT, stderr=subprocess.DEVNULL
    )
    driver = psutil.Process(process.pid)
    while process.poll() is None:
        peaks.sample(driver)
        time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(f"the conversion failed with {process.returncode}")
    return peaks, time.monotonic() - before


def main(benchmark: Benchmark) -> int:
    """Measure and print."""
    console = Console()
    table = Table("images", "seconds", "driver MB", "to the first", "largest worker MB", "to the first")
    first: tuple[int, int] | None = None
    for images in benchmark.images:
        patients = max(2, round(images / (SLICES * PHASES)))
        with (
            tempfile.TemporaryDirectory(prefix="lvseg-memory-") as name,
            tempfile.TemporaryDirectory(prefix="lv", ignore_cleanup_errors=True) as ray,
        ):
            source = Path(name) / "source"
            write_phantom(source, patients=patients, size=benchmark.size, slices=SLICES, phases=PHASES, fast=True)
            peaks, seconds = convert(source, Path(name) / "records", benchmark.workers, ray)
            worker = max(peaks.workers.values(), default=0)
            # Said before all the files are removed again, which takes long.
            console.print(f"{images}: {seconds:.0f} s, driver {peaks.driver / MB:.0f} MB, worker {worker / MB:.0f} MB")
        first = first or (peaks.driver, worker)
        table.add_row(
            str(patients * SLICES * PHASES),
            f"{seconds:.0f}",
            f"{peaks.driver / MB:.0f}",
            f"{peaks.driver / first[0]:.2f}",
            f"{worker / MB:.0f}",
            f"{worker / first[1]:.2f}",
        )
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Benchmark)))
