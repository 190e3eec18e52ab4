"""A worker with several GPUs gives the numbers of one with one GPU, and of several workers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.ports import free_port

pytestmark = pytest.mark.slow

LAYOUTS = [(1, 1), (1, 2), (2, 2)]
"""(workers, devices of each)."""
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def left(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int, int], list[np.ndarray]]:
    """(workers, devices, rank) → history, then weights, optimizer and average; all processes at the same time."""
    folder = tmp_path_factory.mktemp("replicas")
    environment = {**os.environ, "PYTHONPATH": str(repository), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    running = {}
    for workers, devices in LAYOUTS:
        ports = [free_port() for _ in range(workers)]
        for rank in range(workers):
            out = folder / f"{workers}-{devices}-{rank}.npz"
            words = ["-m", "tests.training.local_replicas", workers, rank, devices, out, *ports]
            running[workers, devices, rank] = (
                out,
                subprocess.Popen(
                    [sys.executable, *map(str, words)],
                    cwd=repository,
                    env=environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                ),
            )
    found = {}
    for key, (out, process) in running.items():
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]
        with np.load(out) as file:
            found[key] = [file[name] for name in file.files]
    return found


@pytest.mark.parametrize("key", [(1, 2, 0), (2, 2, 0), (2, 2, 1)])
def test_the_same_run_on_more_devices(
    left: dict[tuple[int, int, int], list[np.ndarray]], key: tuple[int, int, int]
) -> None:
    one, more = left[1, 1, 0], left[key]
    assert len(one) == len(more) > 10
    for ours, theirs in zip(more, one, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)
