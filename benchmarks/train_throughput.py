"""Training throughput of lvseg as ratios to a bare TensorFlow loop, Keras's ``fit``, and itself on 2 workers; CPU only.

``python -m benchmarks.train_throughput`` runs them in turn, several rounds, since other work on the machine
disturbs every single time. The method is described in ``docs/benchmarks.md``.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from lvseg.config import ConvertConfig, TrainConfig
from lvseg.errors import ConfigError, LvsegError, TrainingError
from lvseg.phantom import write_phantom
from lvseg.quiet import TENSORFLOW_KERNELS
from lvseg.results import read_history
from lvseg.run_folder import changed_flags

LABELLED_IMAGES_OF_A_PATIENT = 10
"""Fewer than a phantom patient has; in 16 patients there were 13 to 16."""
IMAGE_SIZE = 256
BARE, FIT, HERE, ONE, TWO = "bare loop", "Keras fit", "lvseg, no Ray", "lvseg, 1 worker", "lvseg, 2 workers"
WAYS = (BARE, FIT, HERE, ONE, TWO)
RATIOS = {ONE: (BARE, FIT), HERE: (BARE, FIT), TWO: (ONE,)}
"""What is divided by what."""
PROMISED = {(ONE, BARE): 0.97, (ONE, FIT): 0.97, (TWO, ONE): 0.93}
MEANING = (
    "bare loop: one compiled step on batches that were gathered, standardised and copied to TensorFlow beforehand; "
    "Keras fit: the same batches. No Ray, no strategy, no metrics.",
    "lvseg: lvseg train; every step gathers and standardises its images and counts loss, accuracy and Dice; the "
    "epoch's sums and progress notes are in the time. Validation, checkpoint and pictures are not.",
    "2 workers have half of the threads each. All: images/s over the training steps, median of the epochs from the "
    "second on.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is measured."""

    model: str = "fcn"
    """Architecture."""
    images: int = 64
    """Training images of 256x256, a multiple of batch-size."""
    epochs: int = 4
    """Epochs of each measurement, at least 2; the first compiles and does not count."""
    batch_size: int = 4
    """Images in one step."""
    threads: int | None = None
    """TensorFlow's threads; default: all cores."""
    precision: str = "float32"
    """Arithmetic of the layers: float32 or bfloat16."""
    rounds: int = 3
    """How often all are measured, in turn."""
    ways: tuple[str, ...] = WAYS
    """What is measured."""

    def __post_init__(self) -> None:
        cores = os.cpu_count() or 1
        if self.epochs < 2:
            raise ConfigError(f"epochs must be at least 2, the first is not counted, got {self.epochs}")
        if self.rounds < 1:
            raise ConfigError(f"rounds must be at least 1, got {self.rounds}")
        if self.threads is not None and not 1 <= self.threads <= cores:
            raise ConfigError(f"threads must be from 1 to the {cores} cores of this machine, got {self.threads}")
        if unknown := set(self.ways) - set(WAYS):
            raise ConfigError(f"ways must be of {', '.join(WAYS)}, got {unknown.pop()!r}")
        self.train_config()
        if self.images < 1 or self.images % self.batch_size:
            raise ConfigError(f"images must be a multiple of batch_size, got {self.images} and {self.batch_size}")

    def train_config(self) -> TrainConfig:
        """The same settings for all."""
        return TrainConfig(
            model=self.model,
            epochs=self.epochs,
            batch_size=self.batch_size,
            precision=self.precision,  # type: ignore[arg-type]  # checked there
            cpus_per_worker=self.threads or os.cpu_count() or 1,
            picture_every=0,
        )


def later_epochs(speeds: Sequence[float]) -> float:
    """Median of the speeds from the second epoch on."""
    return statistics.median(speeds[1:])


def make_records(folder: Path, images: int) -> Path:
    """A phantom record set with exactly ``images`` training images; the rest of its images are for validation."""
    from lvseg.distributed.convert import convert
    from lvseg.distributed.session import ray_session

    patients = images // LABELLED_IMAGES_OF_A_PATIENT + 1
    phantom = write_phantom(folder / "phantom", patients=patients, size=IMAGE_SIZE, labelled_only=True)
    found = phantom.endocardium_contours
    with ray_session():
        convert(phantom.out, folder / "records", ConvertConfig(split="image", val_fraction=(found - images) / found))
    return folder / "records"


