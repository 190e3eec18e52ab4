"""Fully convolutional net after Long, Shelhamer, Darrell 2015 (https://arxiv.org/abs/1411.4038).

The variant of the Sunnybrook course exercise and of Tran 2016 (https://arxiv.org/abs/1604.00494):
strided convolutions down to 1/16, one learned 31×31 upsampling back.
"""

import keras


def build_fcn(shape: tuple[int, int], dtype: str = "float32", classes: int = 2) -> keras.Model:
    """1,857,848 parameters with two classes, whatever the image size."""
    layers = keras.layers
    inputs = keras.Input((*shape, 1), name="image")
    x = layers.Conv2D(100, 5, strides=2, padding="same", activation="relu", dtype=dtype)(inputs)
    x = layers.MaxPooling2D(2, padding="same", dtype=dtype)(x)
    x = layers.Conv2D(200, 5, strides=2, padding="same", activation="relu", dtype=dtype)(x)
    x = layers.MaxPooling2D(2, padding="same", dtype=dtype)(x)
    x = layers.Conv2D(300, 3, padding="same", activation="relu", dtype=dtype)(x)
    x = layers.Conv2D(300, 3, padding="same", activation="relu", dtype=dtype)(x)
    x = layers.Conv2D(classes, 1, padding="same", activation="relu", dtype=dtype)(x)
    x = layers.Conv2DTranspose(classes, 31, strides=16, padding="same", dtype=dtype)(x)
    logits = layers.Activation("linear", dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="fcn")
