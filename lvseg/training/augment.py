"""Augmentation inside the training graph: every image gets changes of its own in every epoch.

What happens to an image follows from (seed, epoch, number of the image) alone: they are key and counter of the
Philox generator, and each image is worked on by itself. Batch, place in the batch and worker have no part in it.

The order is that of a scan: the patient lies differently (mirror, zoom, turn, shift, bend), the coil shades, the
acquisition blurs and adds noise, the display has its gamma. The image is then standardised again, as it is when a
run is scored. Brightness comes last, since standardising would take it away.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from lvseg.config import AugmentConfig
from lvseg.training import grey
from lvseg.training.warp import DEGREE, Affine, resample, source_coordinates

BEND_CELLS = 6
"""Cells, along an axis, of the elastic deformation; fewer where a large one would fold the image."""
FOLD_FREE = 0.48
"""A displacement whose cubic B-spline coefficients stay below this part of a cell does not fold the image (Choi and
Lee, Injectivity conditions of 2D and 3D uniform cubic B-spline functions, 2000)."""
SHADING_CELLS = 1
"""Cells of the shading along an axis: smoother than any anatomy."""
PARALLEL_IMAGES = 16
"""Images worked on at the same time, where there are as many threads."""

GEOMETRY = ("flip", "scale", "rotation", "shift", "elastic")
GREYS = ("shading", "blur", "noise", "gamma", "brightness")
"""The changes, in the order in which they are made."""
COUNTS = {
    "flip": 1,
    "scale": 1,
    "rotation": 1,
    "shift": 2,
    "shading": 1 + (SHADING_CELLS + DEGREE) ** 2,
    "blur": 1,
    "noise": 1,
    "gamma": 1,
    "brightness": 1,
    "elastic": 2 * (BEND_CELLS + DEGREE) ** 2,
}
"""Random numbers that say how much a change is; one before them says whether there is one."""
NUMBERS = sum(COUNTS.values()) + len(COUNTS)
"""Random numbers of an image in an epoch, but for the noise's pixels."""

_PHILOX = 1
_NOISE_OFFSET = 2**32
"""Where in an image's stream of random numbers the noise's pixels begin, far behind ``NUMBERS``."""


