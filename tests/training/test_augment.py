"""Augmentation against scipy and numpy; and that an image's changes are its own."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import BSpline

from lvseg.config import AugmentConfig
from lvseg.training import grey
from lvseg.training.augment import (
    COUNTS,
    GEOMETRY,
    GREYS,
    NUMBERS,
    Drawn,
    Stream,
    augment,
    make_change,
    place_of,
    switched_on,
)
from lvseg.training.warp import Affine, resample, smooth_field, source_coordinates

ROWS, COLUMNS = 36, 45
"""Not square, not a multiple of anything."""
ALL = {
    "augment_rotation_deg": 180.0,
    "augment_flip": True,
    "augment_scale": 0.3,
    "augment_shift": 0.1,
    "augment_elastic_px": 4.0,
    "augment_gamma": 0.5,
    "augment_brightness": 0.5,
    "augment_shading": 0.5,
    "augment_noise": 0.3,
    "augment_blur_px": 1.0,
}
Batch = tuple[NDArray[np.float32], NDArray[np.int32]]


def make_batch(count: int) -> Batch:
    """Standardised images of a ring on noise, and labels with cavity and myocardium."""
    random = np.random.default_rng(3)
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    distance = np.hypot(rows - 16, columns - 25)
    labels = np.where(distance < 6, 1, np.where(distance < 9, 2, 0))
    images = random.normal(0, 0.2, (count, ROWS, COLUMNS)) + 2 * (labels == 1) - (labels == 2)
    images -= images.mean(axis=(1, 2), keepdims=True)
    images /= images.std(axis=(1, 2), keepdims=True)
    return images[..., None].astype(np.float32), np.repeat(labels[None], count, 0).astype(np.int32)


@functools.cache
def compiled(seed: int, shape: tuple[int, int], **settings: float) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    config = AugmentConfig(**settings)  # type: ignore[arg-type]
    signature = [
        tf.TensorSpec((None, *shape, 1), tf.float32),
        tf.TensorSpec((None, *shape), tf.int32),
        tf.TensorSpec((None,), tf.int32),
        tf.TensorSpec((), tf.int32),
    ]
    return tf.function(lambda *args: augment(*args, config, seed), input_signature=signature)


def run(batch: Batch, numbers: list[int] | range, epoch: int = 0, seed: int = 5, **settings: float) -> Batch:
    function = compiled(seed, batch[1].shape[1:], **settings)
    images, labels = function(*batch, np.array(numbers, np.int32), np.int32(epoch))
    return images.numpy(), labels.numpy()


def equal(left: Batch, right: Batch) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(left, right, strict=True))


# -- an image's changes are its own ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_image_does_not_depend_on_its_batch() -> None:
    images, labels = make_batch(8)
    numbers = [3, 14, 15, 92, 65, 35, 89, 79]
    whole = run((images, labels), numbers, **ALL)
    alone = [run((images[[n]], labels[[n]]), [numbers[n]], **ALL) for n in range(8)]
    assert equal(whole, (np.concatenate([i for i, _ in alone]), np.concatenate([m for _, m in alone])))
    order = np.random.default_rng(0).permutation(8)
    permuted = run((images[order], labels[order]), [numbers[n] for n in order], **ALL)
    assert equal(permuted, (whole[0][order], whole[1][order]))


def test_images_and_epochs_differ() -> None:
    images, labels = make_batch(1)
    batch = np.repeat(images, 6, 0), np.repeat(labels, 6, 0)
    first, _ = run(batch, range(6), **ALL)
    again, _ = run(batch, range(6), **ALL)
    later, _ = run(batch, range(6), epoch=1, **ALL)
    assert np.array_equal(first, again)
    assert len(np.unique(np.concatenate([first, later]).reshape(12, -1), axis=0)) == 12


@pytest.mark.parametrize("other", [(6, 3, 4), (5, 4, 4), (5, 3, 5), (5, 4, 3)])
def test_streams_share_no_number(other: tuple[int, int, int]) -> None:
    def numbers(seed: int, epoch: int, number: int) -> NDArray[np.float32]:
        stream = Stream(seed, tf.constant(epoch), tf.constant(number))
        return np.concatenate([stream.uniform(), np.ravel(stream.normal(20, 20))])

    mine, others = numbers(5, 3, 4), numbers(*other)
    assert np.array_equal(mine, numbers(5, 3, 4))
    assert np.isin(mine, others).mean() < 0.01  # chance: 23 bits


def test_pixels_of_noise_are_normal_and_independent_of_the_other_numbers() -> None:
    noise = np.asarray(Stream(1, tf.constant(2), tf.constant(3)).normal(200, 200))
    assert abs(noise.mean()) < 4 / 200
    assert noise.std() == pytest.approx(1, abs=4 / 200)
    assert abs(np.mean(noise[:, 1:] * noise[:, :-1])) < 4 / 200


def test_nothing_asked_for_nothing_done() -> None:
    images, labels = (tf.constant(each) for each in make_batch(2))
    found = augment(images, labels, tf.range(2), tf.constant(0), AugmentConfig(augment_chance=1), 0)
    assert found[0] is images
    assert found[1] is labels


def test_an_image_that_meets_no_change_comes_back_bit_for_bit() -> None:
    images, labels = make_batch(2)
    images[0, 0, 0] = -0.0
    settings = {"augment_rotation_deg": 90.0, "augment_brightness": 0.5, "augment_noise": 0.5, "augment_chance": 1e-6}
    found, mask = run((images, labels), [0, 1], **settings)
    assert found.tobytes() == images.tobytes()
    assert np.array_equal(mask, labels)


def test_what_is_off_is_not_in_the_graph() -> None:
    def operations(**settings: float) -> set[str]:
        graph = compiled(0, (16, 16), **settings).get_concrete_function().graph  # type: ignore[attr-defined]
        nodes = list(graph.as_graph_def().node)
        for function in graph.as_graph_def().library.function:
            nodes += function.node_def
        return {node.op for node in nodes}

    assert "StatelessRandomNormalV2" in operations(augment_noise=0.1)
    without = operations(augment_gamma=0.1)
    assert "Pow" in without
    assert not without & {"StatelessRandomNormalV2", "GatherV2", "MirrorPad", "MatMul"}
    assert "GatherV2" in operations(augment_flip=True)


# -- geometry --------------------------------------------------------------------------------------------------------


def affine(**changes: float) -> Affine:
    still = {"angle": 0.0, "zoom": 1.0, "mirror_rows": 1.0, "mirror_columns": 1.0, "shift_rows": 0.0}
    values = still | {"shift_columns": 0.0} | changes
    return Affine(**{name: tf.constant(value, tf.float32) for name, value in values.items()})


def warp(image: NDArray[np.float32], label: NDArray[np.int32], move: Affine, bend: tf.Tensor | None = None) -> Batch:
    row, column = source_coordinates(move, bend, *image.shape)
    moved, mask = resample(tf.constant(image), tf.constant(label), row, column)
    return moved.numpy(), mask.numpy()


MOVES = {
    "turn": {"angle": 0.4},
    "zoom": {"zoom": 1.3},
    "shift": {"shift_rows": 3.25, "shift_columns": -5.5},
    "mirror": {"mirror_rows": -1.0, "angle": 0.2},
    "all": {"angle": -2.0, "zoom": 0.8, "mirror_columns": -1.0, "shift_rows": -2.2, "shift_columns": 4.1},
}


@pytest.mark.parametrize("name", MOVES)
def test_moves_are_those_of_scipy(name: str) -> None:
    (image,), (label,) = make_batch(1)[0][..., 0], make_batch(1)[1]
    move = {key: float(value) for key, value in affine(**MOVES[name])._asdict().items()}
    cosine, sine = np.cos(move["angle"]), np.sin(move["angle"])
    turn = np.array([[cosine, -sine], [sine, cosine]])
    forward = turn @ np.diag([move["mirror_rows"], move["mirror_columns"]]) * move["zoom"]
    back = np.linalg.inv(forward)
    centre = np.array([(ROWS - 1) / 2, (COLUMNS - 1) / 2])
    offset = centre - back @ (centre + np.array([move["shift_rows"], move["shift_columns"]]))

    def expected(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(ndimage.affine_transform(values, back, offset, order=1, mode="nearest"))

    moved, mask = warp(image, label, affine(**MOVES[name]))
    np.testing.assert_allclose(moved, expected(image.astype(float)), atol=2e-4)
    shares = np.stack([expected((label == structure).astype(float)) for structure in range(3)])
    first, second = np.sort(shares, axis=0)[[2, 1]]
    clear = first - second > 1e-4
    assert clear.mean() > 0.95  # the others lie half way between two pixels
    assert np.array_equal(mask[clear], shares.argmax(axis=0)[clear])


def test_a_mirror_is_exact() -> None:
    images, labels = make_batch(1)
    moved, mask = warp(images[0, ..., 0], labels[0], affine(mirror_rows=-1.0, mirror_columns=-1.0))
    assert np.array_equal(moved, images[0, ::-1, ::-1, 0])
    assert np.array_equal(mask, labels[0, ::-1, ::-1])


def test_a_bend_is_that_of_scipys_splines() -> None:
    images, labels = make_batch(1)
    cells, random = 3, np.random.default_rng(1)
    coefficients = random.uniform(-3, 3, (2, cells + 3, cells + 3))
    spline = BSpline(np.arange(-3, cells + 4), np.eye(cells + 3), 3)
    down, across = (spline(np.linspace(0, cells, length)) for length in (ROWS, COLUMNS))
    field = np.einsum("ri,kij,cj->krc", down, coefficients, across)
    found = smooth_field(tf.constant(coefficients[0], tf.float32), ROWS, COLUMNS)
    np.testing.assert_allclose(found, field[0], atol=1e-5)

    move = {"shift_rows": 2.0, "mirror_columns": -1.0}
    rows, columns = np.mgrid[:ROWS, :COLUMNS] + field
    at = [rows - 2, COLUMNS - 1 - columns]
    expected = ndimage.map_coordinates(images[0, ..., 0].astype(float), at, order=1, mode="nearest")
    moved, _ = warp(images[0, ..., 0], labels[0], affine(**move), tf.constant(coefficients, tf.float32))
    np.testing.assert_allclose(moved, expected, atol=2e-4)


@pytest.mark.parametrize("most", [2.0, 8.0, 16.0])
def test_a_bend_stays_within_its_bound_and_does_not_fold(most: float) -> None:
    config = AugmentConfig(augment_elastic_px=most, augment_chance=1)
    for seed in range(20):
        numbers = np.random.default_rng(seed).integers(0, 2, NUMBERS).astype(np.float32)
        numbers[place_of("elastic")] = 0
        bend = Drawn(tf.constant(numbers), config).bend(64, 96)
        row, column = source_coordinates(affine(), bend, 64, 96)
        rows, columns = np.mgrid[:64, :96]
        assert np.abs(row - rows).max() <= most + 1e-4
        assert np.abs(column - columns).max() <= most + 1e-4
        (row_down, row_across), (column_down, column_across) = np.gradient(row), np.gradient(column)
        assert (row_down * column_across - row_across * column_down).min() > 0


def discs(count: int, side: int = 48) -> Batch:
    """The label's own edge as the image, standardised; cavity within myocardium."""
    rows, columns = np.mgrid[:side, :side]
    distance = np.hypot(rows - 22, columns - 26)
    label = np.where(distance < 8, 1, np.where(distance < 12, 2, 0)).astype(np.int32)
    image = (label == 1).astype(np.float32)
    image = (image - image.mean()) / image.std()
    return np.repeat(image[None, ..., None], count, 0), np.repeat(label[None], count, 0)


