"""Conversion speed with two workers against a bare loop over the same DICOM files.

``LVSEG_SUNNYBROOK=/path/to/data python -m benchmarks.convert_throughput`` makes a source in the linked layout from
the 700 images of ``sunnybrook-dicom``: every image gets a contour of its own patient, the one of the nearest image
number, and further patients are copies with other pixel values, contours and UIDs, so that a steady state lasts. Then,
in turn, several rounds:

- lvseg: ``convert`` on a Ray cluster of two cores. Images/s between the first finished record file and the last, and
  over the whole call, listing, quality control and all, Ray already running.
- bare: one process; ``pydicom.dcmread``, ``np.loadtxt`` of the contour, the mask by lvseg's rasteriser, and the same
  Parquet with the same columns. It knows which files belong together, checks nothing, hashes nothing.
- two bare loops at once, each with half of the files: what two cores give where other work shares the machine.
- pydicom: ``pydicom.dcmread`` alone, in two processes: what no conversion with this library can exceed.
"""

from __future__ import annotations

import csv
import logging
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.config
import tyro
from rich.console import Console
from rich.table import Table

from lvseg.config import ConvertConfig
from lvseg.rasterize import rasterize
from lvseg.records import slice_to_row, write_rows
from lvseg.slices import Contours, Place, Slice

WORKERS = 2
SHARD_IMAGES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is measured."""

    copies: int = 12
    """Copies of the three patients; 700 images each."""
    rounds: int = 3
    """How often each is measured, in turn."""
    bare_images: int = 2100
    """Images of the bare loop and of pydicom alone in one round."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An image, its contour, and what they are called."""

    image: Path
    contour: Path
    name: str
    case_id: str


