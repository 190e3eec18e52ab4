"""Training throughput of lvseg with one worker, as a ratio to a bare TensorFlow loop; CPU only.

``python -m benchmarks.train_throughput`` runs the two in turn, several rounds, since other work on the machine
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
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from lvseg.config import ConvertConfig, TrainConfig
from lvseg.errors import ConfigError, LvsegError, TrainingError
from lvseg.phantom import write_phantom
from lvseg.records import read_manifest
from lvseg.results import read_history
from lvseg.run_folder import Run, changed_flags

REQUIRED_RATIO = 0.9
"""What lvseg promises for the default model."""
LABELLED_IMAGES_OF_A_PATIENT = 10
"""Fewer than a phantom patient has; in 16 patients there were 13 to 16."""
IMAGE_SIZE = 256
MEANING = (
    "bare: one compiled step on batches that were gathered, standardised and copied to TensorFlow beforehand; "
    "no Ray, no strategy, no metrics.",
    "lvseg: run_training under Ray Train and MultiWorkerMirroredStrategy; every step gathers and standardises its "
    "images and counts loss, accuracy and Dice; the epoch's sums and progress notes are in the time. "
    "Validation, checkpoint and pictures are not.",
    "Both: images/s over the training steps, median of the epochs from the second on. Ratio: lvseg / bare.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is measured."""

    model: str = "fcn"
    """Architecture: fc, fcn or unet."""
    images: int = 64
    """Training images of 256x256, a multiple of batch-size."""
    epochs: int = 3
    """Epochs of each measurement, at least 2; the first compiles and does not count."""
    batch_size: int = 4
    """Images in one step."""
    threads: int | None = None
    """TensorFlow's threads on both sides; default: all cores."""
    precision: str = "float32"
    """Arithmetic of the layers: float32 or bfloat16."""
    rounds: int = 3
    """How often the two are measured, in turn."""

    def __post_init__(self) -> None:
        cores = os.cpu_count() or 1
        if self.epochs < 2:
            raise ConfigError(f"epochs must be at least 2, the first is not counted, got {self.epochs}")
        if self.rounds < 1:
            raise ConfigError(f"rounds must be at least 1, got {self.rounds}")
        if self.threads is not None and not 1 <= self.threads <= cores:
            raise ConfigError(f"threads must be from 1 to the {cores} cores of this machine, got {self.threads}")
        self.train_config()
        if self.images < 1 or self.images % self.batch_size:
            raise ConfigError(f"images must be a multiple of batch_size, got {self.images} and {self.batch_size}")

    def train_config(self) -> TrainConfig:
        """The same settings for both sides."""
        return TrainConfig(
            model=self.model,
            epochs=self.epochs,
            batch_size=self.batch_size,
            precision=self.precision,  # type: ignore[arg-type]  # checked there
            cpus_per_worker=self.threads or os.cpu_count() or 1,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """Images/s of the two, measured one after the other."""

    bare: float
    lvseg: float

    @property
    def ratio(self) -> float:
        """Above 1 lvseg is the faster."""
        return self.lvseg / self.bare


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


def measure_bare(records: Path, config: TrainConfig) -> float:
    """Images/s of ``bare_loop``, in a new process.

    Raises:
        TrainingError: it failed.
    """
    flags = shlex.split(" ".join(changed_flags(config)))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bare_loop", str(records), *flags],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise TrainingError(f"the bare loop failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return later_epochs(json.loads(done.stdout))


def measure_lvseg(records: Path, config: TrainConfig, folder: Path) -> float:
    """Images/s of a whole run in a new run folder; Ray is there only meanwhile."""
    from lvseg.distributed.session import ray_session
    from lvseg.distributed.train import run_training

    with ray_session():
        run_training(Run(folder=folder, config=config, records=records, manifest=read_manifest(records)))
    return later_epochs([row.images_per_second for row in read_history(folder)])


def measure(benchmark: Benchmark, folder: Path, console: Console) -> list[Round]:
    """All rounds: bare, lvseg, bare, lvseg, and so on."""
    console.print(f"making {benchmark.images} training images")
    records = make_records(folder, benchmark.images)
    config = benchmark.train_config()
    rounds = []
    for number in range(1, benchmark.rounds + 1):
        console.print(f"round {number} of {benchmark.rounds}: bare")
        bare = measure_bare(records, config)
        console.print(f"round {number} of {benchmark.rounds}: lvseg")
        rounds.append(Round(bare=bare, lvseg=measure_lvseg(records, config, folder / "runs" / str(number))))
    return rounds


def table_of(benchmark: Benchmark, rounds: Sequence[Round]) -> Table:
    """A row for each round, then the median ratio and the range."""
    config = benchmark.train_config()
    table = Table(title=f"{config.model}, {config.precision}, batch {config.batch_size}")
    for heading in ("round", "bare, images/s", "lvseg, images/s", "ratio"):
        table.add_column(heading, justify="right")
    for number, one in enumerate(rounds, start=1):
        table.add_row(str(number), f"{one.bare:.1f}", f"{one.lvseg:.1f}", f"{one.ratio:.3f}")
    ratios = [one.ratio for one in rounds]
    table.add_section()
    table.add_row("median", "", "", f"{statistics.median(ratios):.3f}")
    table.add_row("range", "", "", f"{min(ratios):.3f} to {max(ratios):.3f}")
    table.caption = (
        f"{benchmark.images} images of {IMAGE_SIZE}x{IMAGE_SIZE}, {config.epochs} epochs, "
        f"{config.cpus_per_worker} threads on {os.cpu_count()} cores"
    )
    return table


def main(args: Sequence[str] | None = None) -> int:
    console = Console(highlight=False, emoji=False, markup=False)
    try:
        benchmark = tyro.cli(Benchmark, args=args, description=__doc__)
        if os.environ.get("RAY_ADDRESS"):
            raise ConfigError("RAY_ADDRESS must not be set: both sides are measured on this machine")
        # Both sides inherit this: on a machine with a GPU the bare loop would use it and lvseg would not.
        os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")
        with tempfile.TemporaryDirectory(prefix="lvseg-benchmark-") as folder:
            rounds = measure(benchmark, Path(folder), console)
    except LvsegError as error:
        print(f"train_throughput: error: {error}", file=sys.stderr)
        return error.exit_status
    console.print(table_of(benchmark, rounds))
    for line in MEANING:
        console.print(line)
    console.print(f"Promised for the default model: a ratio of at least {REQUIRED_RATIO}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
