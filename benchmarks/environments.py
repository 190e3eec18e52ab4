"""What the environment of the process does to training speed: oneDNN's kernels and the allocator's habits.

``python -m benchmarks.environments --model unet`` trains the same steps as ``benchmarks.variants`` with lvseg's default
settings, a process for every environment, in turn, several rounds: such variables are read once, at TensorFlow's start.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.variants import Benchmark as Steps
from benchmarks.variants import measure

ENVIRONMENTS = {
    "without oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "1"},
    "oneDNN, memory kept": {
        "TF_ENABLE_ONEDNN_OPTS": "1",
        "MALLOC_TRIM_THRESHOLD_": "-1",
        "MALLOC_TOP_PAD_": "268435456",
        "MALLOC_MMAP_MAX_": "0",
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is measured."""

    model: str = "fcn"
    """Architecture."""
    size: int = 256
    """Rows and columns."""
    batch_size: int = 4
    """Images in one step."""
    steps: int = 16
    """Steps of each measurement."""
    threads: int | None = None
    """TensorFlow's threads; default: all cores."""
    rounds: int = 3
    """How often all are measured, in turn."""
    environments: tuple[str, ...] = tuple(ENVIRONMENTS)
    """What is measured; the first is what the others are compared with."""


def measure_here(benchmark: Benchmark) -> float:
    """Images/s in this process: the median of two passes after the one that compiles."""
    steps = Steps(
        model=benchmark.model,
        size=benchmark.size,
        batch_size=benchmark.batch_size,
        steps=benchmark.steps,
        threads=benchmark.threads,
        rounds=2,
        variants=(),
    )
    return statistics.median(measure(steps)["defaults"])


def measure_apart(environment: dict[str, str], words: Sequence[str]) -> float:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.environments", *words]
    variables = os.environ | environment | {"LVSEG_BENCHMARK_HERE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def main(args: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if args is None else args)
    benchmark = tyro.cli(Benchmark, args=words, description=__doc__)
    os.environ.update(CUDA_VISIBLE_DEVICES="")
    if os.environ.get("LVSEG_BENCHMARK_HERE"):
        print(json.dumps(measure_here(benchmark)))
        return 0
    first = benchmark.environments[0]
    speeds: dict[str, list[float]] = {name: [] for name in benchmark.environments}
    for _ in range(benchmark.rounds):
        for name, found in speeds.items():
            found.append(measure_apart(ENVIRONMENTS[name], words))
    table = Table(title=f"{benchmark.model}, {benchmark.size}x{benchmark.size}, batch {benchmark.batch_size}")
    for heading in ("", "images/s", f"ratio to {first}", "range"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, found in speeds.items():
        ratios = [one / other for one, other in zip(found, speeds[first], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        table.add_row(name, f"{statistics.median(found):.1f}", f"{statistics.median(ratios):.2f}", spread)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
