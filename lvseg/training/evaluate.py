"""Score a finished run's best weights on any part of a record set."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from lvseg.config import SplitName, TrainConfig, from_mapping, read_yaml
from lvseg.errors import RunError
from lvseg.evaluation import DiceSummary, dice_from_counts, summarise
from lvseg.records import read_manifest
from lvseg.run_folder import CONFIG_NAME, WEIGHTS_NAME, read_origin
from lvseg.slices import CLASSES
from lvseg.store import UPath, local_copy, write_text
from lvseg.training.checkpoint import load_weights
from lvseg.training.engine import Engine
from lvseg.training.portion import Portion, whole
from lvseg.training.shards import stream_feed


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

    def to_json(self) -> str:
        """JSON; NaN becomes null."""
        content = dataclasses.asdict(self)
        content["images"] = [{"name": name, "case_id": case, "dice": dice} for name, case, dice in self.images]
        return json.dumps(_null_for_nan(content), indent=2, allow_nan=False) + "\n"


def _null_for_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _null_for_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_null_for_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def evaluate_run(run: UPath, records: UPath, split: SplitName = "val") -> Evaluation:
    """Score the best weights of a run and keep the scores in its folder, as ``evaluation-SPLIT.json``.

    Raises:
        RunError: no finished run there.
        RecordsError: no such part, or images of several sizes.
    """
    if not (run / CONFIG_NAME).is_file():
        raise RunError(f"{run}: not a run folder: no {CONFIG_NAME} there")
    if not (run / WEIGHTS_NAME).is_file():
        raise RunError(f"{run}: has no {WEIGHTS_NAME}: the run has not finished")
    config = from_mapping(TrainConfig, read_yaml(run / CONFIG_NAME))
    manifest = read_manifest(records)
    if manifest.split == "kfold":
        manifest = manifest.for_fold(config.fold, records)
    shape = manifest.image_shape(records)
    origin = read_origin(run)
    engine = Engine(config, shape, tf.distribute.get_strategy(), CLASSES[origin.structures])
    with local_copy(run / WEIGHTS_NAME) as weights:
        load_weights(weights, engine.model)
    portion = whole(records, manifest, split)
    names, case_ids = _names_and_cases(portion)
    cavity, *myocardium = engine.score(stream_feed(portion)).astype(np.float64)[:, 1:].T.reshape(-1, 3, len(names))
    dice = dice_from_counts(*cavity)
    evaluation = Evaluation(
        run=run.name,
        split=split,
        labels=manifest.labels,
        training_labels=origin.labels,
        records_sha256=manifest.records_sha256,
        summary=summarise(names, case_ids, *cavity),
        myocardium=summarise(names, case_ids, *myocardium[0]) if myocardium and manifest.structures != "endo" else None,
        images=tuple(zip(names, case_ids, dice.tolist(), strict=True)),
    )
    write_text(run / f"evaluation-{split}.json", evaluation.to_json())
    return evaluation


def _names_and_cases(portion: Portion) -> tuple[list[str], list[str]]:
    table = pa.concat_tables(portion.tables(columns=("name", "case_id")))
    return table["name"].to_pylist(), table["case_id"].to_pylist()
