import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.util.tensor_util import make_ndarray

from lvseg.config import TrainConfig
from lvseg.results import TENSORBOARD_FOLDER, EpochRow, picture_path, read_history
from lvseg.store import UPath
from lvseg.training import monitor as module
from lvseg.training.feed import MemoryFeed
from lvseg.training.monitor import FolderMonitor
from lvseg.training.pictures import PANEL_PX, comparison_grid, encode_png
from lvseg.training.state import Outcome
from lvseg.training.status import EVENTS_NAME, PROGRESS_NAME, RunProgress, read_events, read_progress
from lvseg.training.tensorboard import BEST_TAG, PICTURES_TAG, scalar_tag
from tests.discs import SIZE, make_images
from tests.training.conftest import Trainer

EPOCHS, PICTURE_EVERY, STEPS = 5, 2, 4
LAST_EPOCH_OF_FIRST_START = 3
SHOWN = [field.name for field in dataclasses.fields(EpochRow) if field.name not in ("epoch", "val_dice_myocardium")]
COUNTS = tf.constant([[[0.5, 1, 2, 3], [0.7, 1, 2, 3]]])
"""One step of two images: loss 0.6, Dice 2 · 2 / (4 + 6)."""


class StubEngine:
    """What the monitor asks of an engine."""

    def __init__(self, **settings: Any) -> None:
        self.config = TrainConfig(model="fc", epochs=EPOCHS, batch_size=2, **settings)
        self.shape = (SIZE, SIZE)
        image = keras.Input((SIZE, SIZE, 1))
        self.model = keras.Model(image, keras.layers.Conv2D(2, 3, padding="same", name="only")(image))

    def predict(self, images: NDArray[Any]) -> NDArray[np.uint8]:
        return np.zeros(images.shape, np.uint8)


def make_row(epoch: int, **values: float) -> EpochRow:
    numbers = {name: epoch + index / 100 for index, name in enumerate(SHOWN)}
    return EpochRow(epoch=epoch, **(numbers | values))


def show(folder: Path, epochs: range, rows: list[EpochRow], engine: StubEngine) -> None:
    """One start of a run: it does these epochs; ``rows`` is the history that it ends with."""
    monitor = FolderMonitor(folder, EPOCHS, PICTURE_EVERY)
    val = MemoryFeed(make_images(range(4)))
    monitor.started(engine, val, rows[: epochs.start - 1], midway=False)  # type: ignore[arg-type]
    for epoch in epochs:
        for step in range(1, STEPS + 1):
            monitor.steps_done(epoch, step, STEPS, COUNTS)
        monitor.epoch_done(rows[:epoch], engine, val)  # type: ignore[arg-type]
    monitor.close()


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[EpochRow]]:
    """A run that lost its third epoch with its workers, and did it again."""
    folder = tmp_path_factory.mktemp("resumed")
    before = [make_row(epoch, loss=9.0) for epoch in range(1, LAST_EPOCH_OF_FIRST_START + 1)]
    show(folder, range(1, LAST_EPOCH_OF_FIRST_START + 1), before, StubEngine())
    rows = before[:2] + [make_row(epoch) for epoch in range(3, EPOCHS + 1)]
    show(folder, range(3, EPOCHS + 1), rows, StubEngine(profile=True))
    return folder, rows


@pytest.fixture(scope="module")
def events(resumed: tuple[Path, list[EpochRow]]) -> EventAccumulator:
    events = EventAccumulator(str(resumed[0] / TENSORBOARD_FOLDER), size_guidance={"tensors": 0})
    return events.Reload()