def test_label_follows_image_and_keeps_its_area() -> None:
    count = 300
    settings = {"augment_rotation_deg": 180.0, "augment_flip": True, "augment_shift": 0.1, "augment_elastic_px": 1.5}
    batch = discs(count)
    images, labels = run(batch, range(count), **settings, augment_chance=1.0)
    middle = (images.max(axis=(1, 2), keepdims=True) + images.min(axis=(1, 2), keepdims=True)) / 2
    assert ((images > middle)[..., 0] != (labels == 1)).mean() < 1e-3
    for structure in (1, 2):
        before, after = (batch[1] == structure).sum(), (labels == structure).sum()
        assert after / before == pytest.approx(1, abs=0.01)


def test_zoom_changes_the_area_by_its_square() -> None:
    for zoom in (0.8, 1.25):
        images, labels = discs(1)
        _, mask = warp(images[0, ..., 0], labels[0], affine(zoom=zoom, angle=0.3))
        assert (mask > 0).sum() / (labels > 0).sum() == pytest.approx(zoom**2, abs=0.02)


# -- what is drawn ---------------------------------------------------------------------------------------------------


def drawn_values(count: int, config: AugmentConfig) -> dict[str, NDArray[np.float32]]:
    def one(numbers: tf.Tensor) -> dict[str, tf.Tensor]:
        drawn = Drawn(numbers, config)
        met = {f"met_{name}": drawn.met(name) for name in COUNTS}
        return {**drawn.affine(100, 200)._asdict(), **met}

    numbers = np.random.default_rng(0).random((count, NUMBERS), np.float32)
    return {name: values.numpy() for name, values in tf.vectorized_map(one, tf.constant(numbers)).items()}


