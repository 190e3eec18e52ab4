"""A finished run without training: weights of chance, and what a run's folder says of them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import yaml

from lvseg.config import TrainConfig
from lvseg.models import build_model
from lvseg.records import Manifest
from lvseg.run_folder import CONFIG_NAME, ORIGIN_NAME, WEIGHTS_NAME, Origin
from lvseg.slices import CLASSES


def write_run(
    folder: Path, records: Path, manifest: Manifest, model: str = "fcn", seed: int = 0, **settings: Any
) -> Path:
    """A run with weights as they come from the seed."""
    folder.mkdir(parents=True)
    config = TrainConfig(model=model, seed=seed, precision="float32", **settings)
    keras.utils.set_random_seed(seed)
    rows, columns = map(int, next(iter(manifest.shapes)).split("x"))
    network = build_model(config, (rows, columns), CLASSES[manifest.structures])
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
