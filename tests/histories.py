"""How far a run is, by its history."""

import subprocess
import time
from pathlib import Path
from typing import Any

from lvseg.errors import RunError
from lvseg.results import read_history
from lvseg.store import UPath

DEADLINE_S = 240


def epochs_done(folder: Path | UPath) -> int:
    """Epochs in the history; 0 while there is none."""
    try:
        return len(read_history(folder))
    except RunError:
        return 0


def wait_for_epochs(folder: Path | UPath, epochs: int, process: subprocess.Popen[Any] | None = None) -> None:
    """Until a run has done so many; fails where none comes, or its process ends before."""
    deadline = time.monotonic() + DEADLINE_S
    while epochs_done(folder) < epochs:
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the run ended early with {process.returncode}: {process.communicate()[0]}")
        assert time.monotonic() < deadline, f"no epoch {epochs} after {DEADLINE_S} s"
        time.sleep(0.02)
