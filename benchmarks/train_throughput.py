"""Training throughput of lvseg as ratios to a bare TensorFlow loop, Keras's ``fit``, and itself on 2 workers; CPU only.

``python -m benchmarks.train_throughput`` starts every way in processes of its own, waits until it has compiled, and
stops them (SIGSTOP). Then they go on in turn, a few seconds each, many times round: what disturbs the machine for
longer than that disturbs all alike. The method is described in ``docs/benchmarks.md``.
"""

from __future__ import annotations

import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil
import tyro
from rich.console import Console
from rich.table import Table

from lvseg.config import TrainConfig
from lvseg.errors import ConfigError, LvsegError, TrainingError
from lvseg.quiet import TENSORFLOW_KERNELS
from lvseg.run_folder import changed_flags
from lvseg.store import location
from lvseg.training.status import read_progress
from tests.discs import write_records

IMAGE_SIZE = 256
VAL_IMAGES = 4
START_SECONDS = 300.0
"""The longest that a way may take to its second step."""
POLL_SECONDS = 0.02
BARE, FIT, HERE, ONE, TWO = "bare loop", "Keras fit", "lvseg, no Ray", "lvseg, 1 worker", "lvseg, 2 workers"
WORKERS = {HERE: 0, ONE: 1, TWO: 2}
WAYS = (BARE, FIT, HERE, ONE, TWO)
RATIOS = {ONE: (BARE, FIT), HERE: (BARE, FIT), TWO: (ONE,)}
"""What is divided by what."""
PROMISED = {(ONE, BARE): 0.97, (ONE, FIT): 0.97, (TWO, ONE): 0.93}
MEANING = (
    "bare loop: one compiled step on batches that were gathered, standardised and copied to TensorFlow beforehand; "
    "Keras fit: the same batches. No Ray, no strategy, no metrics.",
    "lvseg: lvseg train; every step gathers and standardises its images and counts loss, accuracy and Dice, and "
    "notes its progress. All of Ray's processes run in lvseg's turns and stand still in the others'.",
    "2 workers have half of the threads each.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is measured."""

    model: str = "fcn"
    """Architecture."""
    images: int = 4096
    """Training images of 256x256, a multiple of batch-size; more than are trained on, so that no epoch ends."""
    batch_size: int = 4
    """Images in one step."""
    threads: int | None = None
    """TensorFlow's threads; default: all cores."""
    precision: str = "float32"
    """Arithmetic of the layers: float32 or bfloat16."""
    steps_per_call: int = 16
    """Of lvseg; progress is told once a call, so take fewer for a model whose calls are longer than a turn."""
    rounds: int = 20
    """How often all are measured, in turn."""
    seconds: float = 3.0
    """Of one turn; two workers that stand still for longer may take each other for lost."""
    ways: tuple[str, ...] = WAYS
    """What is measured."""

    def __post_init__(self) -> None:
        cores = os.cpu_count() or 1
        if self.rounds < 1:
            raise ConfigError(f"rounds must be at least 1, got {self.rounds}")
        if not self.seconds > 0:
            raise ConfigError(f"seconds must be above 0, got {self.seconds:g}")
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
            batch_size=self.batch_size,
            precision=self.precision,  # type: ignore[arg-type]  # checked there
            cpus_per_worker=self.threads or os.cpu_count() or 1,
            steps_per_call=self.steps_per_call,
            ingest="memory",
            picture_every=0,
        )


@dataclass(slots=True)
class Meter:
    """How many images a way was trained on, over the seconds of its own turns."""

    seconds: list[float] = field(default_factory=list)
    images: list[int] = field(default_factory=list)

    def note(self, seconds: float, images: int) -> None:
        """Keep what is new."""
        if not self.images or images > self.images[-1]:
            self.seconds.append(seconds)
            self.images.append(images)

    def speeds(self, turn_seconds: float, turns: int) -> list[float]:
        """Images/s of each turn but those before the first and after the last note; in between, straight lines.

        Raises:
            TrainingError: too little was seen.
        """
        if len(self.images) < 3:
            raise TrainingError(f"too few steps in {turns} turns of {turn_seconds:g} s")
        ends = np.clip(np.arange(turns + 1) * turn_seconds, self.seconds[0], self.seconds[-1])
        made = np.diff(np.interp(ends, self.seconds, self.images))
        took = np.diff(ends)
        return [float(images / seconds) for images, seconds in zip(made, took, strict=True) if seconds > 0]