def test_draws_fill_their_bounds() -> None:
    config = AugmentConfig(**(ALL | {"augment_rotation_deg": 30.0, "augment_chance": 0.25}))  # type: ignore[arg-type]
    values = drawn_values(4000, config)
    bounds = {"angle": np.radians(30), "shift_rows": 10, "shift_columns": 20}
    bounds |= {"zoom": -np.log(0.7)}
    values["zoom"] = np.log(values["zoom"])
    for name, bound in bounds.items():
        assert 0.97 * bound < values[name].max() <= 1.00001 * bound, name
        assert -0.97 * bound > values[name].min() >= -1.00001 * bound, name
        assert abs(values[name].mean()) < 0.03 * bound
    for name in set(COUNTS) - {"flip"}:
        assert values[f"met_{name}"].mean() == pytest.approx(0.25, abs=0.03), name
    assert values["met_flip"].mean() == pytest.approx(0.75, abs=0.03)
    assert np.mean(values["mirror_rows"] == -1) == pytest.approx(0.5, abs=0.03)
    assert np.mean(values["met_noise"] & values["met_blur"]) == pytest.approx(0.0625, abs=0.02)


def test_every_setting_has_its_change() -> None:
    config = AugmentConfig(**ALL)  # type: ignore[arg-type]
    assert set(switched_on(config, GEOMETRY + GREYS)) == set(COUNTS)
    assert switched_on(AugmentConfig(augment_blur_px=1), GEOMETRY + GREYS) == ("blur",)


