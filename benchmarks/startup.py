"""Where the time goes from ``lvseg train`` to the first step.

``python -m benchmarks.startup`` starts short runs, with and without Ray, and reads from their ``progress.json`` when
each phase began. Compiling is TensorFlow's and Keras's, starting workers is Ray's, imports are everybody's.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

PHASES = ("building the model", "loading images", "compiling", "training")
"""As progress.json names them; what comes before the first is the command's start: imports, Ray, its workers."""
POLL_S = 0.01
DEADLINE_S = 300.0
BEFORE = "imports, Ray, workers"


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is measured."""

    model: str = "fcn"
    """Architecture."""
    workers: tuple[int, ...] = (0, 1, 2)
    """Numbers of workers; 0: without Ray."""
    rounds: int = 3
    """How often, in turn."""


def measure(records: Path, folder: Path, model: str, workers: int) -> dict[str, float]:
    """Seconds that each phase took, until the first steps were made.

    Raises:
        RuntimeError: the run failed or showed nothing.
    """
    flags = ["--model", model, "--epochs", "1", "--steps-per-call", "1", "--picture-every", "0"]
    command = [sys.executable, "-m", "lvseg.cli", "train", str(records), *flags, "--workers", str(workers)]
    command += ["--cpus-per-worker", "1", "--runs", str(folder.parent), "--name", folder.name]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    begun: dict[str, float] = {}
    while "training" not in begun:
        phase = _phase(folder)
        if phase and phase not in begun:
            begun[phase] = time.perf_counter() - started
        if process.poll() is not None and "training" not in begun:
            if "validating" in begun or "done" in begun:
                begun["training"] = min(begun.get("validating", 1e9), begun.get("done", 1e9))
                break
            raise RuntimeError(f"the run ended with {process.returncode} before its first step")
        if time.perf_counter() - started > DEADLINE_S:
            process.kill()
            raise RuntimeError(f"no step in {DEADLINE_S} s")
        time.sleep(POLL_S)
    process.wait()
    for phase, following in reversed(list(pairwise(PHASES))):
        begun.setdefault(phase, begun[following])  # too short to be seen
    times = [0.0, *(begun[phase] for phase in PHASES)]
    spent = {name: after - before for name, before, after in zip((BEFORE, *PHASES), times, times[1:], strict=False)}
    return spent | {"to the first step": times[-1]}


def _phase(folder: Path) -> str | None:
    try:
        progress = json.loads((folder / "progress.json").read_bytes())
    except (OSError, ValueError):
        return None
    return "training" if progress["step"] else str(progress["phase"]).replace("training", "compiling")


def main(args: Sequence[str] | None = None) -> int:
    from lvseg.config import ConvertConfig
    from lvseg.distributed.convert import convert
    from lvseg.distributed.session import ray_session
    from lvseg.phantom import write_phantom

    benchmark = tyro.cli(Benchmark, args=args, description=__doc__)
    spent: dict[int, list[dict[str, float]]] = {workers: [] for workers in benchmark.workers}
    with tempfile.TemporaryDirectory(prefix="lvseg-startup-") as name:
        folder = Path(name)
        phantom = write_phantom(folder / "phantom", patients=4, size=128, labelled_only=True)
        with ray_session():
            convert(phantom.out, folder / "records", ConvertConfig())
        for number in range(benchmark.rounds):
            for workers, found in spent.items():
                run = folder / "runs" / f"{number}-{workers}"
                found.append(measure(folder / "records", run, benchmark.model, workers))
    table = Table(title=f"{benchmark.model}: seconds, median of {benchmark.rounds}")
    table.add_column("")
    for workers in spent:
        table.add_column(f"{workers} workers" if workers else "without Ray", justify="right")
    for phase in next(iter(spent.values()))[0]:
        values = (statistics.median(one[phase] for one in found) for found in spent.values())
        table.add_row(phase, *(f"{value:.1f}" for value in values))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
