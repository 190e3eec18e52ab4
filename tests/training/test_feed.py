"""Where the images are kept does not change what a run sees, and what is read ahead stays bounded."""

import threading
import weakref
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from lvseg.config import TrainConfig
from lvseg.errors import RecordsError
from lvseg.records import Manifest
from lvseg.training import order as order_module
from lvseg.training.context import LocalContext, Pixels
from lvseg.training.feed import Feed, HostFeed, ahead
from lvseg.training.loop import train
from lvseg.training.monitor import Monitor
from lvseg.training.order import EpochOrder, block_bounds, epoch_order, training_blocks, window_rows
from lvseg.training.portion import Mode, Portion, portions, split_facts
from lvseg.training.shards import open_shard
from lvseg.training.stream import BLOCKS_AHEAD, StreamRows
from tests.discs import SIZE, make_images, write_records

MODES: tuple[Mode, ...] = ("memory", "disk", "stream")
TRAIN, VAL = 43, 70


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LVSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("records")
    return folder, write_records(folder, train=TRAIN, val=VAL, shard_images=16)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes of a few images are then shuffled and read as lanes of many thousands are."""
    monkeypatch.setattr(order_module, "BLOCK_ROWS", 3)
    monkeypatch.setattr(order_module, "WINDOW_ROWS", 8)
    monkeypatch.setattr(order_module, "LANE_WINDOW_ROWS", (8, 8))


def shown(feed: Feed, order: EpochOrder, steps: int) -> list[list[tuple[bytes, bytes]]]:
    """For each step of an epoch the pixels of its images and masks."""
    found = []
    for chunk in feed.chunks(order, steps):
        for rows, weights in zip(chunk.order.rows[: chunk.steps], chunk.order.weights, strict=False):
            real = rows[weights > 0]
            pairs = zip(tf.gather(chunk.images, real).numpy(), tf.gather(chunk.masks, real).numpy(), strict=True)
            found.append([(image.tobytes(), mask.tobytes()) for image, mask in pairs])
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("steps", [1, 4, 100])
@pytest.mark.usefixtures("small_blocks")
def test_every_mode_shows_the_images_of_the_order(
    mode: Mode, workers: int, steps: int, records: tuple[Path, Manifest]
) -> None:
    all_images = make_images(range(TRAIN))
    config, facts = TrainConfig(batch_size=2), split_facts(*records)
    for rank in range(workers):
        shard = open_shard(mode, *records, config, facts, workers=workers, rank=rank)
        order = epoch_order(TRAIN, 2, workers, rank, seed=3, epoch=5)
        first = portions(*records, 2, workers, rank)[0].rows.start
        expected = [
            [(all_images.images[row].tobytes(), all_images.masks[row].tobytes()) for row in first + rows[weights > 0]]
            for rows, weights in zip(order.rows, order.weights, strict=True)
        ]
        assert shown(shard.train, order, steps) == expected


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_mode_scores_every_validation_image_once(
    mode: Mode, workers: int, records: tuple[Path, Manifest]
) -> None:
    expected = make_images(range(TRAIN, TRAIN + VAL))
    found = []
    for rank in range(workers):
        feed = open_shard(mode, *records, TrainConfig(batch_size=6), split_facts(*records), workers=workers, rank=rank)
        for images, masks, count in feed.val.batches():
            found += list(zip(images.numpy()[:count], masks.numpy()[:count], strict=True))
        assert feed.val.names([1, 0]) == [expected.names[len(found) - len(feed.val) + row] for row in (1, 0)]
        images, masks = feed.val.take([2])
        np.testing.assert_array_equal(images[0], found[2 - len(feed.val)][0])
        np.testing.assert_array_equal(masks[0], found[2 - len(feed.val)][1])
    np.testing.assert_array_equal([image for image, _ in found], expected.images)
    np.testing.assert_array_equal([mask for _, mask in found], expected.masks)


@pytest.mark.usefixtures("small_blocks")
def test_every_mode_trains_the_same_weights(tmp_path: Path) -> None:
    manifest = write_records(tmp_path / "records", train=21, val=7, dtype="float32")
    config = TrainConfig(model="fc", batch_size=2, epochs=2, steps_per_call=3)
    facts = split_facts(tmp_path / "records", manifest)
    outcomes, weights = [], []
    for mode in MODES:
        context = LocalContext(tmp_path / mode)
        outcome = train(
            config,
            (SIZE, SIZE),
            21,
            lambda mode=mode: open_shard(mode, tmp_path / "records", manifest, config, facts),
            context,
            Monitor(),
        )
        history = [{key: row[key] for key in row if "second" not in key} for row in outcome.state.history]
        outcomes.append((history, outcome.state.best_by_case, outcome.error))
        with context.latest_checkpoint() as folder:
            assert folder is not None
            weights.append((folder / "training.npz").read_bytes())
    assert outcomes[0][2] is None
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert weights[0] == weights[1] == weights[2]


def test_images_of_several_types_are_held_by_one_that_fits_all(tmp_path: Path) -> None:
    manifest = write_records(tmp_path, train=12, val=4, shard_images=4)
    write_records(tmp_path / "other", train=12, val=4, shard_images=4, dtype="uint16")
    name = manifest.splits["train"].files[1].file
    (tmp_path / name).write_bytes((tmp_path / "other" / name).read_bytes())
    facts = split_facts(tmp_path, manifest)
    order = epoch_order(12, 2, 1, 0, 0, 1)
    for mode in MODES:
        shard = open_shard(mode, tmp_path, manifest, TrainConfig(batch_size=2), facts)
        (chunk,) = shard.train.chunks(order, 100)
        assert chunk.images.dtype == tf.int32, mode
        rows = chunk.order.rows if mode == "memory" else order.rows
        images = chunk.images.numpy()[rows if mode == "memory" else chunk.order.rows]
        np.testing.assert_array_equal(images, make_images(range(12)).images[order.rows])


def test_a_stream_holds_a_window_of_every_lane_at_most() -> None:
    """Over an epoch of 20,001 images in four lanes never more than the windows, two chunks, what is read ahead."""
    images, batch, steps = 20_001, 4, 8
    order = epoch_order(images, batch, 1, 0, seed=0, epoch=1)
    bounds = training_blocks(images, batch, 1, 0)
    held = most = read = 0
    lock = threading.Lock()

    def change(rows: int) -> None:
        nonlocal held, most
        with lock:
            held += rows
            most = max(most, held)

    class Block(np.ndarray):  # type: ignore[type-arg]
        """An array that can be watched."""

    def read_block(start: int, stop: int) -> Pixels:
        nonlocal read
        read += stop - start
        pixels = np.arange(start, stop).reshape(-1, 1, 1).view(Block)
        change(stop - start)
        weakref.finalize(pixels, change, start - stop)
        return pixels, np.zeros((stop - start, 1, 1), np.uint8)

    feed = HostFeed(StreamRows(read_block, bounds, (1, 1)), images, names=list)
    seen = [tf.reshape(chunk.images, (steps, batch)).numpy()[: chunk.steps] for chunk in feed.chunks(order, steps)]
    np.testing.assert_array_equal(np.concatenate(seen), order.rows * (order.weights > 0))
    assert read == images, "every row is read once an epoch"
    allowed = batch * (window_rows(batch) + 2 * steps) + (BLOCKS_AHEAD + 1) * order_module.BLOCK_ROWS
    assert images / 10 < most <= allowed < images / 5
    assert held == 0


def test_a_broken_record_file_ends_the_stream_with_its_name(tmp_path: Path) -> None:
    manifest = write_records(tmp_path, train=24, val=4, shard_images=8)
    broken = tmp_path / manifest.splits["train"].files[1].file
    broken.write_bytes(broken.read_bytes()[:300])
    config = TrainConfig(model="fc", batch_size=2, epochs=1)
    for mode in MODES:
        with pytest.raises(RecordsError, match=rf"^{broken}: not a readable parquet record file: "):
            train(
                config,
                (SIZE, SIZE),
                24,
                lambda mode=mode: open_shard(mode, tmp_path, manifest, config, split_facts(tmp_path, manifest)),
                LocalContext(tmp_path / "run"),
                Monitor(),
            )


def feed_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("lvseg-")]


def test_stopping_early_leaves_no_thread(records: tuple[Path, Manifest]) -> None:
    shard = open_shard("stream", *records, TrainConfig(batch_size=2), split_facts(*records))
    chunks = shard.train.chunks(epoch_order(TRAIN, 2, 1, 0, 0, 1), 2)
    next(chunks)
    assert feed_threads()
    chunks.close()
    assert feed_threads() == []


def test_ahead_makes_one_more_and_passes_errors_on() -> None:
    made: list[int] = []
    closed = threading.Event()

    def items() -> Generator[int]:
        try:
            for number in range(9):
                if number == 4:
                    raise ValueError("four")
                made.append(number)
                yield number
        finally:
            closed.set()

    background: Iterator[int] = ahead(items())
    assert [next(background) for _ in range(3)] == [0, 1, 2]
    assert next(background) == 3
    with pytest.raises(ValueError, match="four"):
        next(background)
    assert made == [0, 1, 2, 3]
    assert closed.is_set()
    assert feed_threads() == []


def test_portions_are_read_across_files(records: tuple[Path, Manifest]) -> None:
    folder, manifest = records
    portion = Portion(records=folder, manifest=manifest, split="train", rows=range(10, 40))
    assert portion.ranges(most=100) == [
        ("train-00000.parquet", 10, 16),
        ("train-00016.parquet", 0, 16),
        ("train-00032.parquet", 0, 8),
    ]
    assert portion.ranges(3, 8, most=2) == [
        ("train-00000.parquet", 13, 15),
        ("train-00000.parquet", 15, 16),
        ("train-00016.parquet", 0, 2),
    ]
    images, masks = portion.read(3, 8)
    np.testing.assert_array_equal(images, make_images(range(13, 18)).images)
    np.testing.assert_array_equal(masks, make_images(range(13, 18)).masks)


def test_blocks_begin_where_row_groups_do() -> None:
    assert block_bounds(range(10, 200)).tolist() == [10, 64, 128, 192, 200]
    assert block_bounds(range(64, 128)).tolist() == [64, 128]
    assert block_bounds(range(5, 6)).tolist() == [5, 6]
