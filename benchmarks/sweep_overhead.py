"""What a sweep costs beside its trials' own training.

``python -m benchmarks.sweep_overhead`` runs equal trials, one at a time, and compares the time of the whole sweep with
the sum of the trials' epochs plus one start-up: the time of the same sweep with a single trial, less its epochs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.phantom_records import phantom_records
from lvseg.config import ConvertConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is measured."""

    trials: int = 8
    """Equal trials, one at a time."""
    epochs: int = 5
    """Of each."""
    images: int = 160
    """Made-up images of 256x256."""
    model: str = "fcn"
    """Architecture."""
    target: float = 1.15
    """Largest ratio."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """One sweep."""

    wall_s: float
    """From the start of Ray to the last result."""
    training_s: float
    """Sum of the trials' epochs, validation included; the first of each compiles."""


def run(records: Path, folder: Path, benchmark: Benchmark, trials: int) -> Timed:
    """One sweep of equal trials, with a private cluster of its own."""
    from lvseg.config import TrainConfig, TuneConfig
    from lvseg.distributed.session import ray_session
    from lvseg.distributed.tune import plan_resources, run_sweep
    from lvseg.space import Dimension
    from lvseg.sweep import Sweep

    base = TrainConfig(model=benchmark.model, epochs=benchmark.epochs, picture_every=0)
    sweep = Sweep(
        folder=folder,
        base=base,
        space={"learning_rate": Dimension(kind="choice", values=(0.001,))},
        tune=TuneConfig(trials=trials, concurrency=1),
        records=records,
    )
    started = time.perf_counter()
    with ray_session():
        results = run_sweep(sweep, plan_resources(sweep))
    return Timed(wall_s=time.perf_counter() - started, training_s=sum(result.seconds for result in results))


def main(args: Sequence[str] | None = None) -> int:
    benchmark = tyro.cli(Benchmark, args=args, description=__doc__)
    with tempfile.TemporaryDirectory(prefix="lvseg-sweep-") as name:
        folder = Path(name)
        patients = max(4, -(-benchmark.images // 16))
        phantom_records(folder, ConvertConfig(), patients=patients)
        one = run(folder / "records", folder / "runs" / "one", benchmark, 1)
        all_ = run(folder / "records", folder / "runs" / "all", benchmark, benchmark.trials)
    start_up = one.wall_s - one.training_s
    ratio = all_.wall_s / (all_.training_s + start_up)
    print(f"one trial: {one.wall_s:.1f} s, of it training {one.training_s:.1f} s: start-up {start_up:.1f} s")
    print(f"{benchmark.trials} trials: {all_.wall_s:.1f} s, of it training {all_.training_s:.1f} s")
    print(f"ratio to training plus one start-up: {ratio:.3f} (aim: at most {benchmark.target})")
    return int(ratio > benchmark.target)


if __name__ == "__main__":
    sys.exit(main())
