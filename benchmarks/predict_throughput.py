"""Images/s of a prediction against a bare loop over ``model(batch)``, in turns, in one process.

``python -m benchmarks.predict_throughput`` trains for a moment on a phantom and writes another of whole cines. The bare
loop has everything in memory, preprocessed and standardised, and calls the compiled model on one batch after another,
nothing else. The prediction reads DICOM, preprocesses, runs the model, brings masks back, draws contours, measures
volumes and writes all its files. Steady state: the models are loaded and compiled, and its clock runs from the first
finished study to the last; what comes before is told as start-up. Both take turns, so that a busy machine slows both.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.phantom_records import phantom_records
from lvseg.config import ConvertConfig, PredictConfig, TrainConfig
from lvseg.inference.job import OpenJob, end_job, open_job, read_pack
from lvseg.inference.local import predict_locally
from lvseg.inference.model import load_member
from lvseg.phantom import write_phantom
from lvseg.run_folder import Run
from lvseg.store import location
from lvseg.training.engine import standardise
from lvseg.training.local import train_locally


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is measured."""

    model: str = "unet"
    """Architecture."""
    crop: int = 128
    """Rows and columns that the model sees, as in the recipe unet-sunnybrook."""
    patients: int = 4
    """Cines of a round, 200 images each."""
    rounds: int = 3
    """Turns of bare loop and prediction."""
    batch_size: int = 16
    """Images in one call of the model."""
    outputs: tuple[str, ...] = ("contours", "png")
    """Files that the prediction writes."""


def make_run(folder: Path, model: str, crop: int) -> Path:
    """A short training on a phantom: masks that look like hearts take their usual time to be drawn and written."""
    settings = ConvertConfig(crop="centre", crop_size=crop, val_fraction=0.25)
    manifest = phantom_records(folder, settings, patients=4, size=256, slices=6, phases=8)
    config = TrainConfig(model=model, epochs=8, batch_size=4, learning_rate=1e-3, precision="float32", picture_every=0)
    run = Run(folder=location(folder / "run"), config=config, records=location(folder / "records"), manifest=manifest)
    result = train_locally(run, lambda _: None)
    print(f"a run of {result.epochs} epochs on a phantom: validation Dice {result.val_dice:.3f}")
    return folder / "run"


def open_prediction(run: Path, source: Path, out: Path, benchmark: Benchmark) -> OpenJob:
    """A prediction that has not begun."""
    shutil.rmtree(out, ignore_errors=True)
    settings = PredictConfig(precision="float32", batch_size=benchmark.batch_size, outputs=benchmark.outputs)  # type: ignore[arg-type]
    return open_job((location(run),), location(source), location(out), settings, None, gpu=False)


class BareLoop:
    """The model called on batches in memory."""

    def __init__(self, run: Path, opened: OpenJob, batch_size: int) -> None:
        model = load_member(location(run)).model
        inputs = [study.inputs[0] for pack in opened.packs for study in read_pack(opened.job, pack)[0]]
        images = standardise(tf.constant(np.concatenate(inputs)))
        self.images = len(images)
        self._batches = [images[start : start + batch_size] for start in range(0, self.images, batch_size)]
        self._call = tf.function(lambda batch: model(batch, training=False), reduce_retracing=True)
        self.run()

    def run(self) -> float:
        """Images/s of one pass."""
        before = time.monotonic()
        for batch in self._batches:
            self._call(batch)[0, 0, 0, 0].numpy()
        return self.images / (time.monotonic() - before)


def predict(opened: OpenJob) -> tuple[float, float]:
    """(images/s from the first finished study to the last, seconds until the first)."""
    start = time.monotonic()
    ends: list[tuple[float, int]] = []

    def timed():  # type: ignore[no-untyped-def]
        for done in predict_locally(opened):
            ends.append((time.monotonic(), done.images))
            yield done

    end_job(opened, timed(), lambda *_: None)
    first, last = ends[0][0], ends[-1][0]
    return sum(images for _, images in ends[1:]) / (last - first), first - start


def main(benchmark: Benchmark) -> int:
    """Measure and print."""
    console = Console()
    table = Table("round", "bare loop, images/s", "predict, images/s", "ratio", "until the first study, s")
    with tempfile.TemporaryDirectory(prefix="lvseg-predict-") as name:
        folder = Path(name)
        run, source, out = make_run(folder, benchmark.model, benchmark.crop), folder / "source", folder / "out"
        write_phantom(source, patients=benchmark.patients, size=256, slices=10, phases=20)
        bare = BareLoop(run, open_prediction(run, source, out, benchmark), benchmark.batch_size)
        ratios = []
        for number in range(1, benchmark.rounds + 1):
            before = bare.run()
            speed, startup = predict(open_prediction(run, source, out, benchmark))
            yardstick = (before + bare.run()) / 2
            ratios.append(speed / yardstick)
            table.add_row(str(number), f"{yardstick:.1f}", f"{speed:.1f}", f"{ratios[-1]:.3f}", f"{startup:.1f}")
    console.print(table)
    console.print(f"median ratio {statistics.median(ratios):.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Benchmark)))