def test_turning_one_change_on_leaves_the_others_draws_alone() -> None:
    numbers = Stream(0, tf.constant(0), tf.constant(0)).uniform()
    turned = {"augment_rotation_deg": 90.0, "augment_scale": 0.2, "augment_chance": 1.0}
    alone = Drawn(numbers, AugmentConfig(**turned)).affine(10, 10)  # type: ignore[arg-type]
    together = Drawn(numbers, AugmentConfig(**(ALL | turned))).affine(10, 10)  # type: ignore[arg-type]
    assert float(alone.angle) == float(together.angle) != 0
    assert float(alone.zoom) == float(together.zoom) != 1


# -- grey values -----------------------------------------------------------------------------------------------------


@pytest.fixture
def image() -> NDArray[np.float32]:
    return make_batch(1)[0][0, ..., 0]


def test_gamma_is_a_power_of_the_scaled_image(image: NDArray[np.float32]) -> None:
    scaled = (image - image.min()) / (image.max() - image.min())
    np.testing.assert_allclose(grey.gamma(tf.constant(image), tf.constant(1.7)), scaled**1.7, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_blur_is_scipys(image: NDArray[np.float32], sigma: float) -> None:
    largest = 2.0
    radius = int(grey.BLUR_REACH * largest)
    expected = ndimage.gaussian_filter(image.astype(float), sigma, radius=radius, mode="reflect")
    np.testing.assert_allclose(grey.blur(tf.constant(image), tf.constant(sigma), largest), expected, atol=1e-5)


def test_shading_reaches_its_strength_and_no_more(image: NDArray[np.float32]) -> None:
    coefficients = tf.constant(np.random.default_rng(0).uniform(-1, 1, (4, 4)), tf.float32)
    shaded = np.asarray(grey.shade(tf.constant(image), coefficients, tf.constant(0.4)))
    bright = image > image.min() + 0.1
    gain = (shaded - image.min())[bright] / (image - image.min())[bright]
    field = np.asarray(smooth_field(coefficients, ROWS, COLUMNS))
    np.testing.assert_allclose(gain, (1 + 0.4 * field / np.abs(field).max())[bright], atol=1e-3)


def test_images_end_standardised_but_for_brightness(image: NDArray[np.float32]) -> None:
    config = AugmentConfig(**{f"augment_{name}" + "_px" * (name == "blur"): 0.5 for name in GREYS})  # type: ignore[arg-type]
    label, change = tf.constant(make_batch(1)[1][0]), make_change(config)
    stream = Stream(0, tf.constant(0), tf.constant(0))
    compiled = tf.function(lambda numbers: change(tf.constant(image), label, numbers, stream))
    for name in GREYS:
        numbers = np.ones(NUMBERS, np.float32)
        numbers[place_of(name) : place_of(name) + 1 + COUNTS[name]] = np.linspace(0, 1, 1 + COUNTS[name])[::-1]
        numbers[place_of(name) : place_of(name) + 2] = 0, 1  # met, at its bound
        found, same = (each.numpy() for each in compiled(tf.constant(numbers)))
        assert np.array_equal(same, label)
        assert found.std() == pytest.approx(1, abs=1e-4), name
        assert found.mean() == pytest.approx(0.5 if name == "brightness" else 0, abs=1e-5), name
        assert np.abs(found - image - found.mean()).max() > 0.1 or name == "brightness", name


def test_noise_has_the_drawn_deviation(image: NDArray[np.float32]) -> None:
    images, labels = (np.repeat(each, 40, 0) for each in make_batch(1))
    found, _ = run((images, labels), range(40), augment_noise=0.3, augment_chance=1.0)
    slopes = np.array([np.polyfit(image.ravel(), each.ravel(), 1)[0] for each in found[..., 0]])
    added = found[..., 0] / slopes[:, None, None] - image
    deviations = added.std(axis=(1, 2))
    numbers = [Stream(5, tf.constant(0), tf.constant(n)).uniform()[place_of("noise") + 1] for n in range(40)]
    np.testing.assert_allclose(deviations, 0.3 * np.array(numbers), rtol=0.1, atol=0.001)


def test_a_constant_image_stays_finite() -> None:
    images, labels = np.zeros((4, ROWS, COLUMNS, 1), np.float32), make_batch(4)[1]
    assert np.isfinite(run((images, labels), range(4), **ALL)[0]).all()
