"""A worker that neither works nor dies: the others notice, and the group is started again."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from lvseg.config import TrainConfig
from lvseg.records import Manifest
from lvseg.results import read_history
from lvseg.run_folder import Run, changed_flags
from lvseg.training.local import train_locally
from lvseg.training.status import read_events
from tests.distributed.weights import assert_same_weights
from tests.histories import DEADLINE_S, epochs_done, wait_for_epochs
from tests.processes import family, kill_all, running

pytestmark = pytest.mark.cluster

# Long enough for a start on a busy machine, short enough for a test.
CONFIG = TrainConfig(
    model="fcn",
    epochs=20,
    batch_size=4,
    picture_every=0,
    steps_per_call=1,
    cpus_per_worker=1,
    precision="float32",
    optimizer="sgd",
    learning_rate=0.02,
    workers=2,
    collective_timeout_s=12,
    max_failures=6,
)


@contextmanager
def training(records: Path, folder: Path, repository: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``lvseg train`` in a process of its own; whatever a test leaves stopped or running is ended."""
    flags = shlex.split(" ".join(changed_flags(CONFIG)))
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", "lvseg.cli", "train", str(records), *flags]
    command += ["--runs", str(folder.parent), "--name", folder.name]
    with subprocess.Popen(command, env=environment) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                kill_all(family(process.pid))


def is_chief(worker: psutil.Process, folder: Path) -> bool:
    return any(str(folder / "tensorboard") in file.path for file in worker.open_files())


def test_a_worker_that_hangs_is_replaced(made: tuple[Path, Manifest], tmp_path: Path, repository: Path) -> None:
    """Rank 0, which writes the checkpoints; of the other, ``tests/nodes/test_faults.py``."""
    calm = Run(folder=tmp_path / "calm", config=CONFIG, records=made[0], manifest=made[1])
    train_locally(calm, print)
    folder = tmp_path / "hung"
    with training(made[0], folder, repository) as run:
        wait_for_epochs(folder, 2, run)
        workers = {is_chief(worker, folder): worker for worker in running(run.pid, "RayTrainWorker")}
        assert len(workers) == 2
        workers[True].send_signal(signal.SIGSTOP)
        assert epochs_done(folder) < CONFIG.epochs, "too late"
        assert run.wait(DEADLINE_S) == 0
    lost = [event for event in read_events(folder) if event.kind == "lost"]
    assert lost
    # In a collective of TensorFlow, by the health check, or at the barrier of a report: who is first to notice.
    signs = ("DeadlineExceededError", "WorkerHealthCheckTimeoutError", "BroadcastCollectiveTimeoutError")
    assert lost[0].facts["error"] in signs
    assert [row.epoch for row in read_history(folder)] == list(range(1, CONFIG.epochs + 1))
    assert_same_weights(folder, calm.folder)
