"""A run whose workers and driver are killed at random moments ends with the weights of an undisturbed one.

``python -m benchmarks.chaos`` trains once undisturbed, then several times with 2 workers: in each run SIGKILL hits the
worker of rank 0 once, that of rank 1 once, and the driver with everything it started once, each in an epoch drawn at
random; after the last the same command is called again. Every run's final weights and history are compared with the
undisturbed run's, and the time from each kill to the first step after it is told.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.phantom_records import phantom_records
from lvseg.config import ConvertConfig, TrainConfig
from lvseg.errors import LvsegError, TrainingError
from lvseg.results import read_history
from lvseg.run_folder import changed_flags

DEADLINE_S = 900
"""A run that shows nothing new for so long has hung."""
POLL_S = 0.05
WEIGHT_TOLERANCE = 2e-5
"""Float32's rounding, summed in another order over the steps of the run."""
DRIVER, RANK_0, RANK_1 = "driver", "rank 0", "rank 1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is killed."""

    runs: int = 5
    """Disturbed runs."""
    epochs: int = 30
    """Epochs of each run."""
    seed: int = 0
    """Of the moments."""
    model: str = "unet"
    """Architecture."""

    def config(self) -> TrainConfig:
        """Of all runs; with augmentation and an average of the weights, which have to survive too."""
        return TrainConfig(
            model=self.model,
            epochs=self.epochs,
            batch_size=4,
            steps_per_call=2,
            learning_rate=5e-4,
            ema=0.95,
            augment_rotation_deg=180,
            augment_flip=True,
            picture_every=0,
            workers=2,
            cpus_per_worker=1,
            max_failures=10,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """One kill, and what came of it."""

    victim: str
    epoch: int
    """The run had done so many epochs."""
    seconds: float
    """From the kill to the first step after it."""


def make_records(folder: Path) -> Path:
    """A small phantom: 64x64, training in seconds."""
    phantom_records(folder, ConvertConfig(), patients=5, size=64, slices=6, phases=6)
    return folder / "records"


class Training:
    """``lvseg train`` in a process of its own, started again after the driver was killed."""

    def __init__(self, records: Path, folder: Path, config: TrainConfig, address: str | None = None) -> None:
        self.records, self.folder, self.config, self.address = records, folder, config, address
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        flags = shlex.split(" ".join(changed_flags(self.config)))
        command = [sys.executable, "-m", "lvseg.cli", "train", str(self.records), *flags]
        command += ["--runs", str(self.folder.parent), "--name", self.folder.name]
        environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        environment |= {"RAY_ADDRESS": self.address} if self.address else {}
        log = (self.folder.parent / f"{self.folder.name}.log").open("ab")
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def wait_for(self, what: str, reached: Callable[[], bool]) -> None:
        """Until something is so.

        Raises:
            TrainingError: the run ended before, or nothing came.
        """
        deadline = time.monotonic() + DEADLINE_S
        while not reached():
            if self.process.poll() is not None:
                raise TrainingError(f"{self.folder.name}: ended with {self.process.returncode} before {what}")
            if time.monotonic() > deadline:
                raise TrainingError(f"{self.folder.name}: no {what} in {DEADLINE_S} s")
            time.sleep(POLL_S)

    def end(self) -> None:
        """Wait for the end of the run.

        Raises:
            TrainingError: it is not a good one.
        """
        if status := self.process.wait(DEADLINE_S):
            raise TrainingError(f"{self.folder.name}: ended with {status}")

    def progress(self) -> dict[str, Any]:
        """What the run says of itself."""
        try:
            return dict(json.loads((self.folder / "progress.json").read_bytes()))
        except (OSError, ValueError):
            return {}

    def position(self) -> tuple[int, int]:
        """(epoch that is trained, steps done of it)."""
        progress = self.progress()
        return int(progress.get("epoch", 0)), int(progress.get("step", 0))

    def kill(self, victim: str) -> Kill:
        """Kill, start again where that is the user's part, and wait for the first step after it."""
        epoch = int(self.progress().get("epochs_done", 0))
        before = self.progress().get("started")
        processes = self._family() if victim == DRIVER else [self._worker(int(victim[-1]))]
        killed = time.monotonic()
        for process in processes:
            if process.is_running():
                process.send_signal(signal.SIGKILL)
        if victim == DRIVER:
            self.process.wait()
            self.process = self._start()

        self.wait_for(f"step after {victim} was killed", lambda: self.has_gone_on(before))
        return Kill(victim=victim, epoch=epoch, seconds=time.monotonic() - killed)

    def has_gone_on(self, before: object) -> bool:
        """Whether a step was made since the training that started then."""
        progress = self.progress()
        return progress.get("started") != before and progress.get("phase") == "training" and progress["step"] > 0

    def _family(self) -> list[psutil.Process]:
        driver = psutil.Process(self.process.pid)
        return [driver, *driver.children(recursive=True)]

    def _worker(self, rank: int) -> psutil.Process:
        """The process of one rank; rank 0 is the one that has the run's TensorBoard log open."""
        workers = [process for process in self._family() if "RayTrainWorker" in " ".join(process.cmdline())]
        chief = {process.pid: self._has_log_open(process) for process in workers}
        found = [process for process in workers if chief[process.pid] == (rank == 0)]
        if len(workers) != 2 or len(found) != 1:
            raise TrainingError(f"{self.folder.name}: no process of rank {rank} among {len(workers)} workers")
        return found[0]

    def _has_log_open(self, process: psutil.Process) -> bool:
        return any(str(self.folder / "tensorboard") in file.path for file in process.open_files())


def disturb(records: Path, folder: Path, benchmark: Benchmark, moments: random.Random) -> list[Kill]:
    """A run with three kills, each in an epoch of its own."""
    training = Training(records, folder, benchmark.config())
    epochs = sorted(moments.sample(range(2, benchmark.epochs - 1), 3))
    victims = moments.sample([DRIVER, RANK_0, RANK_1], 3)
    kills = []
    for epoch, victim in zip(epochs, victims, strict=True):
        training.wait_for(f"epoch {epoch}", lambda epoch=epoch: training.position()[0] >= epoch)  # type: ignore[misc]
        time.sleep(moments.random() * 0.5)
        kills.append(training.kill(victim))
    training.end()
    return kills


def largest_difference(folder: Path, other: Path) -> float:
    """Between the best weights of two runs, and between their losses, whichever is larger."""
    import h5py

    def arrays(path: Path) -> list[Any]:
        found: list[Any] = []
        with h5py.File(path / "best.weights.h5") as file:
            file.visititems(lambda _, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None)
        return found

    weights = [float(np.abs(a - b).max()) for a, b in zip(arrays(folder), arrays(other), strict=True) if a.size]
    rows = zip(read_history(folder), read_history(other), strict=True)
    return max(weights + [abs(a.loss - b.loss) for a, b in rows])


def main(args: Sequence[str] | None = None) -> int:
    console = Console(highlight=False, emoji=False, markup=False)
    benchmark = tyro.cli(Benchmark, args=args, description=__doc__)
    moments = random.Random(benchmark.seed)
    table = Table("run", "killed, after so many epochs: s to the next step", "largest difference", "same")
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="lvseg-chaos-") as name:
        folder = Path(name)
        try:
            records = make_records(folder)
            calm = Training(records, folder / "calm", benchmark.config())
            calm.end()
            console.print("undisturbed run done")
            for number in range(1, benchmark.runs + 1):
                kills = disturb(records, folder / f"run-{number}", benchmark, moments)
                difference = largest_difference(folder / f"run-{number}", folder / "calm")
                same = difference <= WEIGHT_TOLERANCE
                wrong += not same
                told = ", ".join(f"{kill.victim} {kill.epoch}: {kill.seconds:.0f}" for kill in kills)
                table.add_row(str(number), told, f"{difference:.1e}", "yes" if same else "NO")
                console.print(f"run {number}: {told}; largest difference {difference:.1e}")
        except LvsegError as error:
            print(f"chaos: error: {error}", file=sys.stderr)
            return error.exit_status
    console.print(table)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
