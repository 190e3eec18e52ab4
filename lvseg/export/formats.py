"""The three formats: write a model, and run what was written."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lvseg.errors import ConfigError
from lvseg.export.graph import INPUT, OUTPUT

__all__ = ["FORMATS", "ExportFormat", "FormatWriter", "require_packages"]

ExportFormat = Literal["keras", "savedmodel", "onnx"]
Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(n, rows, columns, 1) → (n, rows, columns, classes)."""
ONNX_PACKAGES = ("onnx", "onnxruntime", "tf2onnx")


@dataclass(frozen=True, slots=True)
class FormatWriter:
    """One format."""

    file: str
    """Name of the file or folder."""
    reader: str
    """What reads it, for people."""
    write: Callable[[keras.Model, Path, Mapping[str, str]], None]
    """Model, path, and words about it to store within."""
    load: Callable[[Path], Predict]
    """Reads what was written as others do, and runs it."""


def require_packages(format: ExportFormat) -> None:
    """Refuse a format whose packages are not installed.

    Raises:
        ConfigError: names them, and what to install.
    """
    missing = [name for name in ONNX_PACKAGES if find_spec(name) is None] if format == "onnx" else []
    if missing:
        raise ConfigError(f"export to onnx needs {', '.join(missing)}, not installed: pip install 'lvseg[onnx]'")


def _write_keras(model: keras.Model, path: Path, facts: Mapping[str, str]) -> None:
    model.save(path)


def _load_keras(path: Path) -> Predict:
    model = keras.models.load_model(path, compile=False, safe_mode=True)
    return lambda images: np.asarray(model(images, training=False))


def _write_savedmodel(model: keras.Model, path: Path, facts: Mapping[str, str]) -> None:
    _with_named_output(model).export(path, format="tf_saved_model", verbose=False, input_signature=_signature(model))


def _load_savedmodel(path: Path) -> Predict:
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    return lambda images: signature(**{INPUT: tf.constant(images)})[OUTPUT].numpy()


def _write_onnx(model: keras.Model, path: Path, facts: Mapping[str, str]) -> None:
    """Keras's way through tf2onnx; then the axes get names that mean something."""
    import onnx

    with _quiet_converter():
        _with_named_output(model).export(path, format="onnx", verbose=False, input_signature=_signature(model))
    proto = onnx.load(path)
    for value in (*proto.graph.input, *proto.graph.output):
        rows_columns = ("rows", "columns") if value.name == INPUT else ("", "")
        for dimension, name in zip(value.type.tensor_type.shape.dim, ("batch", *rows_columns), strict=False):
            if name and not dimension.HasField("dim_value"):
                dimension.dim_param = name
    proto.producer_name = "lvseg"
    onnx.helper.set_model_props(proto, dict(facts))
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def _load_onnx(path: Path) -> Predict:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run([OUTPUT], {INPUT: images})[0]


def _with_named_output(model: keras.Model) -> keras.Model:
    """The same graph; its output has a name where the format has a place for one."""
    return keras.Model(model.input, {OUTPUT: model.output}, name=model.name)


def _signature(model: keras.Model) -> list[tf.TensorSpec]:
    return [tf.TensorSpec(model.input.shape, tf.float32, name=INPUT)]


@contextmanager
def _quiet_converter() -> Iterator[None]:
    """Without tf2onnx's log, and without NumPy's word on Keras's patch of it."""
    level = (logger := logging.getLogger("tf2onnx")).level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


FORMATS: dict[ExportFormat, FormatWriter] = {
    "keras": FormatWriter("model.keras", "Keras 3, keras.models.load_model", _write_keras, _load_keras),
    "savedmodel": FormatWriter(
        "saved_model", "TensorFlow, tf.saved_model.load and TensorFlow Serving", _write_savedmodel, _load_savedmodel
    ),
    "onnx": FormatWriter("model.onnx", "ONNX Runtime and other readers of ONNX", _write_onnx, _load_onnx),
}
