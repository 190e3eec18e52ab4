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
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from rich.console import Console

from benchmarks.variants import Benchmark as Steps
from benchmarks.variants import measure, table_of

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


HERE = "LVSEG_BENCHMARK_HERE"
"""Set for a process that measures itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark(Steps):
    """What is measured."""

    steps: int = 16
    """Steps of each measurement."""
    variants: tuple[str, ...] = ()
    """Nothing but the defaults."""
    environments: tuple[str, ...] = tuple(ENVIRONMENTS)
    """What is measured; the first is what the others are compared with."""


def measure_here(benchmark: Benchmark) -> float:
    """Images/s in this process: the median of two passes after the one that compiles."""
    return statistics.median(measure(replace(benchmark, rounds=2))["defaults"])


def measure_apart(environment: dict[str, str], words: Sequence[str]) -> float:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.environments", *words]
    variables = os.environ | environment | {HERE: "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def main(args: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if args is None else args)
    benchmark = tyro.cli(Benchmark, args=words, description=__doc__)
    os.environ.update(CUDA_VISIBLE_DEVICES="")
    if os.environ.get(HERE):
        print(json.dumps(measure_here(benchmark)))
        return 0
    speeds: dict[str, list[float]] = {name: [] for name in benchmark.environments}
    for _ in range(benchmark.rounds):
        for name, found in speeds.items():
            found.append(measure_apart(ENVIRONMENTS[name], words))
    Console().print(table_of(benchmark, speeds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