def make_source(real: Path, out: Path, copies: int) -> list[Pair]:
    """The linked tree in which every image has a contour."""
    with (real / "link.csv").open(newline="", encoding="utf-8") as file:
        links = [(row["patient_id"], row["original_id"]) for row in csv.DictReader(file)]
    pairs, rows = [], []
    for copy in range(copies):
        for number, (folder, original) in enumerate(links):
            patient, case = f"SCD{copy:03d}{number:04d}", f"SC-N-{1000 + copy * len(links) + number}"
            rows.append((patient, case))
            contours = read_contours(real / "contourfiles" / original / "i-contours")
            for image in sorted((real / "dicoms" / folder).glob("*.dcm")):
                pairs.append(copy_image(image, out, patient, case, contours, copy))
    with (out / "link.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("patient_id", "original_id"), *rows])
    return pairs


def read_contours(folder: Path) -> dict[int, np.ndarray]:
    """Contours by image number."""
    return {int(path.name.split("-")[2]): np.loadtxt(path) for path in folder.glob("*.txt")}


def copy_image(image: Path, out: Path, patient: str, case: str, contours: dict[int, np.ndarray], copy: int) -> Pair:
    """One image with other pixel values and UID, and its contour, a little elsewhere."""
    number = int(image.stem)
    target = out / "dicoms" / patient / image.name
    contour = out / "contourfiles" / case / "i-contours" / f"IM-0001-{number:04d}-icontour-manual.txt"
    target.parent.mkdir(parents=True, exist_ok=True)
    contour.parent.mkdir(parents=True, exist_ok=True)
    dataset = pydicom.dcmread(image)
    dataset.PixelData = (dataset.pixel_array + copy).astype(dataset.pixel_array.dtype).tobytes()
    uid = f"1.2.826.0.1.3680043.8.498.{copy + 1}.{patient[3:].lstrip('0') or 0}.{number}"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.SeriesInstanceUID = f"1.2.826.0.1.3680043.8.499.{copy + 1}.{patient[3:].lstrip('0') or 0}"
    dataset.save_as(target)
    nearest = contours[min(contours, key=lambda each: abs(each - number))]
    np.savetxt(contour, nearest + 0.5 * np.array([copy % 4, copy // 4]), fmt="%.2f")
    return Pair(target, contour, f"{case}-IM-0001-{number:04d}", case)


def bare_loop(pairs: list[Pair], out: Path) -> float:
    """Images/s of one process."""
    before = time.perf_counter()
    for start in range(0, len(pairs), SHARD_IMAGES):
        rows = [slice_to_row(bare_slice(pair)) for pair in pairs[start : start + SHARD_IMAGES]]
        write_rows(out / f"{start}.parquet", rows, "parquet")
    return len(pairs) / (time.perf_counter() - before)


def bare_slice(pair: Pair) -> Slice:
    """What the Parquet has columns for."""
    dataset = pydicom.dcmread(pair.image)
    contour = np.loadtxt(pair.contour)
    pixels = dataset.pixel_array
    return Slice(
        name=pair.name,
        case_id=pair.case_id,
        image=pixels,
        mask=rasterize(contour, pixels.shape, "centre"),
        place=Place(
            instance_number=int(dataset.InstanceNumber),
            trigger_time_ms=float(dataset.TriggerTime),
            pixel_spacing=tuple(map(float, dataset.PixelSpacing)),  # type: ignore[arg-type]
            slice_thickness_mm=float(dataset.SliceThickness),
            spacing_between_slices_mm=float(dataset.SpacingBetweenSlices),
            image_position_patient=tuple(map(float, dataset.ImagePositionPatient)),  # type: ignore[arg-type]
            image_orientation_patient=tuple(map(float, dataset.ImageOrientationPatient)),  # type: ignore[arg-type]
        ),
        contours=Contours(endocardium=contour),
    )


def bare_loops(pairs: list[Pair], out: Path, pool: Any) -> float:
    """Images/s of a bare loop in each of two processes."""
    before = time.perf_counter()
    pool.starmap(bare_loop, [(pairs[start::WORKERS], _made(out / str(start))) for start in range(WORKERS)], chunksize=1)
    return len(pairs) / (time.perf_counter() - before)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def parse(pair: Pair) -> int:
    """``pydicom.dcmread`` alone."""
    return len(pydicom.dcmread(pair.image).PixelData)


def parse_limit(pairs: list[Pair], pool: Any) -> float:
    """Images/s of ``pydicom.dcmread`` alone in two processes."""
    before = time.perf_counter()
    pool.map(parse, pairs, chunksize=32)
    return len(pairs) / (time.perf_counter() - before)


def run_convert(source: Path, out: Path) -> dict[str, float]:
    """Seconds and images/s of one conversion, in the Ray session that is there."""
    from lvseg.distributed.convert import convert

    moments: list[tuple[float, int]] = []
    before = time.perf_counter()
    convert(
        source,
        out,
        # Contours of other images lie on these badly; what is found wrong would all be written a second time.
        ConvertConfig(shard_images=SHARD_IMAGES, quarantine=False),
        progress=lambda done, _: moments.append((time.perf_counter(), done)),
    )
    end = time.perf_counter()
    written = [(moment, done) for moment, done in moments if done]
    (first, done_first), (last, images) = written[0], written[-1]
    return {
        "listing": moments[0][0] - before,
        "first": first - moments[0][0],
        "finish": end - last,
        "steady": (images - done_first) / (last - first),
        "steady seconds": last - first,
        "whole": images / (end - before),
    }


def measure(benchmark: Benchmark, folder: Path, real: Path, console: Console) -> dict[str, list[float]]:
    """All rounds."""
    pairs = make_source(real, folder / "source", benchmark.copies)
    console.print(f"{len(pairs)} images of {len({pair.case_id for pair in pairs})} patients")
    few = pairs[:: max(1, len(pairs) // benchmark.bare_images)][: benchmark.bare_images]
    results: dict[str, list[float]] = {}
    with multiprocessing.get_context("spawn").Pool(WORKERS, quiet) as pool:
        pool.map(parse, few[:64])
        (folder / "warm-up").mkdir()
        bare_loops(few[:64], folder / "warm-up", pool)
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        ray.data.DataContext.get_current().enable_progress_bars = False
        before = time.perf_counter()
        ray.init(address="local", num_cpus=WORKERS, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
        console.print(f"Ray's start-up: {time.perf_counter() - before:.1f} s")
        for number in range(benchmark.rounds):
            (folder / "bare").mkdir()
            one = run_convert(folder / "source", folder / "records")
            one |= {"bare": bare_loop(few, folder / "bare"), "two bare": bare_loops(few, folder / "bare", pool)}
            one |= {"pydicom": parse_limit(few, pool)}
            for name in ("bare", "records"):
                shutil.rmtree(folder / name)
            console.print(f"round {number + 1}: " + ", ".join(f"{name} {value:.1f}" for name, value in one.items()))
            for name, value in one.items():
                results.setdefault(name, []).append(value)
        ray.shutdown()
    return results


def quiet() -> None:
    """Keep pydicom from warning of every UID with a leading zero; the values are used as they are."""
    settings = pydicom.config.settings
    settings.reading_validation_mode = settings.writing_validation_mode = pydicom.config.IGNORE


def main(benchmark: Benchmark) -> int:
    """Measure and print."""
    quiet()
    name = os.environ.get("LVSEG_SUNNYBROOK")
    if not name:
        print("LVSEG_SUNNYBROOK must name the folder that holds sunnybrook-dicom/", file=sys.stderr)
        return 2
    console = Console()
    with tempfile.TemporaryDirectory(prefix="lvseg-throughput-") as folder:
        results = measure(benchmark, Path(folder), Path(name) / "sunnybrook-dicom", console)
    table = Table("", "images/s", "µs an image", "to bare", "range", "to pydicom", title="µs of one process")
    for label, key, processes in (
        ("lvseg, steady state", "steady", WORKERS),
        ("lvseg, whole call", "whole", WORKERS),
        ("bare loop, one process", "bare", 1),
        ("bare loop, two processes", "two bare", WORKERS),
        ("pydicom alone, two processes", "pydicom", WORKERS),
    ):
        values, bare, limit = results[key], results["bare"], results["pydicom"]
        to_bare, to_limit = ([a / b for a, b in zip(values, other, strict=True)] for other in (bare, limit))
        table.add_row(
            label,
            f"{statistics.median(values):.0f}",
            f"{1e6 * processes / statistics.median(values):.0f}",
            f"{statistics.median(to_bare):.2f}",
            f"{min(to_bare):.2f} to {max(to_bare):.2f}",
            f"{statistics.median(to_limit):.2f}",
        )
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Benchmark)))
