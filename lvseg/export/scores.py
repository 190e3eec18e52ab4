"""A run's scores for its card: of its own validation, and of every evaluation in its folder."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lvseg.leaderboard.statistics import Interval, dice_intervals
from lvseg.results import CaseCounts, RunResult
from lvseg.store import UPath, list_folder

__all__ = ["ContourScores", "Scores", "evaluation_scores", "validation_scores"]

logger = logging.getLogger(__name__)

_MEASURES = ("dice_good", "dice_all", "apd_good", "good_percent", "hd95")
"""Of the challenge's numbers, those that a reader compares first; the run's tables have them all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContourScores:
    """Mean and SD over patients of the contours of one structure."""

    structure: str
    unit: str
    """Of lengths: mm, or px where images carry no pixel spacing."""
    threshold: float
    """APD below which a contour is good, in this unit."""
    over_patients: Mapping[str, tuple[float | None, float | None]]
    """Measure → (mean, SD)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Dice of the cavity on one part of one record set."""

    what: str
    """The part, and whose."""
    labels: str
    """Label convention of these records."""
    records_sha256: str
    """Their identity."""
    images: int
    undefined: int
    """Images left out: label and prediction are both empty."""
    dice: float | None
    """Mean over images."""
    dice_interval: Interval | None
    """95 %, over patients."""
    pooled: float | None
    """Over all pixels together."""
    pooled_interval: Interval | None
    dice_by_case: Mapping[str, float | None]
    """Lowest first."""
    contours: tuple[ContourScores, ...] = ()


def validation_scores(result: RunResult) -> Scores:
    """Of the run's own validation images, at its best epoch."""
    return _scores(
        what="validation part of the training's own records",
        labels=result.labels,
        records_sha256=result.records_sha256,
        images=result.val_images,
        undefined=result.val_dice_undefined,
        dice=result.val_dice,
        pooled=result.val_dice_pooled,
        by_case=result.val_dice_by_case,
        counts=result.val_counts_by_case,
    )


def evaluation_scores(run: UPath) -> tuple[Scores, ...]:
    """Of every ``evaluation-PART.json`` in the run's folder; a damaged one is left out, with a line in the log."""
    found = []
    for name in list_folder(run):
        if name.startswith("evaluation-") and name.endswith(".json"):
            try:
                found.append(_evaluation(name, json.loads((run / name).read_bytes())))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                logger.warning("%s: not an evaluation: %s", run / name, error)
    return tuple(found)


def _evaluation(name: str, content: Mapping[str, Any]) -> Scores:
    summary = content["summary"]
    counts = {case: CaseCounts(**each) for case, each in summary["counts_by_case"].items()}
    return _scores(
        what=f"part {content['split']}, evaluated",
        labels=content["labels"],
        records_sha256=content["records_sha256"],
        images=summary["images"],
        undefined=summary["undefined"],
        dice=_nan(summary["mean"]),
        pooled=_nan(summary["pooled"]),
        by_case={case: _nan(dice) for case, dice in summary["by_case"].items()},
        counts=counts,
        contours=_contours(content["contours"]),
    )


def _contours(content: Mapping[str, Any]) -> tuple[ContourScores, ...]:
    return tuple(
        ContourScores(
            structure=stratum["structure"],
            unit=content["unit"],
            threshold=content["threshold"],
            over_patients={
                name: (stratum["over_patients"][name]["mean"], stratum["over_patients"][name]["sd"])
                for name in _MEASURES
            },
        )
        for stratum in content["strata"]
        if stratum["by"] == "all"
    )


def _scores(
    *,
    what: str,
    labels: str,
    records_sha256: str,
    images: int,
    undefined: int,
    dice: float,
    pooled: float,
    by_case: Mapping[str, float],
    counts: Mapping[str, CaseCounts],
    contours: tuple[ContourScores, ...] = (),
) -> Scores:
    interval, pooled_interval = dice_intervals(by_case, counts)
    ordered = sorted(by_case.items(), key=lambda each: (math.isnan(each[1]), each[1]))
    return Scores(
        what=what,
        labels=labels,
        records_sha256=records_sha256,
        images=images,
        undefined=undefined,
        dice=_none(dice),
        dice_interval=interval,
        pooled=_none(pooled),
        pooled_interval=pooled_interval,
        dice_by_case={case: _none(value) for case, value in ordered},
        contours=contours,
    )


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _none(value: float) -> float | None:
    return None if math.isnan(value) else value
