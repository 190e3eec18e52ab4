"""One graph from grey values to probabilities: what can be computed from an image alone goes with the model.

Only Keras's own layers and operations: a ``.keras`` file of it loads in safe mode where lvseg is not installed.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import NDArray

from lvseg.config import Normalisation, PreprocessConfig
from lvseg.preprocess import find_layout, lay_out_image, normalise
from lvseg.preprocess.steps import PERCENTILES
from lvseg.training.engine import CONTRAST_FLOOR, standardise
from lvseg.training.load import LoadedRun

__all__ = ["INPUT", "OUTPUT", "crops_in_graph", "input_shape", "run_probabilities", "serving_model"]

INPUT = "image"
OUTPUT = "probabilities"


def crops_in_graph(preprocessing: PreprocessConfig) -> bool:
    """A crop around the centre needs the image alone; one around the heart needs the whole cine."""
    return preprocessing.crop == "centre"


def input_shape(run: LoadedRun, preprocessing: PreprocessConfig) -> tuple[int | None, int | None]:
    """(rows, columns) of the graph's input; None is any."""
    return (None, None) if crops_in_graph(preprocessing) else run.shape


def serving_model(run: LoadedRun, preprocessing: PreprocessConfig) -> keras.Model:
    """(batch, rows, columns, 1) float32 grey values → (batch, rows, columns, classes) float32 probabilities.

    Args:
        run: Loaded with precision float32.
        preprocessing: What was done to the images of the training.
    """
    image = keras.Input((*input_shape(run, preprocessing), 1), dtype="float32", name=INPUT)
    x = _crop_centre(image, run.shape) if crops_in_graph(preprocessing) else image
    x = _standardise(_normalise(x, preprocessing.normalise, run.shape))
    probabilities = keras.layers.Softmax(dtype="float32", name=OUTPUT)(run.model(x))
    return keras.Model(image, probabilities, name=f"lvseg_{run.config.model.replace('-', '_')}")


def _crop_centre(image: Any, shape: tuple[int, int]) -> Any:
    """``preprocess.lay_out_image`` of a crop around the centre; where it leaves the image, the minimum stands."""
    lowest = ops.min(image, axis=(1, 2, 3), keepdims=True)
    for axis, size in ((1, shape[0]), (2, shape[1])):
        image = _crop_axis(image, lowest, axis, size)
    return image


def _crop_axis(image: Any, lowest: Any, axis: int, size: int) -> Any:
    """The middle of one axis, of two equally good ones the first."""
    line = image[:1, :, :1, :1] if axis == 1 else image[:1, :1, :, :1]
    length = ops.sum(ops.ones_like(line))  # the graph knows the image's size only when it runs
    rows = ops.add(ops.floor((length - size) / 2), np.arange(size, dtype=np.float32))
    inside = ops.logical_and(ops.greater_equal(rows, 0.0), ops.less(rows, length))
    taken = ops.take(image, ops.cast(ops.minimum(ops.maximum(rows, 0.0), length - 1), "int32"), axis=axis)
    return ops.where(ops.reshape(inside, (1, size, 1, 1) if axis == 1 else (1, 1, size, 1)), taken, lowest)


def _normalise(x: Any, method: Normalisation, shape: tuple[int, int]) -> Any:
    """``preprocess.normalise`` of every image."""
    if method == "none":
        return x
    if method == "percentile":
        bounds = [bound / 100 for bound in PERCENTILES]
        values = ops.reshape(x, (-1, shape[0] * shape[1]))
        low, high = (ops.reshape(ops.quantile(values, bound, axis=1), (-1, 1, 1, 1)) for bound in bounds)
        x = ops.minimum(ops.maximum(x, low), high)
        centre, scale = low, high - low
    else:
        centre, variance = ops.moments(x, axes=(1, 2, 3), keepdims=True)
        scale = ops.sqrt(variance)
    flat = ops.equal(scale, 0.0)
    return ops.where(flat, 0.0, (x - centre) / ops.where(flat, 1.0, scale))


def _standardise(x: Any) -> Any:
    """``training.engine.standardise``."""
    mean, variance = ops.moments(x, axes=(1, 2, 3), keepdims=True)
    return (x - mean) * ops.rsqrt(variance + CONTRAST_FLOOR)


def run_probabilities(
    run: LoadedRun, preprocessing: PreprocessConfig, images: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The same of lvseg's own way: NumPy's preprocessing, the training's standardisation, the run's model.

    Args:
        run: As for ``serving_model``.
        preprocessing: The same.
        images: (n, rows, columns) grey values, as the graph takes them.

    Returns:
        (n, rows, columns, classes).
    """
    crop = PreprocessConfig(crop="centre", crop_size=preprocessing.crop_size) if crops_in_graph(preprocessing) else None
    layout = find_layout(images.shape[1:3], None, crop or PreprocessConfig(), None)
    prepared = [normalise(lay_out_image(image, layout), preprocessing.normalise) for image in images]
    logits = run.model(standardise(tf.constant(np.stack(prepared))), training=False)
    return tf.nn.softmax(logits).numpy()  # type: ignore[no-any-return]
