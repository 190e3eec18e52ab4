"""A finished run to export, without a training."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from lvseg.config import PreprocessConfig, TrainConfig
from lvseg.models import build_model
from lvseg.results import CaseCounts
from lvseg.run_folder import Run, finish_run, open_run
from lvseg.slices import CLASSES
from lvseg.training.state import CHECKPOINT_WEIGHTS, Outcome, RunState
from tests.discs import write_records

ROW = {
    "epoch": 1,
    "learning_rate": 1e-3,
    "loss": 0.5,
    "accuracy": 0.9,
    "dice": 0.4,
    "val_loss": 0.6,
    "val_accuracy": 0.8,
    "val_dice": 0.7,
    "val_dice_pooled": 0.75,
    "images_per_second": 10.0,
    "seconds": 2.5,
}


def make_run(
    root: Path,
    config: TrainConfig,
    preprocessing: PreprocessConfig | None = None,
    size: int = 32,
    cases: dict[str, float] | None = None,
    **records: Any,
) -> Run:
    """A run with start values for weights, and biases that are not 0."""
    preprocessing = preprocessing or PreprocessConfig()
    manifest = write_records(root / "records", train=2, val=1, size=size, preprocessing=preprocessing, **records)
    run = Run(folder=root / "runs/one", config=config, records=root / "records", manifest=manifest)
    open_run(run)
    keras.utils.set_random_seed(3)
    model = build_model(config, (size, size), CLASSES[manifest.structures])
    random = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(weight + random.normal(0, 0.1, weight.shape))
    (root / "best").mkdir()
    model.save_weights(root / "best" / CHECKPOINT_WEIGHTS)
    cases = cases or {"A": 0.9, "B": 0.5}
    counts = CaseCounts(images=1, intersection=40, predicted=50, labelled=60)
    state = RunState(
        parameters=model.count_params(),
        epoch=1,
        best_epoch=1,
        history=[ROW],
        best_by_case=cases,
        best_counts_by_case={
            case: {name: getattr(counts, name) for name in ("images", "intersection", "predicted", "labelled")}
            for case in cases
        },
    )
    finish_run(run, Outcome(state=state), root / "best")
    return run
