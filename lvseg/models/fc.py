"""Fully connected net: the baseline that knows nothing of neighbourhood."""

import keras

HIDDEN_UNITS = 64


def build_fc(shape: tuple[int, int], dtype: str = "float32", classes: int = 2) -> keras.Model:
    """Flatten → Dense 64, relu → Dense rows·columns·classes → logits, with no softmax before the loss."""
    rows, columns = shape
    inputs = keras.Input((rows, columns, 1), name="image")
    x = keras.layers.Flatten(dtype=dtype)(inputs)
    x = keras.layers.Dense(HIDDEN_UNITS, activation="relu", dtype=dtype)(x)
    x = keras.layers.Dense(rows * columns * classes, dtype=dtype)(x)
    logits = keras.layers.Reshape((rows, columns, classes), dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="fc")