def augment(
    images: tf.Tensor, labels: tf.Tensor, numbers: tf.Tensor, epoch: tf.Tensor, config: AugmentConfig, seed: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Change a batch; to be called inside a ``tf.function``.

    That function is not to be compiled by XLA as a whole: its generator gives other random numbers, and slowly.

    Args:
        images: (n, rows, columns, 1) float32, each with mean 0 and standard deviation 1.
        labels: (n, rows, columns) int32, classes 0 to 2.
        numbers: (n,) int32, row of each image in the whole training part.
        epoch: scalar int32.
        config: which changes there are, and their bounds; what is 0 has no part in the graph.
        seed: of the run.

    Returns:
        Images and labels of the same shapes and dtypes. An image for which no change was drawn comes back bit for bit.
    """
    if not config.augments():
        return images, labels
    change = make_change(config)

    def one(item: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        stream = Stream(seed, epoch, item[2])
        image, label = change(item[0][..., 0], item[1], stream.uniform(), stream)
        return image[..., tf.newaxis], label

    # On the host, also of a GPU: the result is the same with and without one.
    with tf.device("CPU:0"):
        signature = (tf.TensorSpec(images.shape[1:], tf.float32), tf.TensorSpec(labels.shape[1:], tf.int32))
        changed: tuple[tf.Tensor, tf.Tensor] = tf.map_fn(
            one, (images, labels, numbers), fn_output_signature=signature, parallel_iterations=PARALLEL_IMAGES
        )
    return changed


class Stream:
    """The random numbers of one image in one epoch; no other image, epoch or seed has a part of them."""

    def __init__(self, seed: int, epoch: tf.Tensor, number: tf.Tensor) -> None:
        self._key = tf.constant([seed], tf.uint64)
        self._high = tf.cast(tf.cast(epoch, tf.int64) * 2**32 + tf.cast(number, tf.int64), tf.uint64)

    def _counter(self, low: int) -> tf.Tensor:
        return tf.stack([tf.constant(low, tf.uint64), self._high])

    def uniform(self) -> tf.Tensor:
        """(NUMBERS,) float32 from 0 to below 1."""
        return tf.raw_ops.StatelessRandomUniformV2(
            shape=[NUMBERS], key=self._key, counter=self._counter(0), alg=_PHILOX
        )

    def normal(self, rows: int, columns: int) -> tf.Tensor:
        """(rows, columns) float32 with mean 0 and standard deviation 1."""
        return tf.raw_ops.StatelessRandomNormalV2(
            shape=[rows, columns], key=self._key, counter=self._counter(_NOISE_OFFSET), alg=_PHILOX
        )


class Drawn:
    """An image's random numbers, read as changes within the bounds of the settings.

    A change's places in ``numbers`` do not depend on the settings: to turn one on leaves the others' draws alone.
    """

    def __init__(self, numbers: tf.Tensor, config: AugmentConfig) -> None:
        self._numbers, self._config = numbers, config

    def _of(self, name: str) -> tf.Tensor:
        start = place_of(name)
        return self._numbers[start : start + 1 + COUNTS[name]]

    def met(self, *names: str) -> tf.Tensor:
        """Scalar bool: whether the image meets any of some changes."""
        return tf.reduce_any(tf.stack([self._met(name) for name in names]))

    def _met(self, name: str) -> tf.Tensor:
        numbers = self._of(name)
        return tf.reduce_any(numbers < 0.5) if name == "flip" else numbers[0] < self._config.augment_chance

    def part(self, name: str) -> tf.Tensor:
        """(count,) 0 to 1, how much of the bound."""
        return self._of(name)[1:]

    def signed(self, name: str) -> tf.Tensor:
        """(count,) -1 to 1, how much of the bound to either side."""
        return 2.0 * self.part(name) - 1.0

    def _signed_if_met(self, name: str) -> tf.Tensor:
        return tf.where(self._met(name), self.signed(name), 0.0)

    def affine(self, rows: int, columns: int) -> Affine:
        """Zoom, turn, mirror and shift."""
        config = self._config
        mirror = tf.where(self._of("flip") < 0.5, -1.0, 1.0) if config.augment_flip else tf.ones(2)
        shift = self._signed_if_met("shift") * config.augment_shift
        return Affine(
            angle=self._signed_if_met("rotation")[0] * math.radians(config.augment_rotation_deg),
            zoom=tf.exp(self._signed_if_met("scale")[0] * -math.log1p(-config.augment_scale)),
            mirror_rows=mirror[0],
            mirror_columns=mirror[1],
            shift_rows=shift[0] * rows,
            shift_columns=shift[1] * columns,
        )

    def bend(self, rows: int, columns: int) -> tf.Tensor:
        """(2, cells + 3, cells + 3) coefficients of the elastic deformation, pixels."""
        most = self._config.augment_elastic_px
        cells = max(1, min(BEND_CELLS, int(FOLD_FREE * (min(rows, columns) - 1) / most)))
        side = cells + DEGREE
        return most * tf.reshape(self._signed_if_met("elastic")[: 2 * side**2], (2, side, side))


def place_of(name: str) -> int:
    """Where a change's random numbers begin."""
    names = list(COUNTS)
    before = names[: names.index(name)]
    return sum(COUNTS[each] for each in before) + len(before)


def switched_on(config: AugmentConfig, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of some changes that the settings ask for."""
    units = {"rotation": "_deg", "elastic": "_px", "blur": "_px"}
    return tuple(name for name in names if getattr(config, f"augment_{name}{units.get(name, '')}"))


Change = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, Stream], tuple[tf.Tensor, tf.Tensor]]
"""(rows, columns) image and label, (NUMBERS,) random numbers and the stream they are from → image and label."""


def make_change(config: AugmentConfig) -> Change:
    """What is done to one image."""
    geometry, greys = switched_on(config, GEOMETRY), switched_on(config, GREYS)
    # XLA makes few loops of each of the two; TensorFlow's operations one by one take three times as long.
    move = tf.function(lambda *args: _move(config, *args), jit_compile=True, autograph=False)
    recolour = tf.function(lambda *args: _recolour(config, *args), jit_compile=True, autograph=False)

    def change(image: tf.Tensor, label: tf.Tensor, numbers: tf.Tensor, stream: Stream) -> tuple[tf.Tensor, tf.Tensor]:
        drawn = Drawn(numbers, config)
        old = image
        if geometry:
            image, label = tf.cond(drawn.met(*geometry), lambda: tuple(move(old, label, numbers)), lambda: (old, label))
        moved = image
        noise = _noise(drawn, stream, image) if "noise" in greys else tf.zeros(())
        image = tf.cond(drawn.met(*geometry, *greys), lambda: recolour(moved, noise, numbers), lambda: moved)
        return image, label

    return change


def _move(config: AugmentConfig, image: tf.Tensor, label: tf.Tensor, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    drawn, (rows, columns) = Drawn(numbers, config), image.shape
    bend = drawn.bend(rows, columns) if config.augment_elastic_px else None
    return resample(image, label, *source_coordinates(drawn.affine(rows, columns), bend, rows, columns))


def _noise(drawn: Drawn, stream: Stream, image: tf.Tensor) -> tf.Tensor:
    # Not left to XLA, which takes three times as long for normal random numbers.
    return tf.cond(drawn.met("noise"), lambda: stream.normal(*image.shape), lambda: tf.zeros(image.shape))


def _recolour(config: AugmentConfig, image: tf.Tensor, noise: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    drawn = Drawn(numbers, config)

    def where_met(name: str, change: Callable[[tf.Tensor], tf.Tensor], image: tf.Tensor) -> tf.Tensor:
        return tf.cond(drawn.met(name), lambda: change(image), lambda: image)

    if most := config.augment_shading:
        side = SHADING_CELLS + DEGREE
        field = tf.reshape(drawn.signed("shading")[1:], (side, side))
        image = where_met("shading", lambda x: grey.shade(x, field, most * drawn.part("shading")[0]), image)
    if widest := config.augment_blur_px:
        image = where_met("blur", lambda x: grey.blur(x, widest * drawn.part("blur")[0], widest), image)
    if most_noise := config.augment_noise:
        image += noise * (most_noise * drawn.part("noise")[0])
    if bound := config.augment_gamma:
        image = where_met("gamma", lambda x: grey.gamma(x, tf.exp(bound * drawn.signed("gamma")[0])), image)
    image = grey.standardise(image)
    if offset := config.augment_brightness:
        image = where_met("brightness", lambda x: x + offset * drawn.signed("brightness")[0], image)
    return image
