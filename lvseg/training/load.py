"""A finished run's model: built from its settings by lvseg's own code, filled with arrays from its weights file."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lvseg.config import Precision, TrainConfig
from lvseg.errors import RecordsError, RunError
from lvseg.models import build_model
from lvseg.records import read_manifest
from lvseg.results import RESULT_FILE, RunResult, read_result
from lvseg.run_folder import Origin, best_weights, read_config, read_origin
from lvseg.slices import CLASSES
from lvseg.store import UPath, file_sha256, local_copy, location
from lvseg.training.checkpoint import load_weights, require_sha256
from lvseg.training.engine import likeliest_class

__all__ = ["LoadedRun", "load_model", "with_facts"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedRun:
    """A run's best weights in its model, and what has to be known to use them."""

    folder: UPath
    """Of the run."""
    config: TrainConfig
    """Its settings; the precision is the one that was asked for in ``load_model``."""
    origin: Origin
    """What it was trained on; with shape and preprocessing, unless a shape was given."""
    result: RunResult | None
    """How it ended; None where its ``result.json`` is gone."""
    shape: tuple[int, int]
    """(rows, columns) of the images that the model takes."""
    model: keras.Model
    """(n, rows, columns, 1) standardised float32 images → (n, rows, columns, classes) float32 logits."""
    weights_sha256: str
    """Hash of the weights file's bytes."""

    def of_shape(self, shape: tuple[int, int]) -> keras.Model:
        """The same model for images of another size, with the same weights; none of fc, whose weights fit one size."""
        if shape == self.shape:
            return self.model
        model = _finest(build_model(self.config, shape, CLASSES[self.origin.structures]))
        model.set_weights(self.model.get_weights())
        return model

    def predict(self, images: NDArray[Any]) -> NDArray[np.uint8]:
        """(n, rows, columns) preprocessed images, as records have them → masks of the same shape."""
        return likeliest_class(self.model, images)


def load_model(run: UPath, shape: tuple[int, int] | None = None, precision: Precision | None = None) -> LoadedRun:
    """Load the best weights of a finished run. No code from its files is run.

    A run of an earlier version has no hash of its weights: it is loaded, and a line in the log says so.

    Args:
        run: Its folder.
        shape: (rows, columns) of the images; default: as in training. Only the fully connected net needs those.
        precision: Arithmetic of the layers; default: as in training.

    Raises:
        RunError: no finished run there; the weights are missing, damaged, changed since they were written, or of
            another model; or the shape is not known.
        ConfigError: damaged settings.
    """
    config, weights, origin = read_config(run), best_weights(run), read_origin(run)
    config = dataclasses.replace(config, precision=precision or config.precision)
    origin = origin if shape else with_facts(run, origin)
    shape = shape or origin.shape
    if shape is None:
        raise RunError(f"{run}: trained on images of several sizes")
    result = read_result(run) if (run / RESULT_FILE).exists() else None
    model = build_model(config, shape, CLASSES[origin.structures])
    sha256 = _fill(model, weights, result)
    return LoadedRun(
        folder=run,
        config=config,
        origin=origin,
        result=result,
        shape=shape,
        model=_finest(model),
        weights_sha256=sha256,
    )


def _finest(model: keras.Model) -> keras.Model:
    """The model without the logits of coarser levels that may have been trained, too."""
    return keras.Model(model.input, model.output[0], name=model.name) if isinstance(model.output, list) else model


def _fill(model: keras.Model, weights: UPath, result: RunResult | None) -> str:
    """Set the weights; the file's hash, which has been compared where there is one to compare with."""
    expected = None if result is None else result.weights_sha256
    if expected is None:
        logger.warning("%s: no hash of it in %s, so that it is loaded unchecked", weights, RESULT_FILE)
    with local_copy(weights) as path:
        if expected is not None:
            require_sha256(path, expected, weights)
        load_weights(path, model, weights)
        return expected or file_sha256(path)


def with_facts(run: UPath, origin: Origin) -> Origin:
    """What a run was trained on, with shape and preprocessing; of a run of an earlier version they are in its records.

    Raises:
        RunError: the records are gone, or are others by now.
    """
    if origin.shape is not None and origin.preprocessing is not None:
        return origin
    records = location(origin.records)
    try:
        manifest = read_manifest(records)
        shape = manifest.image_shape(records)
    except RecordsError as error:
        raise RunError(
            f"{run}: of an earlier version, so that size and preprocessing of the images are read from its records, "
            f"and these are not there: {error}"
        ) from None
    if manifest.records_sha256 != origin.records_sha256:
        raise RunError(f"{run}: was trained on other records than those that are in {records} now")
    return dataclasses.replace(origin, shape=shape, preprocessing=manifest.preprocessing)
