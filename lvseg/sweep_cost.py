"""What a sweep costs before it is begun: epochs, images, and the time that runs like it have taken."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from lvseg.errors import LvsegError
from lvseg.leaderboard.gather import gather
from lvseg.records import read_manifest
from lvseg.sweep import Sweep

__all__ = ["Cost", "cost"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """See the fields."""

    epochs: int
    """Over all trials, if each is trained to its end."""
    expected_epochs: int
    """The same if ASHA ends what it promises to; it ends fewer where trials come in order of rising score."""
    images: int
    """Training images in these epochs."""
    images_per_epoch: int
    """Training images of a trial."""
    images_per_second: float | None
    """Of one trial: median over runs of these models on these records; None: there is none."""
    known_runs: int
    """How many."""


def cost(sweep: Sweep) -> Cost:
    """Estimate a sweep."""
    manifest = read_manifest(sweep.records)
    parts = manifest.splits
    if sweep.folds > 1:
        pooled = sum(part.images for name, part in parts.items() if name != "test")
        images = pooled - pooled // sweep.folds
    else:
        own = f"fold-{sweep.base.fold}" if sweep.base.fold is not None else "val"
        images = sum(part.images for name, part in parts.items() if name not in (own, "test"))
    epochs = sweep.trials * sweep.most_epochs
    speeds = _speeds(sweep, manifest.records_sha256)
    return Cost(
        epochs=epochs,
        expected_epochs=expected_epochs(sweep),
        images=epochs * images,
        images_per_epoch=images,
        images_per_second=statistics.median(speeds) if speeds else None,
        known_runs=len(speeds),
    )


def expected_epochs(sweep: Sweep) -> int:
    """Epochs of a sweep in which every rung of ASHA lets one in ``reduction_factor`` go on; else all."""
    if sweep.tune.scheduler != "asha":
        return sweep.trials * sweep.most_epochs
    trials, done, total = float(sweep.trials), 0, 0.0
    rung = min(sweep.tune.rung_epochs, sweep.most_epochs)
    while rung < sweep.most_epochs:
        total += trials * (rung - done)
        trials, done, rung = trials / sweep.tune.reduction_factor, rung, rung * sweep.tune.reduction_factor
    return math.ceil(total + max(1.0, trials) * (sweep.most_epochs - done))


def _speeds(sweep: Sweep, records_sha256: str) -> list[float]:
    models = sweep.space["model"].values if "model" in sweep.space else (sweep.base.model,)
    try:
        results = gather(sweep.folder.parent).results
    except LvsegError:
        return []
    return [
        result.images_per_second
        for result in results
        if result.records_sha256 == records_sha256
        and result.model in models
        and bool(result.config.get("gpu")) == sweep.base.gpu
        and result.images_per_second > 0
    ]
