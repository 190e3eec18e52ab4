"""Score a finished run's best weights on any part of a record set."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lvseg.config import SplitName, Structures, TrainConfig
from lvseg.errors import RecordsError
from lvseg.evaluation import (
    GOOD_THRESHOLD,
    ContourEvaluation,
    DiceSummary,
    Frame,
    dice_from_counts,
    evaluate_frames,
    frame_from_mask,
    null_for_nan,
    summarise,
    write_evaluation,
)
from lvseg.ledger import Evaluated, report
from lvseg.logs import utc_now
from lvseg.records import SCHEMA, Manifest, read_manifest, table_to_slices
from lvseg.records.folds import for_run
from lvseg.results import RESULT_FILE, extremes_path, read_result
from lvseg.run_folder import Origin, read_config, read_origin
from lvseg.slices import CAVITY, MYOCARDIUM, Slice
from lvseg.store import UPath, write_bytes, write_text
from lvseg.training.load import LoadedRun, load_model
from lvseg.training.pictures import Extremes, encode_png
from lvseg.training.portion import Portion, whole
from lvseg.versions import versions

BATCH = 8
"""Images predicted at once; the score does not depend on it."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Scores of one run on one part of one record set."""

    run: str
    """Name of the run."""
    split: SplitName
    """The part that was scored."""
    labels: str
    """Label convention of these records."""
    training_labels: str
    """Label convention that the run was trained on; scores across conventions do not compare."""
    records_sha256: str
    """Identity of the record set."""
    summary: DiceSummary
    """Dice of the cavity per image, pooled, per case."""
    myocardium: DiceSummary | None = None
    """The same of the myocardium, where both the records and the model have it."""
    images: tuple[tuple[str, str, float], ...]
    """(name, case id, Dice) of every image, in record order; NaN where label and prediction are both empty."""
    contours: ContourEvaluation
    """The challenge's scores, of the masks' contours."""

    def to_json(self) -> str:
        """JSON; NaN becomes null."""
        content = dataclasses.asdict(self)
        content["images"] = [{"name": name, "case_id": case, "dice": dice} for name, case, dice in self.images]
        return json.dumps(null_for_nan(content), indent=2, allow_nan=False) + "\n"


def evaluate_run(
    run: UPath,
    records: UPath,
    split: SplitName = "val",
    threshold: float = GOOD_THRESHOLD,
    out: UPath | None = None,
) -> Evaluation:
    """Score the best weights of a run and keep the scores: ``evaluation-SPLIT.json``, and tables beside it.

    Args:
        run: folder of a finished run.
        records: record set.
        split: the part to score.
        threshold: average perpendicular distance below which a contour is good, mm; pixels without pixel spacing.
        out: folder for the files; default: the run's.

    Raises:
        RunError: no finished run there.
        RecordsError: no such part, or images of several sizes.
    """
    config = read_config(run)
    manifest = read_manifest(records)
    origin = read_origin(run)
    if manifest.split == "kfold":
        manifest = manifest.for_fold(config.fold, records)
    elif config.folds is not None and manifest.records_sha256 == origin.records_sha256:
        # The records' own validation patients have trained in other folds.
        manifest = for_run(manifest, records, config.fold, config.folds)
    shape = manifest.image_shape(records)
    loaded = load_model(run, shape)
    extremes = Extremes()
    scored = list(_score(loaded, whole(records, manifest, split), manifest, origin, extremes))
    evaluation = _assemble(run.name, split, manifest, origin, scored, threshold)
    folder = run if out is None else out
    write_evaluation(evaluation.contours, folder, f"evaluation-{split}")
    write_text(folder / f"evaluation-{split}.json", evaluation.to_json())
    _write_pictures(folder, split, extremes)
    _enter(run, records, manifest, config, evaluation)
    return evaluation


def _write_pictures(folder: UPath, split: SplitName, extremes: Extremes) -> None:
    for which in ("worst", "best"):
        if (grid := extremes.grid(which)) is not None:
            write_bytes(extremes_path(folder, split, which), encode_png(grid))


def _enter(run: UPath, records: UPath, manifest: Manifest, config: TrainConfig, evaluation: Evaluation) -> None:
    """Into the leaderboard's store."""
    summary = evaluation.summary
    entry = Evaluated(
        part=evaluation.split,
        labels=manifest.labels,
        training_labels=evaluation.training_labels,
        split=manifest.split,
        fold=config.fold if manifest.split == "kfold" else None,
        records_sha256=manifest.records_sha256,
        dice=summary.mean,
        dice_pooled=summary.pooled,
        images=summary.images,
        undefined=summary.undefined,
        dice_by_case=summary.by_case,
        counts_by_case=summary.counts_by_case,
        command=shlex.join(["lvseg", "evaluate", str(run), str(records), "--split", evaluation.split]),
        versions=versions(),
        finished_at=utc_now(),
    )
    sweep = read_result(run).sweep if (run / RESULT_FILE).exists() else None
    report(run, sweep, evaluation=entry)


@dataclasses.dataclass(frozen=True, slots=True)
class _Scored:
    frame: Frame
    counts: tuple[tuple[int, int, int], ...]
    """Pixels of intersection, prediction and label: of the cavity and, where both have it, the myocardium."""


def _score(
    loaded: LoadedRun, portion: Portion, manifest: Manifest, origin: Origin, extremes: Extremes
) -> Iterator[_Scored]:
    both: Structures = "endo+myo" if origin.structures == manifest.structures == "endo+myo" else "endo"
    learnt = origin.labels
    classes = (CAVITY, MYOCARDIUM) if both == "endo+myo" else (CAVITY,)
    for table in portion.tables(columns=SCHEMA.names):
        for start in range(0, len(table), BATCH):
            items = table_to_slices(table.slice(start, BATCH))
            _check_shapes(items, portion.shape)
            for item, mask in zip(items, loaded.predict(np.stack([item.image for item in items])), strict=True):
                counts = tuple(_counts(mask == structure, item.mask == structure) for structure in classes)
                label, prediction = ((classes_ == CAVITY).astype(np.uint8) for classes_ in (item.mask, mask))
                extremes.add(float(dice_from_counts(*counts[0])), item.image, label, prediction)
                yield _Scored(frame_from_mask(item, mask, both, manifest.labels, learnt), counts)


def _check_shapes(items: Sequence[Slice], shape: tuple[int, int]) -> None:
    for item in items:
        if item.image.shape != shape:
            found = "x".join(map(str, item.image.shape))
            raise RecordsError(f"record {item.name}: image is {found}, expected {shape[0]}x{shape[1]}")


def _counts(predicted: NDArray[np.bool_], labelled: NDArray[np.bool_]) -> tuple[int, int, int]:
    return int(np.sum(predicted & labelled)), int(predicted.sum()), int(labelled.sum())


def _assemble(
    run: str, split: SplitName, manifest: Manifest, origin: Origin, scored: Sequence[_Scored], threshold: float
) -> Evaluation:
    names, case_ids = [each.frame.name for each in scored], [each.frame.case_id for each in scored]
    cavity, *myocardium = np.array([each.counts for each in scored], np.float64).transpose(1, 2, 0)
    return Evaluation(
        run=run,
        split=split,
        labels=manifest.labels,
        training_labels=origin.labels,
        records_sha256=manifest.records_sha256,
        summary=summarise(names, case_ids, *cavity),
        myocardium=summarise(names, case_ids, *myocardium[0]) if myocardium else None,
        images=tuple(zip(names, case_ids, dice_from_counts(*cavity).tolist(), strict=True)),
        contours=evaluate_frames([each.frame for each in scored], threshold),
    )
