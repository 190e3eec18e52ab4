"""How long the challenge's evaluation of 15 patients takes: reading contours and headers, scoring, writing.

``python -m benchmarks.evaluate_contours`` uses the three Sunnybrook patients that ``LVSEG_SUNNYBROOK`` names, each five
times under names of its own; without them a phantom of 15 patients with whole cines. The automatic contours are the
manual ones, made into masks and back, endocardium and epicardium.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lvseg.evaluation import contour_from_mask, evaluate_frames, to_json, write_auto_contours, write_evaluation
from lvseg.phantom import write_phantom
from lvseg.rasterize import rasterize
from lvseg.slices import Contours
from lvseg.sources.contour_trees import read_contour_trees
from lvseg.sources.contours import read_contour
from lvseg.store import write_text

PATIENTS, SHAPE = 15, (256, 256)
STRUCTURES = {"i": "endocardium", "o": "epicardium"}


def make_source(folder: Path) -> None:
    """15 patients in the linked layout."""
    if "LVSEG_SUNNYBROOK" not in os.environ:
        write_phantom(folder, patients=PATIENTS, slices=10)
        return
    real = Path(os.environ["LVSEG_SUNNYBROOK"]) / "sunnybrook-dicom"
    rows = [line.split(",") for line in (real / "link.csv").read_text().split()[1:]]
    lines = ["patient_id,original_id"]
    for number in range(PATIENTS):
        patient, case = rows[number % len(rows)]
        lines.append(f"PHANTOM{number:04d},PH-HF-{number}")
        for kind, name, link in (
            ("dicoms", patient, f"PHANTOM{number:04d}"),
            ("contourfiles", case, f"PH-HF-{number}"),
        ):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            (folder / kind / link).symlink_to((real / kind / name).resolve())
    (folder / "link.csv").write_text("\n".join(lines) + "\n")


def make_auto(source: Path, folder: Path) -> int:
    """Automatic contours; how many there are."""
    count = 0
    for path in sorted(source.glob("contourfiles/*/*/*contour-manual.txt")):
        _, _, number, kind, _ = path.name.split("-")
        if structure := STRUCTURES.get(kind[:-7]):
            contour = contour_from_mask(rasterize(read_contour(path), SHAPE, "centre"), "centre")
            write_auto_contours(folder / path.parts[-3], int(number), Contours(**{structure: contour}))
            count += 1
    return count


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="lvseg-") as made:
        source, auto, out = (Path(made) / name for name in ("source", "auto", "out"))
        make_source(source)
        contours = make_auto(source, auto)
        times = [(time.perf_counter(), time.process_time())]
        trees = read_contour_trees(auto, source, source)
        times.append((time.perf_counter(), time.process_time()))
        evaluation = evaluate_frames(trees.frames)
        times.append((time.perf_counter(), time.process_time()))
        write_evaluation(evaluation, out)
        write_text(out / "evaluation.json", to_json(evaluation))
        times.append((time.perf_counter(), time.process_time()))
    patients = {frame.case_id for frame in trees.frames}
    table = Table(title=f"{len(patients)} patients, {contours} automatic contours, {len(trees.frames)} images scored")
    for heading in ("step", "seconds", "CPU seconds"):
        table.add_column(heading)
    steps = ("read contours and headers", "score", "write tables, plots, JSON")
    for step, before, after in zip(steps, times, times[1:], strict=False):
        table.add_row(step, *(f"{b - a:.1f}" for a, b in zip(before, after, strict=True)))
    table.add_row("all", *(f"{b - a:.1f}" for a, b in zip(times[0], times[-1], strict=True)))
    Console().print(table)


if __name__ == "__main__":
    main()