class Turns:
    """One way of training, in processes that run in its turns only."""

    def __init__(self, way: str, command: Sequence[str], count: Callable[[], int], log: Path) -> None:
        self.way, self._count, self._log = way, count, log
        self.meter = Meter()
        self._active = 0.0
        with log.open("wb") as file:
            root = Path(__file__).parents[1]
            self._process = subprocess.Popen(command, cwd=root, stdout=file, stderr=subprocess.STDOUT)

    def _family(self) -> list[psutil.Process]:
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]

    def wait(self) -> None:
        """Until the first steps were made, then stand still.

        Raises:
            TrainingError: the process ended, or no step was made in time.
        """
        deadline = time.monotonic() + START_SECONDS
        first = 0
        while not first or self._count() == first:
            first = first or self._count()
            self._check()
            if time.monotonic() > deadline:
                raise TrainingError(f"{self.way}: no step in {START_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)
        self._pause()

    def run(self, seconds: float) -> None:
        """A turn.

        Raises:
            TrainingError: the process ended, or its images are counted from 0 again.
        """
        for process in reversed(self._family()):
            process.resume()
        begun = time.perf_counter()
        while (passed := time.perf_counter() - begun) < seconds:
            self.meter.note(self._active + passed, self._count())
            time.sleep(POLL_SECONDS)
        self._pause()
        self._active += seconds
        self._check()
        if self.meter.images and self._count() < self.meter.images[-1]:
            raise TrainingError(f"{self.way}: an epoch has ended or the run has started again; take more images")

    def _pause(self) -> None:
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def _check(self) -> None:
        if self._process.poll() is not None:
            text = self._log.read_text(errors="replace").strip() or "no message"
            raise TrainingError(f"{self.way}: ended: {text.splitlines()[-1]}")

    def end(self) -> None:
        """Kill all of its processes."""
        with suppress(psutil.NoSuchProcess):
            for process in self._family():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.wait()


def command_of(way: str, records: Path, config: TrainConfig, folder: Path) -> list[str]:
    """The process of a way; what it has done is told in ``folder``."""
    if way in (BARE, FIT):
        flags = shlex.split(" ".join(changed_flags(config)))
        rest = ["--count", str(folder / "count"), "--way", "fit" if way == FIT else "loop"]
        return [sys.executable, "-m", "benchmarks.bare_loop", str(records), *flags, *rest]
    workers = WORKERS[way]
    threads = max(1, (config.cpus_per_worker or 1) // max(1, workers))
    config = replace(config, workers=workers, cpus_per_worker=threads)
    flags = shlex.split(" ".join(changed_flags(config)))
    rest = ["--runs", str(folder), "--name", "run"]
    return [sys.executable, "-m", "lvseg.cli", "train", str(records), *flags, *rest]


def count_of(way: str, batch_size: int, folder: Path) -> Callable[[], int]:
    """Reads how many images a way was trained on."""

    def of_bare() -> int:
        try:
            return int((folder / "count").read_text() or 0)
        except (OSError, ValueError):
            return 0

    def of_run() -> int:
        progress = read_progress(location(str(folder / "run")))
        return progress.step * batch_size if progress and progress.phase == "training" else 0

    return of_bare if way in (BARE, FIT) else of_run


def sittings_of(ways: Sequence[str]) -> list[tuple[str, ...]]:
    """Which ways take turns together: two workers with one worker alone, since they part after a long pause."""
    alone = tuple(way for way in ways if way != TWO)
    return [alone] * bool(alone) + [(ONE, TWO)] * (TWO in ways)


def measure(benchmark: Benchmark, folder: Path, console: Console) -> list[dict[str, list[float]]]:
    """Images/s of every way in each of its turns, by sitting."""
    console.print(f"making {benchmark.images} training images")
    records = folder / "records"
    write_records(records, train=benchmark.images, val=VAL_IMAGES, size=IMAGE_SIZE, shard_images=256)
    return [sit(ways, benchmark, folder, console) for ways in sittings_of(benchmark.ways)]


def sit(ways: Sequence[str], benchmark: Benchmark, folder: Path, console: Console) -> dict[str, list[float]]:
    """Images/s of every way of one sitting in each of its turns."""
    config = benchmark.train_config()
    with ExitStack() as ends:
        turns: list[Turns] = []
        for way in ways:
            home = Path(tempfile.mkdtemp(dir=folder))
            count = count_of(way, benchmark.batch_size, home)
            turns.append(Turns(way, command_of(way, folder / "records", config, home), count, home / "log"))
            ends.callback(turns[-1].end)
            turns[-1].wait()
            console.print(f"{way}: ready")
        for _ in range(benchmark.rounds):
            for one in turns:
                one.run(benchmark.seconds)
        return {one.way: one.meter.speeds(benchmark.seconds, benchmark.rounds) for one in turns}


def ratios_of(sittings: Sequence[dict[str, list[float]]]) -> dict[tuple[str, str], list[float]]:
    """Every round's ratio of what is compared, within a sitting."""
    pairs = [(way, other) for way, others in RATIOS.items() for other in others]
    return {
        (way, other): [one / two for one, two in zip(speeds[way], speeds[other], strict=False)]
        for speeds in sittings
        for way, other in pairs
        if {way, other} <= speeds.keys()
    }


def table_of(benchmark: Benchmark, sittings: Sequence[dict[str, list[float]]]) -> Table:
    """A row for each ratio: its median, the middle half of the rounds, and what is promised."""
    config = benchmark.train_config()
    table = Table(title=f"{config.model}, {config.precision}, batch {config.batch_size}")
    for heading in ("", "to", "median ratio", "middle half", "promised"):
        table.add_column(heading, justify="left" if heading in ("", "to") else "right")
    for (way, other), ratios in ratios_of(sittings).items():
        promised = PROMISED.get((way, other))
        low, high = np.percentile(ratios, (25, 75))
        spread = f"{low:.3f} to {high:.3f}"
        table.add_row(way, other, f"{statistics.median(ratios):.3f}", spread, f"{promised}" if promised else "")
    table.caption = (
        f"{benchmark.rounds} rounds of {benchmark.seconds:g} s each, images of {IMAGE_SIZE}x{IMAGE_SIZE}, "
        f"{config.cpus_per_worker} threads on {os.cpu_count()} cores; images/s: "
        + ", ".join(f"{way} {statistics.median(found):.1f}" for speeds in sittings for way, found in speeds.items())
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
            sittings = measure(benchmark, Path(folder), console)
    except LvsegError as error:
        print(f"train_throughput: error: {error}", file=sys.stderr)
        return error.exit_status
    console.print(table_of(benchmark, sittings))
    for line in MEANING:
        console.print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
