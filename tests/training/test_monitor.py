import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from lvseg.config import TrainConfig
from lvseg.results import EpochRow, picture_path, read_history
from lvseg.training.feed import MemoryFeed
from lvseg.training.monitor import PROGRESS_NAME, TENSORBOARD_NAME, FolderMonitor
from lvseg.training.pictures import PANEL_PX, comparison_grid, encode_png
from lvseg.training.state import Outcome
from tests.discs import make_images
from tests.training.conftest import Trainer

EPOCHS, PICTURE_EVERY = 5, 2


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("run")
    config = TrainConfig(model="fc", epochs=EPOCHS)
    monitor = FolderMonitor(folder, EPOCHS, PICTURE_EVERY)
    return folder, Trainer(folder / "checkpoints")(config, monitor=monitor)


def test_the_history_has_every_epoch(watched: tuple[Path, Outcome]) -> None:
    folder, outcome = watched
    assert read_history(folder) == outcome.state.rows()
    assert [row.epoch for row in read_history(folder)] == [1, 2, 3, 4, 5]


def test_the_progress_says_how_far_it_is(watched: tuple[Path, Outcome]) -> None:
    folder, outcome = watched
    progress = json.loads((folder / PROGRESS_NAME).read_text())
    assert progress == {"epoch": 5, "step": 0, "steps": 0, "loss": outcome.state.history[-1]["loss"], "epochs": 5}


def test_tensorboard_has_every_number(watched: tuple[Path, Outcome]) -> None:
    folder, outcome = watched
    events = EventAccumulator(str(folder / TENSORBOARD_NAME), size_guidance={"tensors": 0})
    events.Reload()
    names = {field.name for field in dataclasses.fields(EpochRow)} - {"epoch", "val_dice_myocardium"}
    assert names <= set(events.Tags()["tensors"])
    for name in names:
        written = [(event.step, float(make_ndarray(event.tensor_proto))) for event in events.Tensors(name)]
        expected = [(row.epoch, getattr(row, name)) for row in outcome.state.rows()]
        assert np.array(written) == pytest.approx(np.array(expected), rel=1e-6)
    pictures = next(tag for tag in events.Tags()["tensors"] if tag not in names)
    assert [event.step for event in events.Tensors(pictures)] == [2, 4, 5]


def test_pictures_come_when_due_and_at_the_end(watched: tuple[Path, Outcome]) -> None:
    folder, _ = watched
    files = sorted((folder / "pictures").iterdir())
    assert files == [picture_path(folder, epoch) for epoch in (2, 4, 5)]
    assert cv2.imread(str(files[0])).shape == (4 * PANEL_PX, 3 * PANEL_PX, 3)


def test_no_pictures_where_none_are_wanted(tmp_path: Path, watched: tuple[Path, Outcome]) -> None:
    monitor = FolderMonitor(tmp_path, EPOCHS, picture_every=0)
    monitor.epoch_done(watched[1].state.rows(), engine=None, val=MemoryFeed(make_images(range(2))))  # type: ignore[arg-type]
    monitor.close()
    assert (tmp_path / "history.csv").is_file()
    assert not (tmp_path / "pictures").exists()


def test_progress_inside_an_epoch_is_noted_at_most_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    from lvseg.training import monitor as module

    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    monitor = FolderMonitor(tmp_path, epochs=7, picture_every=0)
    counts = tf.constant([[[0.5, 1, 2, 3], [0.7, 1, 2, 3]]])
    steps = []
    for step in (1, 2, 3):
        monitor.steps_done(2, step, 9, counts)
        now += 0.6
        steps.append(json.loads((tmp_path / PROGRESS_NAME).read_text()))
    assert [note["step"] for note in steps] == [1, 1, 3]
    assert steps[0] == {"epoch": 2, "step": 1, "steps": 9, "loss": pytest.approx(0.6), "epochs": 7}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_a_picture_shows_image_label_and_prediction(dtype: str) -> None:
    images = make_images(range(2)).images.astype(dtype)
    masks = np.zeros(images.shape, np.uint8)
    masks[:, 3:28, 4:29] = 1  # more than half of the image: nothing is cut off
    predictions = masks.copy()
    predictions[1] = 0
    grid = comparison_grid(images, masks, predictions)
    assert grid.shape == (2 * PANEL_PX, 3 * PANEL_PX, 3)
    assert grid.dtype == np.uint8
    plain, label, predicted = np.split(grid[:PANEL_PX].astype(int), 3, axis=1)
    inside = cv2.resize(masks[0], (PANEL_PX, PANEL_PX), interpolation=cv2.INTER_NEAREST) > 0
    inside = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert (plain[..., 0] == plain[..., 1]).all()
    assert (label[inside][:, 1] > label[inside][:, 0]).all(), "the label is green"
    assert (predicted[inside][:, 0] > predicted[inside][:, 2]).all(), "the prediction is orange"
    _, _, nothing = np.split(grid[PANEL_PX:], 3, axis=1)
    assert (nothing[..., 0] != nothing[..., 1]).mean() < 0.05, "only the label's outline"


def test_a_constant_image_can_be_shown() -> None:
    nothing = np.zeros((1, 16, 16), np.uint8)
    assert comparison_grid(nothing, nothing, nothing).max() == 0


def test_the_png_decodes_to_the_same_picture() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    decoded = cv2.imdecode(np.frombuffer(encode_png(rgb), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded[..., ::-1], rgb)
