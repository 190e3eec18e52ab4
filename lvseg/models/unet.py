"""U-Net after Ronneberger, Fischer, Brox 2015 (https://arxiv.org/abs/1505.04597).

Same-padded, 16 to 256 channels. Like the paper's it has no normalisation layers: batch normalisation
would make the result depend on how a batch is shared out among workers, and group normalisation
halves the speed on CPUs. He initialisation (https://arxiv.org/abs/1502.01852) and standardised images
keep the activations in range instead.
"""

import keras

WIDTHS = (16, 32, 64, 128, 256)


def build_unet(shape: tuple[int, int], dtype: str = "float32", classes: int = 2) -> keras.Model:
    """Encoder–decoder with skip connections at every scale."""
    layers = keras.layers
    inputs = keras.Input((*shape, 1), name="image")
    x = inputs
    skips = []
    for width in WIDTHS[:-1]:
        x = _two_convolutions(x, width, dtype)
        skips.append(x)
        x = layers.MaxPooling2D(2, dtype=dtype)(x)
    x = _two_convolutions(x, WIDTHS[-1], dtype)
    for width, skip in zip(WIDTHS[-2::-1], reversed(skips), strict=True):
        x = layers.Conv2DTranspose(width, 2, strides=2, padding="same", dtype=dtype)(x)
        x = layers.Concatenate(dtype=dtype)([skip, x])
        x = _two_convolutions(x, width, dtype)
    x = layers.Conv2D(classes, 1, dtype=dtype)(x)
    logits = layers.Activation("linear", dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="unet")


def _two_convolutions(x: keras.KerasTensor, width: int, dtype: str) -> keras.KerasTensor:
    for _ in range(2):
        x = keras.layers.Conv2D(
            width, 3, padding="same", activation="relu", kernel_initializer="he_normal", dtype=dtype
        )(x)
    return x
