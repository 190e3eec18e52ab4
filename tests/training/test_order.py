import itertools

import numpy as np
import pytest

from lvseg.errors import ConfigError
from lvseg.training.order import (
    BLOCK_ROWS,
    block_bounds,
    epoch_order,
    even_bounds,
    steps_per_epoch,
    training_rows,
    validation_rows,
    window_rows,
)

CASES = [
    (images, batch, workers)
    for images, batch, workers in itertools.product((1, 2, 3, 7, 23, 101), (1, 2, 4, 7, 12), (1, 2, 3, 4, 5))
    if workers <= batch and images > (workers - 1) * batch // workers
]


def steps_of(images: int, batch: int, workers: int, epoch: int = 3) -> list[list[int]]:
    """For each step the images, as rows of the whole training part, over all workers."""
    steps: list[list[int]] = [[] for _ in range(steps_per_epoch(images, batch))]
    for rank in range(workers):
        order = epoch_order(images, batch, workers, rank, seed=5, epoch=epoch)
        first = training_rows(images, batch, workers, rank).start
        for step, (rows, weights) in enumerate(zip(order.rows, order.weights, strict=True)):
            steps[step] += [first + int(row) for row in rows[weights > 0]]
        np.testing.assert_array_equal(order.numbers[order.weights > 0], first + order.rows[order.weights > 0])
    return steps


@pytest.mark.parametrize(("images", "batch", "workers"), CASES)
def test_every_image_exactly_once_an_epoch(images: int, batch: int, workers: int) -> None:
    steps = steps_of(images, batch, workers)
    assert sorted(itertools.chain(*steps)) == list(range(images))
    assert all(len(step) == min(batch, images) for step in steps[:-1])


@pytest.mark.parametrize(("images", "batch", "workers"), CASES)
def test_the_images_of_a_step_do_not_depend_on_the_workers(images: int, batch: int, workers: int) -> None:
    assert steps_of(images, batch, workers) == steps_of(images, batch, 1)


@pytest.mark.parametrize(("images", "batch", "workers"), CASES)
def test_workers_agree_on_steps_and_batch_sizes(images: int, batch: int, workers: int) -> None:
    orders = [epoch_order(images, batch, workers, rank, seed=5, epoch=1) for rank in range(workers)]
    assert {len(order.rows) for order in orders} == {steps_per_epoch(images, batch)}
    lanes = [order.rows.shape[1] for order in orders]
    assert sum(lanes) == batch
    assert max(lanes) - min(lanes) <= 1
    real = sum(order.weights.sum(axis=1) for order in orders)
    for order in orders:
        np.testing.assert_array_equal(order.batch_images, real)
        assert order.batch_images.min() > 0


@pytest.mark.parametrize(("images", "batch", "workers"), CASES)
def test_a_worker_shows_only_images_that_it_holds(images: int, batch: int, workers: int) -> None:
    for rank in range(workers):
        held = len(training_rows(images, batch, workers, rank))
        order = epoch_order(images, batch, workers, rank, seed=0, epoch=2)
        assert held > 0
        assert 0 <= order.rows.min() <= order.rows.max() < held


@pytest.mark.parametrize(("images", "workers"), [(0, 2), (1, 3), (10, 3), (12, 4), (5, 5)])
def test_every_validation_image_belongs_to_one_worker(images: int, workers: int) -> None:
    rows = [row for rank in range(workers) for row in validation_rows(images, workers, rank)]
    assert rows == list(range(images))


def test_seed_and_epoch_change_the_order() -> None:
    orders = [epoch_order(40, 4, 1, 0, seed, epoch).rows.tolist() for seed, epoch in [(0, 1), (0, 2), (1, 1)]]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]
    assert orders[0] == epoch_order(40, 4, 1, 0, 0, 1).rows.tolist()


def test_bounds_are_equal_to_within_one_the_longer_first() -> None:
    assert even_bounds(10, 4).tolist() == [0, 3, 6, 8, 10]


@pytest.mark.parametrize(
    ("images", "batch", "workers", "message"),
    [
        (3, 4, 4, "workers must be at most the number of training images, got 4 and 3"),
        (30, 2, 3, "workers must be at most batch_size, got 3 and 2"),
        (3, 8, 2, "batch_size 8 over 2 workers needs at least 5 training images, got 3"),
        (4, 8, 2, "batch_size 8 over 2 workers needs at least 5 training images, got 4"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(images: int, batch: int, workers: int, message: str) -> None:
    for rank in range(workers):
        with pytest.raises(ConfigError) as caught:
            training_rows(images, batch, workers, rank)
        assert str(caught.value) == message


LARGE = [(5_000, 2, (1, 2)), (9_999, 4, (1, 2, 4)), (20_001, 12, (1, 3))]


@pytest.mark.parametrize(("images", "batch", "workers"), LARGE)
def test_large_lanes_show_every_image_once_whatever_the_workers(
    images: int, batch: int, workers: tuple[int, ...]
) -> None:
    alone = steps_of(images, batch, 1)
    assert sorted(itertools.chain(*alone)) == list(range(images))
    for count in workers[1:]:
        assert steps_of(images, batch, count) == alone


def test_a_lane_up_to_the_window_is_shuffled_whole() -> None:
    """So the runs of small record sets keep their numbers."""
    window = window_rows(4)
    order = epoch_order(4 * window, 4, 1, 0, seed=5, epoch=3)
    expected = np.random.default_rng([5, 3, 2]).permutation(window) + 2 * window
    assert order.rows[:, 2].tolist() == expected.tolist()


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_a_large_lane_is_shuffled_within_its_window(batch: int) -> None:
    """The blocks that were begun and not ended never hold more rows than the window, and the order is no small one."""
    size = 20 * window_rows(batch)
    rows = epoch_order(batch * size, batch, 1, 0, seed=5, epoch=3).rows[:, 0]
    bounds = block_bounds(range(size))
    block = np.searchsorted(bounds, rows, side="right") - 1
    sizes = np.diff(bounds)
    first = np.full(len(sizes), size)
    last = np.zeros(len(sizes), int)
    np.minimum.at(first, block, np.arange(size))
    np.maximum.at(last, block, np.arange(size))
    held = [int(sizes[(first <= place) & (last >= place)].sum()) for place in range(0, size, 17)]
    assert window_rows(batch) / 2 < np.median(held) <= max(held) <= window_rows(batch)
    neighbours = np.abs(np.diff(rows)) < BLOCK_ROWS
    assert neighbours.mean() < 0.5
    other = epoch_order(batch * size, batch, 1, 0, seed=5, epoch=4).rows[:, 0]
    assert np.mean(np.abs(rows - other) < size / 20) < 0.2


def test_the_window_depends_on_the_batch_alone() -> None:
    assert [window_rows(batch) for batch in (1, 2, 4, 8, 64, 4096)] == [1024, 1024, 512, 256, 256, 256]


def test_a_cut_is_filled_up_with_places_that_count_nothing() -> None:
    order = epoch_order(10, 4, 1, 0, seed=0, epoch=1)
    part = order.cut(1, 5)
    assert part.rows.shape == (4, 4)
    np.testing.assert_array_equal(part.numbers[:2], order.numbers[1:])
    assert part.weights[2:].sum() == part.batch_images[2:].sum() == 0
