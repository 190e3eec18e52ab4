"""A finished run without training: a model that sees bright discs, and what a run's folder says of it."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import yaml

from lvseg.config import TrainConfig
from lvseg.models import build_model
from lvseg.records import Manifest
from lvseg.run_folder import CONFIG_NAME, ORIGIN_NAME, WEIGHTS_NAME, Origin
from lvseg.slices import CLASSES


def write_run(folder: Path, records: Path, manifest: Manifest, model: str = "fcn", seed: int = 0) -> Path:
    """A run with weights as they come from the seed."""
    folder.mkdir(parents=True)
    config = TrainConfig(model=model, seed=seed, precision="float32")
    keras.utils.set_random_seed(seed)
    network = build_model(config, manifest.image_shape(records), CLASSES[manifest.structures])
    network.save_weights(folder / WEIGHTS_NAME)
    origin = Origin(
        records=str(records),
        records_sha256=manifest.records_sha256,
        labels=manifest.labels,
        structures=manifest.structures,
    )
    (folder / CONFIG_NAME).write_text(yaml.safe_dump(dataclasses.asdict(config)))
    (folder / ORIGIN_NAME).write_text(json.dumps(dataclasses.asdict(origin)))
    return folder


def bright(images: np.ndarray, threshold: float = 1.0, steepness: float = 20.0) -> np.ndarray:
    """(n, rows, columns) → (n, rows, columns, 1): how much each pixel stands out of its image, 0 to 1."""
    mean, deviation = (f(images, axis=(1, 2), keepdims=True) for f in (np.mean, np.std))
    score = steepness * ((images - mean) / deviation - threshold)
    return (1 / (1 + np.exp(-np.clip(score, -50, 50))))[..., None].astype(np.float32)
