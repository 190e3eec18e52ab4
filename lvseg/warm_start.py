"""Settings of the best runs so far, for a sweep to begin with."""

from __future__ import annotations

import math
from typing import Any

from lvseg.errors import ConfigError
from lvseg.leaderboard.gather import gather
from lvseg.records import read_manifest
from lvseg.results import RunResult
from lvseg.space import LISTED, Dimension, Settings, choose, frozen
from lvseg.sweep import Sweep

__all__ = ["warm_start"]


def warm_start(sweep: Sweep) -> tuple[Settings, ...]:
    """Settings of the best runs on the same records, as far as the space has them; the best first.

    Runs stand beside the sweep, in its folder of runs. What lies outside the space, and what is there twice, is left
    out.

    Raises:
        ConfigError: no run can be begun with.
    """
    runs, wanted = sweep.folder.parent, sweep.tune.warm_start
    if not wanted:
        return ()
    manifest = read_manifest(sweep.records)
    found = gather(runs).results if runs.is_dir() else []
    comparable = [
        result
        for result in found
        if result.status != "failed"
        and not math.isnan(result.val_dice)
        and (result.records_sha256, result.labels) == (manifest.records_sha256, manifest.labels)
        and result.config.get("fold") == sweep.base.fold
    ]
    starts: list[Settings] = []
    for result in sorted(comparable, key=lambda result: -result.val_dice):
        settings = _settings(sweep, result)
        if settings is not None and settings not in starts:
            starts.append(settings)
    if not starts:
        raise ConfigError(f"warm_start: {runs} has no finished run on these records with settings of the space")
    return tuple(starts[:wanted])


def _settings(sweep: Sweep, result: RunResult) -> Settings | None:
    config = {key: frozen(value) for key, value in result.config.items()}
    if any(key not in config for key in sweep.space):
        return None
    chosen = choose(sweep.space, sweep.base, lambda key, _: config[key])
    return chosen if all(_is_in(sweep.space[key], value) for key, value in chosen.items()) else None


def _is_in(dimension: Dimension, value: Any) -> bool:
    if dimension.kind in LISTED:
        return value in dimension.values
    low, high = dimension.values[:2]
    on_step = dimension.kind != "qrandint" or (value - low) % dimension.values[2] == 0
    return isinstance(value, int | float) and low <= value <= high and on_step
