"""Whether ASHA finds what the whole grid finds, for less.

``python -m benchmarks.asha_grid RECORDS`` trains every combination of a small grid to its end, and the same grid with
ASHA, and compares best validation Dice and epochs. Trials run one after the other, so ASHA knows least when it decides
first; the order of the grid is shuffled.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.phantom_records import phantom_records
from lvseg.results import RunResult


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What is measured."""

    records: tyro.conf.Positional[Path | None] = None
    """Record set; default: a phantom."""
    model: str = "fcn"
    """Architecture."""
    loss: str = "dice+cross-entropy"
    """What is minimised."""
    ema: float = 0.99
    """Of the weights' average: without it the best of many noisy scores decides."""
    epochs: int = 27
    """Of a whole training."""
    rung_epochs: int = 3
    """Before ASHA ends a trial."""
    reduction_factor: int = 4
    """ASHA's."""
    rates: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3, 2e-3, 4e-3)
    """Learning rates of the grid."""
    decays: tuple[float, ...] = (0.5, 0.8, 0.95)
    """Decay rates of the grid."""
    seed: int = 0
    """Of the order of the grid."""
    out: Path | None = None
    """Folder for the runs, kept; the same command goes on. Default: a temporary one."""


def run(records: Path, folder: Path, benchmark: Benchmark, scheduler: str) -> list[RunResult]:
    """The whole grid under a scheduler."""
    from lvseg.config import TrainConfig, TuneConfig
    from lvseg.distributed.session import ray_session
    from lvseg.distributed.tune import plan_resources, run_sweep
    from lvseg.space import Dimension
    from lvseg.sweep import Sweep

    shuffle = random.Random(benchmark.seed)
    rates, decays = list(benchmark.rates), list(benchmark.decays)
    shuffle.shuffle(rates)
    shuffle.shuffle(decays)
    base = TrainConfig(
        model=benchmark.model,
        loss=benchmark.loss,  # type: ignore[arg-type]  # checked there
        ema=benchmark.ema,
        epochs=benchmark.epochs,
        decay_steps=200,
        picture_every=0,
    )
    sweep = Sweep(
        folder=folder,
        base=base,
        space={
            "decay_rate": Dimension(kind="choice", values=tuple(decays)),
            "learning_rate": Dimension(kind="choice", values=tuple(rates)),
        },
        tune=TuneConfig(
            search="grid",
            scheduler=scheduler,
            rung_epochs=benchmark.rung_epochs,
            reduction_factor=benchmark.reduction_factor,
            concurrency=1,
        ),
        records=records,
    )
    with ray_session():
        return run_sweep(sweep, plan_resources(sweep))


def main(args: Sequence[str] | None = None) -> int:
    benchmark = tyro.cli(Benchmark, args=args, description=__doc__)
    with tempfile.TemporaryDirectory(prefix="lvseg-asha-") as name:
        folder = benchmark.out or Path(name)
        records = benchmark.records or _phantom(folder)
        found = {
            scheduler: run(records, folder / "runs" / scheduler, benchmark, scheduler) for scheduler in ("none", "asha")
        }
    best = {scheduler: max(result.val_dice for result in results) for scheduler, results in found.items()}
    epochs = {scheduler: sum(result.epochs for result in results) for scheduler, results in found.items()}
    for scheduler, results in found.items():
        print(f"{scheduler}: {len(results)} trials, {epochs[scheduler]} epochs, best Dice {best[scheduler]:.4f}")
    share, behind = epochs["asha"] / epochs["none"], best["none"] - best["asha"]
    print(f"ASHA: {share:.3f} of the epochs (aim: at most 0.333), {behind:.4f} behind in Dice (aim: at most 0.01)")
    return int(share > 1 / 3 or behind > 0.01)


def _phantom(folder: Path) -> Path:
    from lvseg.config import ConvertConfig

    records = folder / "records"
    if not (records / "manifest.json").exists():
        phantom_records(folder, ConvertConfig(val_fraction=0.25), patients=8, size=96)
    return records


if __name__ == "__main__":
    sys.exit(main())