def series(events: EventAccumulator, tag: str) -> list[tuple[int, Any]]:
    return [(event.step, make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]


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
    progress, row = read_progress(folder), outcome.state.rows()[-1]
    assert progress is not None
    assert (progress.phase, progress.completed) == ("done", EPOCHS)
    assert (progress.loss, progress.dice, progress.val_dice) == (row.loss, row.dice, row.val_dice)
    assert progress.best_val_dice == outcome.state.best_val_dice


def test_tensorboard_has_every_number_once(resumed: tuple[Path, list[EpochRow]], events: EventAccumulator) -> None:
    for name in SHOWN:
        written = [(step, float(value)) for step, value in series(events, scalar_tag(name))]
        expected = [(row.epoch, getattr(row, name)) for row in resumed[1]]
        assert np.array(written) == pytest.approx(np.array(expected), rel=1e-6)
    assert {scalar_tag(name) for name in SHOWN} >= {"train/loss", "val/loss", "train/dice", "val/dice"}


def test_tensorboard_has_histograms_and_pictures_when_due(events: EventAccumulator) -> None:
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith("weights/")]
    assert sorted(tag.rpartition("/")[2] for tag in tags) == ["bias", "kernel"]
    (kernel,) = (series(events, tag) for tag in tags if tag.endswith("kernel"))
    assert [step for step, _ in kernel] == [2, 4, 5]
    assert kernel[0][1][:, 2].sum() == 3 * 3 * 2
    assert [step for step, _ in series(events, PICTURES_TAG)] == [2, 4, 5]


def test_tensorboard_has_the_graph_once(events: EventAccumulator) -> None:
    assert "Conv2D" in str(events.Graph())


def test_tensorboard_compares_runs_by_settings_and_best_dice(events: EventAccumulator) -> None:
    content = events.PluginTagToContent("hparams")
    start = hparams_metadata.parse_session_start_info_plugin_data(content[hparams_metadata.SESSION_START_INFO_TAG])
    assert start.hparams["model"].string_value == "fc"
    assert start.hparams["batch_size"].number_value == 2
    assert start.hparams["augment_flip"].bool_value is False
    assert "workers" not in start.hparams, "the same run on other workers is not another one"
    assert hparams_metadata.EXPERIMENT_TAG not in content, "it would hide in which settings runs differ"
    assert hparams_metadata.SESSION_END_INFO_TAG in content
    best = [float(value) for _, value in series(events, BEST_TAG)]
    assert best == sorted(best)
    assert len(best) == EPOCHS


def test_a_profile_of_the_second_epoch_of_the_start(resumed: tuple[Path, list[EpochRow]]) -> None:
    (trace,) = (resumed[0] / TENSORBOARD_FOLDER).rglob("*.xplane.pb")
    assert trace.stat().st_size > 0
    (told,) = (event for event in read_events(resumed[0]) if event.kind == "profile")
    assert told.facts["text"] == "calls traced: 3, in epoch 4"


def test_nothing_is_left_to_do_at_the_end(resumed: tuple[Path, list[EpochRow]]) -> None:
    progress = read_progress(resumed[0])
    assert progress is not None
    assert (progress.phase, progress.seconds_left) == ("done", 0)


def test_events_are_kept_over_restarts(resumed: tuple[Path, list[EpochRow]]) -> None:
    found = [(event.kind, event.epoch) for event in read_events(resumed[0]) if event.kind != "profile"]
    assert found == [("start", 0), ("resume", 2)]
    assert all(json.loads(line)["time"].endswith("Z") for line in (resumed[0] / EVENTS_NAME).read_text().splitlines())


def test_the_best_dice_of_before_is_known_after_a_restart(tmp_path: Path) -> None:
    rows = [make_row(epoch, val_dice=dice) for epoch, dice in enumerate((0.5, math.nan, 0.3), 1)]
    monitor = FolderMonitor(tmp_path, EPOCHS, 0)
    monitor.started(StubEngine(), MemoryFeed(make_images(range(1))), rows, midway=False)  # type: ignore[arg-type]
    progress = read_progress(tmp_path)
    assert progress is not None
    assert (progress.phase, progress.epochs_done, progress.epoch) == ("compiling", 3, 4)
    assert (progress.val_dice, progress.best_val_dice) == (0.3, 0.5)


def test_an_epoch_that_was_not_shown_before_a_kill_is_shown_after_it(tmp_path: Path) -> None:
    rows = [make_row(epoch) for epoch in range(1, EPOCHS + 1)]
    show(tmp_path, range(1, 2), rows[:1], StubEngine())
    show(tmp_path, range(3, EPOCHS + 1), rows, StubEngine())
    assert read_history(tmp_path) == rows
    events = EventAccumulator(str(tmp_path / TENSORBOARD_FOLDER), size_guidance={"tensors": 0}).Reload()
    assert [step for step, _ in series(events, scalar_tag("val_dice"))] == [1, 2, 3, 4, 5]
    assert [step for step, _ in series(events, PICTURES_TAG)] == [2, 4, 5]


