"""Images → probabilities: one model or several, with or without test-time augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lvseg.config import IMAGE_SIDE_MULTIPLE, TestTimeAugmentation
from lvseg.inference.job import PredictJob
from lvseg.inference.masks import Probabilities
from lvseg.inference.model import load_member
from lvseg.inference.prepare import PreparedStudy
from lvseg.training.engine import standardise
from lvseg.training.load import LoadedRun

__all__ = ["Member", "make_members", "predict_pack", "turns"]


def turns(augmentation: TestTimeAugmentation) -> tuple[tuple[int, bool], ...]:
    """(quarter turns, mirrored) of each view of an image; all eight only of square ones."""
    if augmentation == "none":
        return ((0, False),)
    if augmentation == "flips":
        return tuple((quarter, mirrored) for quarter in (0, 2) for mirrored in (False, True))
    return tuple((quarter, mirrored) for quarter in range(4) for mirrored in (False, True))


class Member:
    """One model of an ensemble, compiled for every size of image that it meets."""

    def __init__(self, loaded: LoadedRun, augmentation: TestTimeAugmentation = "none") -> None:
        """Nothing is compiled yet.

        Args:
            loaded: the model.
            augmentation: what the probabilities are averaged over.
        """
        self._loaded, self._augmentation = loaded, augmentation
        self._compiled: dict[tuple[int, int], Callable[[tf.Tensor], tf.Tensor]] = {}

    def predict(self, images: NDArray[np.float32], batch_size: int) -> Iterator[NDArray[np.float32]]:
        """Run the model.

        Args:
            images: (n, rows, columns), preprocessed.
            batch_size: images in one call of the model; the result does not depend on it.

        Yields:
            (images of the batch, rows, columns, structures) probabilities, background left out.

        Raises:
            RunError: a size that the model cannot take.
        """
        shape = (images.shape[1], images.shape[2])
        run = self._compiled.get(shape)
        if run is None:
            run = self._compiled[shape] = self._compile(shape)
        for start in range(0, len(images), batch_size):
            yield run(tf.constant(images[start : start + batch_size])).numpy()

    def _compile(self, shape: tuple[int, int]) -> Callable[[tf.Tensor], tf.Tensor]:
        padded = tuple(-(-side // IMAGE_SIDE_MULTIPLE) * IMAGE_SIDE_MULTIPLE for side in shape)
        model = self._loaded.of_shape((padded[0], padded[1]))
        views = turns(self._augmentation)
        missing = [(0, whole - side) for whole, side in zip(padded, shape, strict=True)]

        @tf.function(input_signature=[tf.TensorSpec((None, *shape), tf.float32)])  # type: ignore[untyped-decorator]
        def run(images: tf.Tensor) -> tf.Tensor:
            values = standardise(images)
            if padded != shape:
                values = tf.pad(values, [(0, 0), *missing, (0, 0)], constant_values=tf.reduce_min(values))
            total = tf.add_n([_undone(_probabilities(model, _turned(values, view)), view) for view in views])
            return (total / len(views))[:, : shape[0], : shape[1], 1:]

        return run  # type: ignore[no-any-return]


def _probabilities(model: Any, values: tf.Tensor) -> tf.Tensor:
    return tf.nn.softmax(tf.cast(model(values, training=False), tf.float32))


def _turned(values: tf.Tensor, view: tuple[int, bool]) -> tf.Tensor:
    quarter, mirrored = view
    values = tf.reverse(values, [2]) if mirrored else values
    return tf.image.rot90(values, quarter) if quarter else values


def _undone(values: tf.Tensor, view: tuple[int, bool]) -> tf.Tensor:
    quarter, mirrored = view
    values = tf.image.rot90(values, 4 - quarter) if quarter else values
    return tf.reverse(values, [2]) if mirrored else values


def make_members(job: PredictJob) -> list[Member]:
    """Load the models.

    Raises:
        RunError: weights that are damaged, or others than were looked at.
    """
    return [Member(load_member(facts), job.settings.tta) for facts in job.runs]


def predict_pack(
    job: PredictJob, members: Sequence[Member], studies: Sequence[PreparedStudy]
) -> list[tuple[Probabilities, ...]]:
    """Run the models; batches are full across studies.

    Returns:
        For each study the probabilities of each model, on its own grid.
    """
    by_member = [
        _predict(member, [study.inputs[kind] for study in studies], job.settings.batch_size)
        for member, kind in zip(members, job.recipe.kinds, strict=True)
    ]
    return list(zip(*by_member, strict=True))


def _predict(member: Member, inputs: Sequence[NDArray[np.float32]], batch_size: int) -> list[Probabilities]:
    """Studies with images of one size go through the model one after another."""
    results: list[Probabilities] = []
    for _, group in groupby(inputs, key=lambda images: images.shape[1:]):
        members = list(group)
        images = members[0] if len(members) == 1 else np.concatenate(members)
        batches = np.concatenate(list(member.predict(images, batch_size)))
        results += np.split(batches, np.cumsum([len(each) for each in members])[:-1])
    return results