def measure_way(way: str, records: Path, config: TrainConfig, folder: Path) -> float:
    """Images/s of one way, in a new process.

    Raises:
        TrainingError: it failed.
    """
    if way in (BARE, FIT):
        return later_epochs(json.loads(_run(records, config, "benchmarks.bare_loop", *(["--fit"] * (way == FIT)))))
    workers = {HERE: 0, ONE: 1, TWO: 2}[way]
    threads = max(1, (config.cpus_per_worker or 1) // max(1, workers))
    config = replace(config, workers=workers, cpus_per_worker=threads)
    _run(records, config, "lvseg.cli", "--runs", str(folder.parent), "--name", folder.name, verb="train")
    return later_epochs([row.images_per_second for row in read_history(folder)])


def _run(records: Path, config: TrainConfig, module: str, *flags: str, verb: str = "") -> str:
    settings = shlex.split(" ".join(changed_flags(config)))
    command = [sys.executable, "-m", module, *([verb] if verb else []), str(records), *settings, *flags]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    if done.returncode:
        message = (done.stderr.strip() or "no message").splitlines()[-1]
        raise TrainingError(f"{module} failed: {message}")
    return done.stdout


def measure(benchmark: Benchmark, folder: Path, console: Console) -> list[dict[str, float]]:
    """All rounds: images/s by way."""
    console.print(f"making {benchmark.images} training images")
    records = make_records(folder, benchmark.images)
    config = benchmark.train_config()
    rounds: list[dict[str, float]] = []
    for number in range(1, benchmark.rounds + 1):
        found = {}
        for place, way in enumerate(benchmark.ways):
            found[way] = measure_way(way, records, config, folder / "runs" / f"{number}-{place}")
            console.print(f"round {number} of {benchmark.rounds}: {way}: {found[way]:.2f} images/s")
        rounds.append(found)
    return rounds


def ratios_of(rounds: Sequence[dict[str, float]]) -> dict[tuple[str, str], list[float]]:
    """Every round's ratio of what is compared."""
    pairs = [(way, other) for way, others in RATIOS.items() for other in others]
    known = [(way, other) for way, other in pairs if all({way, other} <= one.keys() for one in rounds)]
    return {(way, other): [one[way] / one[other] for one in rounds] for way, other in known}


def table_of(benchmark: Benchmark, rounds: Sequence[dict[str, float]]) -> Table:
    """A row for each ratio: its median, its range, and what is promised."""
    config = benchmark.train_config()
    table = Table(title=f"{config.model}, {config.precision}, batch {config.batch_size}")
    for heading in ("", "to", "median ratio", "range", "promised"):
        table.add_column(heading, justify="left" if heading in ("", "to") else "right")
    for (way, other), ratios in ratios_of(rounds).items():
        promised = PROMISED.get((way, other))
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        table.add_row(way, other, f"{statistics.median(ratios):.3f}", spread, f"{promised}" if promised else "")
    table.caption = (
        f"{len(rounds)} rounds, {benchmark.images} images of {IMAGE_SIZE}x{IMAGE_SIZE}, {config.epochs} epochs, "
        f"{config.cpus_per_worker} threads on {os.cpu_count()} cores"
    )
    return table


def main(args: Sequence[str] | None = None) -> int:
    console = Console(highlight=False, emoji=False, markup=False)
    try:
        benchmark = tyro.cli(Benchmark, args=args, description=__doc__)
        if os.environ.get("RAY_ADDRESS"):
            raise ConfigError("RAY_ADDRESS must not be set: everything is measured on this machine")
        # All inherit this: on a machine with a GPU the bare loop would use it and lvseg would not.
        os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3", **TENSORFLOW_KERNELS)
        with tempfile.TemporaryDirectory(prefix="lvseg-benchmark-") as folder:
            rounds = measure(benchmark, Path(folder), console)
    except LvsegError as error:
        print(f"train_throughput: error: {error}", file=sys.stderr)
        return error.exit_status
    console.print(table_of(benchmark, rounds))
    for line in MEANING:
        console.print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