def test_a_run_that_goes_on_midway_shows_nothing_of_before(tmp_path: Path) -> None:
    """Its weights are not those of the last epoch."""
    monitor, val = FolderMonitor(tmp_path, EPOCHS, PICTURE_EVERY), MemoryFeed(make_images(range(1)))
    monitor.started(StubEngine(), val, [make_row(1), make_row(2)], midway=True)  # type: ignore[arg-type]
    assert not (tmp_path / "pictures").exists()
    assert not (tmp_path / "history.csv").exists()


def test_a_run_that_goes_on_in_its_first_epoch_resumes(tmp_path: Path) -> None:
    monitor, val = FolderMonitor(tmp_path, EPOCHS, PICTURE_EVERY), MemoryFeed(make_images(range(1)))
    monitor.started(StubEngine(), val, [], midway=True)  # type: ignore[arg-type]
    assert [event.kind for event in read_events(tmp_path)] == ["resume"]


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
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    monitor = FolderMonitor(tmp_path, epochs=7, picture_every=0)
    notes: list[RunProgress | None] = []
    for step in (1, 2, 3, 4):
        monitor.steps_done(2, step, 4, COUNTS)
        now += 0.6
        notes.append(read_progress(tmp_path))
    assert [note and (note.step, note.phase) for note in notes] == [
        (1, "training"),
        (1, "training"),
        (3, "training"),
        (4, "validating"),
    ]
    assert notes[0] is not None
    assert (notes[0].epoch, notes[0].steps, notes[0].loss) == (2, 4, pytest.approx(0.6))
    assert notes[0].dice == pytest.approx(2 * 2 / (4 + 6))


def test_phases_are_noted_at_once_and_json_has_no_nan(tmp_path: Path) -> None:
    monitor = FolderMonitor(tmp_path, epochs=7, picture_every=0)
    monitor.phase("loading images")
    assert read_progress(tmp_path).phase == "loading images"  # type: ignore[union-attr]
    monitor.steps_done(1, 1, 4, tf.constant([[[math.nan, 0, 0, 0]]]))
    text = (tmp_path / PROGRESS_NAME).read_text()
    assert json.loads(text, parse_constant=pytest.fail)["loss"] is None


def test_what_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monitor = FolderMonitor(tmp_path, EPOCHS, picture_every=0)
    monkeypatch.setattr(module, "write_progress", refuse)
    monkeypatch.setattr(module, "write_history", refuse)
    for epoch in (1, 2):
        monitor.steps_done(epoch, 1, 1, COUNTS)
        rows = [make_row(done) for done in range(1, epoch + 1)]
        monitor.epoch_done(rows, StubEngine(), MemoryFeed(make_images(range(1))))  # type: ignore[arg-type]
    monitor.close()
    assert [record.message.split()[3] for record in caplog.records if record.levelname == "WARNING"] == [
        "unwritten=progress",
        "unwritten=history",
    ]


def test_events_reach_a_store_that_cannot_append() -> None:
    """The writer's files lie aside and are copied, a start's beside those of the one before."""
    folder = UPath("memory://monitor/run")
    show(folder, range(1, 3), [make_row(1), make_row(2)], StubEngine())
    show(folder, range(3, 4), [make_row(epoch) for epoch in (1, 2, 3)], StubEngine())
    files = [path for path in folder.rglob("*") if "tfevents" in path.name]
    assert len(files) == 2
    assert [event.kind for event in read_events(folder)] == ["start", "resume"]


def test_epochs_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="lvseg"):
        show(tmp_path / "one", range(1, 2), [make_row(1, loss=0.04214, learning_rate=8.7e-4)], StubEngine())
    started, epoch = (record.message for record in caplog.records if record.name == "lvseg")
    assert started == "lvseg event run=one kind=start epoch=0 model=fc workers=1"
    assert epoch.startswith("lvseg epoch run=one epoch=1/5 loss=0.04214 dice=1.03 ")
    assert " lr=0.00087 " in epoch


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
