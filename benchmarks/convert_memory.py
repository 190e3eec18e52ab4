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
from collections.abc import Sequence
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

    @property
    def largest_worker(self) -> int:
        """Of any worker; 0 without one."""
        return max(self.workers.values(), default=0)

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
    command = [sys.executable, "-c", code, str(source), str(records)]
    return watch(command, folder, "conversion", stderr=subprocess.DEVNULL)


def watch(command: Sequence[str], ray_folder: str, what: str, **streams: int) -> tuple[Peaks, float]:
    """Peaks and seconds of a command.

    Args:
        command: what to run, in a process of its own.
        ray_folder: for Ray's files; a short path.
        what: the command in words, for an error.
        streams: as ``subprocess.Popen`` takes them.
    """
    before, peaks = time.monotonic(), Peaks()
    environment = os.environ | {"RAY_TMPDIR": ray_folder, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, cwd=ROOT, **streams)
    driver = psutil.Process(process.pid)
    while process.poll() is None:
        peaks.sample(driver)
        time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(f"the {what} failed with {process.returncode}")
    return peaks, time.monotonic() - before


class PeaksTable:
    """A line for every size, with ratios to the first one's peaks."""

    def __init__(self) -> None:
        self.table = Table("images", "seconds", "driver MB", "to the first", "largest worker MB", "to the first")
        self._first: tuple[int, int] | None = None

    def add(self, images: int, seconds: float, peaks: Peaks) -> None:
        """A line."""
        self._first = self._first or (peaks.driver, peaks.largest_worker)
        cells = []
        for found, first in zip((peaks.driver, peaks.largest_worker), self._first, strict=True):
            cells += [f"{found / MB:.0f}", f"{found / first:.2f}" if first else ""]
        self.table.add_row(str(images), f"{seconds:.0f}", *cells)


def main(benchmark: Benchmark) -> int:
    """Measure and print."""
    console = Console()
    table = PeaksTable()
    for images in benchmark.images:
        patients = max(2, round(images / (SLICES * PHASES)))
        with (
            tempfile.TemporaryDirectory(prefix="lvseg-memory-") as name,
            tempfile.TemporaryDirectory(prefix="lv", ignore_cleanup_errors=True) as ray,
        ):
            source = Path(name) / "source"
            write_phantom(source, patients=patients, size=benchmark.size, slices=SLICES, phases=PHASES, fast=True)
            peaks, seconds = convert(source, Path(name) / "records", benchmark.workers, ray)
            found = f"driver {peaks.driver / MB:.0f} MB, worker {peaks.largest_worker / MB:.0f} MB"
            # Said before all the files are removed again, which takes long.
            console.print(f"{images}: {seconds:.0f} s, {found}")
        table.add(patients * SLICES * PHASES, seconds, peaks)
    console.print(table.table)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Benchmark)))
