import dataclasses
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from lvseg.config import TrainConfig
from lvseg.evaluation import dice
from lvseg.results import CaseCounts
from lvseg.slices import CAVITY, MYOCARDIUM
from lvseg.training.checkpoint import load_checkpoint, load_weights, save_checkpoint
from lvseg.training.context import LocalContext, Shard
from lvseg.training.engine import SCORE_BATCH, Engine
from lvseg.training.feed import Chunk
from lvseg.training.loop import train
from lvseg.training.monitor import Monitor
from lvseg.training.order import epoch_order
from lvseg.training.portion import split_facts
from lvseg.training.shards import open_shard
from lvseg.training.state import CHECKPOINT_WEIGHTS, Outcome
from tests.discs import SIZE, make_images, make_shard, write_records
from tests.training.conftest import Trainer

CONFIG = TrainConfig(model="fc", epochs=4, batch_size=4, learning_rate=2e-3, steps_per_call=3)
TIMINGS = {"seconds", "images_per_second"}


def weights_in(folder: Path) -> list[np.ndarray]:
    engine = Engine(CONFIG, (SIZE, SIZE), tf.distribute.get_strategy())
    load_weights(folder / CHECKPOINT_WEIGHTS, engine.model)
    return engine.model.get_weights()


def without_timings(history: list[dict[str, float]]) -> list[dict[str, float]]:
    left_out = {*TIMINGS, "val_dice_myocardium"}
    return [{key: value for key, value in row.items() if key not in left_out} for row in history]


def test_the_loss_of_eight_images_falls(trainer: Trainer) -> None:
    outcome = trainer(dataclasses.replace(CONFIG, epochs=6))
    losses = [row.loss for row in outcome.state.rows()]
    assert outcome.error is None
    assert losses[-1] < 0.5 * losses[0]
    assert losses[-1] < math.log(2)


def test_a_resumed_run_ends_like_an_unbroken_one(tmp_path: Path) -> None:
    unbroken = Trainer(tmp_path / "unbroken")
    whole = unbroken(CONFIG)
    broken = Trainer(tmp_path / "broken")
    broken(dataclasses.replace(CONFIG, epochs=2))
    rest = broken(CONFIG)
    assert [row["epoch"] for row in broken.context.reports] == [3, 4]
    assert (rest.state.best_epoch, rest.state.best_by_case) == (whole.state.best_epoch, whole.state.best_by_case)
    for got, want in zip(without_timings(rest.state.history), without_timings(whole.state.history), strict=True):
        assert got == pytest.approx(want, rel=1e-6, abs=1e-9)
    with broken.context.latest_checkpoint() as ours, unbroken.context.latest_checkpoint() as theirs:
        pairs = list(zip(weights_in(ours), weights_in(theirs), strict=True))
    for a, b in pairs:
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_run_that_is_done_reads_no_images(trainer: Trainer) -> None:
    config = dataclasses.replace(CONFIG, epochs=1)
    first = trainer(config)
    with trainer.context.latest_checkpoint() as latest:
        saved = json.loads((latest / "state.json").read_text())
    assert saved == dataclasses.asdict(first.state)
    again = trainer(config, shard=None)
    assert trainer.context.reports == []
    assert again.state == first.state
    assert again.state.parameters == first.state.parameters == 32 * 32 * 64 + 64 + 65 * 32 * 32 * 2


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_step(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Engine.train_steps

    def break_one_image(self: Engine, chunk: Chunk, epoch: int, signals: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        found, said = plain(self, chunk, epoch, signals)
        counts = found.numpy()
        counts[chunk.order.rows[: chunk.steps] == 5] = np.nan
        return tf.constant(counts), said

    monkeypatch.setattr(Engine, "train_steps", break_one_image)
    outcome = trainer(dataclasses.replace(CONFIG, batch_size=2, steps_per_call=2))
    step = int(np.argmax((epoch_order(8, 2, 1, 0, CONFIG.seed, 1).rows == 5).any(axis=1)))
    assert outcome.error is not None
    assert outcome.error.startswith(f"loss is not finite at epoch 1, step {step + 1} of 4, images ")
    assert "D-005" in outcome.error
    assert outcome.state.epoch == 0
    assert trainer.context.reports == []


def test_weights_that_are_not_finite_end_the_run(trainer: Trainer) -> None:
    trainer(dataclasses.replace(CONFIG, epochs=1))
    engine = Engine(CONFIG, (SIZE, SIZE), tf.distribute.get_strategy())
    with trainer.context.latest_checkpoint() as folder:
        assert folder is not None
        state = load_checkpoint(folder, engine)
        engine.model.layers[-2].bias.assign(engine.model.layers[-2].bias * np.nan)
        save_checkpoint(folder, engine, state)
    outcome = trainer(CONFIG)
    assert outcome.error is not None
    assert outcome.error.startswith("loss is not finite at epoch 2, step 1 of 2, images ")
    assert [row["epoch"] for row in outcome.state.history] == [1]


def test_scores_are_those_of_the_kept_weights_on_every_image(trainer: Trainer) -> None:
    shard = make_shard(train=6, val=2 * SCORE_BATCH + 3)
    config = dataclasses.replace(CONFIG, epochs=3)
    state = trainer(config, shard).state
    engine = Engine(config, (SIZE, SIZE), tf.distribute.get_strategy())
    load_weights(trainer.context.best_checkpoint / CHECKPOINT_WEIGHTS, engine.model)
    val = make_images(range(6, 6 + 2 * SCORE_BATCH + 3))
    predicted = engine.predict(val.images)
    by_image = np.array([dice(a, b) for a, b in zip(predicted, val.masks, strict=True)])
    row = state.rows()[state.best_epoch - 1]
    assert row.val_dice == max(r.val_dice for r in state.rows()) == state.best_val_dice
    assert row.val_dice == pytest.approx(np.nanmean(by_image), abs=1e-9)
    assert row.val_dice_pooled == pytest.approx(dice(predicted, val.masks), abs=1e-9)
    assert row.val_accuracy == pytest.approx((predicted == val.masks).mean(), abs=1e-9)
    assert state.best_undefined == np.isnan(by_image).sum()
    case = [by_image[index] for index, name in enumerate(val.case_ids) if name == "CASE-2"]
    assert state.best_by_case["CASE-2"] == pytest.approx(np.nanmean(case), abs=1e-9)
    mine = [index for index, name in enumerate(val.case_ids) if name == "CASE-2"]
    ours, theirs = predicted[mine] > 0, val.masks[mine] > 0
    assert state.best_counts()["CASE-2"] == CaseCounts(
        images=np.count_nonzero(~np.isnan(case)),
        intersection=(ours & theirs).sum(),
        predicted=ours.sum(),
        labelled=theirs.sum(),
    )


def test_the_learning_rate_of_an_epoch_is_that_of_its_last_step(trainer: Trainer) -> None:
    config = dataclasses.replace(CONFIG, epochs=2, learning_rate=1e-3, decay_rate=0.5, decay_steps=2)
    rows = trainer(config, make_shard(train=6)).state.rows()
    assert [row.learning_rate for row in rows] == pytest.approx([1e-3 * 0.5**0.5, 1e-3 * 0.5**1.5], rel=1e-6)


def test_the_dice_of_empty_masks_is_nan_and_never_the_best(trainer: Trainer) -> None:
    shard = make_shard(train=4, val=4)
    for feed in (shard.train, shard.val):
        feed.masks = tf.zeros_like(feed.masks)  # type: ignore[attr-defined]
    state = trainer(dataclasses.replace(CONFIG, epochs=3, learning_rate=0.01), shard).state
    assert math.isnan(state.rows()[-1].val_dice)
    assert math.isnan(state.rows()[-1].val_dice_pooled)
    assert state.best_epoch < 3


def test_dead_units_do_not_hide_broken_weights(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relu turns NaN into 0 on CPUs, so the loss can stay finite over a broken hidden layer."""
    plain = Engine.train_steps

    def break_a_weight(self: Engine, chunk: Chunk, epoch: int, signals: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        counts = plain(self, chunk, epoch, signals)
        kernel = self.model.trainable_variables[0]
        kernel.assign(kernel * np.nan)
        return counts

    monkeypatch.setattr(Engine, "train_steps", break_a_weight)
    outcome = trainer(dataclasses.replace(CONFIG, steps_per_call=100))
    assert outcome.error == "weights are not finite after epoch 1"
    assert trainer.context.reports == []


def test_myocardium_is_learnt_and_scored_apart(tmp_path: Path) -> None:
    manifest = write_records(tmp_path / "records", train=8, val=5, structures="endo+myo")
    config = dataclasses.replace(CONFIG, epochs=8)
    context = LocalContext(tmp_path / "checkpoints")
    shard = open_shard("memory", tmp_path / "records", manifest, config, split_facts(tmp_path / "records", manifest))
    outcome = train(config, (SIZE, SIZE), 8, lambda: shard, context, Monitor(), classes=3)
    row = outcome.state.rows()[outcome.state.best_epoch - 1]
    engine = Engine(config, (SIZE, SIZE), tf.distribute.get_strategy(), classes=3)
    assert context.best_checkpoint is not None
    load_weights(context.best_checkpoint / CHECKPOINT_WEIGHTS, engine.model)
    images, masks = shard.val.take(range(5))
    predicted = engine.predict(images)
    for structure, found in ((CAVITY, row.val_dice), (MYOCARDIUM, row.val_dice_myocardium)):
        by_image = [dice(p == structure, m == structure) for p, m in zip(predicted, masks, strict=True)]
        assert found == pytest.approx(np.mean(by_image), abs=1e-9)
        assert found is not None
        assert found > 0.2


def test_without_myocardium_there_is_no_score_of_it(trainer: Trainer) -> None:
    (row,) = trainer(dataclasses.replace(CONFIG, epochs=1)).state.rows()
    assert row.val_dice_myocardium is None


@dataclasses.dataclass
class StopAfter(Monitor):
    """Tells the run to stop after so many calls of the compiled function."""

    context: LocalContext
    calls: int

    def steps_done(self, epoch: int, step: int, steps: int, counts: tf.Tensor) -> None:
        self.calls -= 1
        if self.calls == 0:
            self.context._stop.set()


def stop_and_go_on(folder: Path, config: TrainConfig, calls: int, shard: Shard) -> tuple[Outcome, Outcome]:
    """A run that is told to stop after so many calls, and what the next one makes of it."""
    context = LocalContext(folder)
    first = train(config, (SIZE, SIZE), shard.train_images, lambda: shard, context, StopAfter(context, calls))
    second = train(config, (SIZE, SIZE), shard.train_images, lambda: shard, LocalContext(folder), Monitor())
    return first, second


def assert_same_run(ours: tuple[Path, Outcome], theirs: tuple[Path, Outcome], config: TrainConfig) -> None:
    for got, want in zip(without_timings(ours[1].state.history), without_timings(theirs[1].state.history), strict=True):
        assert got == pytest.approx(want, rel=1e-5, abs=1e-7)
    engines = []
    for folder, _ in (ours, theirs):
        engines.append(Engine(config, (SIZE, SIZE), tf.distribute.get_strategy(), total_steps=1))
        with LocalContext(folder).latest_checkpoint() as latest:
            assert latest is not None
            load_checkpoint(latest, engines[-1])
    for a, b in zip(engines[0].variables, engines[1].variables, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-6)


RICH = dataclasses.replace(
    CONFIG,
    epochs=3,
    batch_size=2,
    steps_per_call=1,
    optimizer="adamw",
    weight_decay=0.05,
    clip_norm=0.5,
    ema=0.8,
    schedule="cosine",
    warmup_steps=3,
    loss="dice+cross-entropy",
    augment_rotation_deg=180,
    augment_flip=True,
    augment_noise=0.2,
)
"""Everything that could hold a state of its own."""


@pytest.mark.slow
@pytest.mark.parametrize(("calls", "epoch", "step"), [(1, 0, 3), (3, 1, 0), (5, 1, 2)])
def test_a_run_that_is_stopped_in_the_middle_of_an_epoch_ends_like_an_unbroken_one(
    tmp_path: Path, calls: int, epoch: int, step: int
) -> None:
    """Said with the next call and heard in the one after it, so that no call waits for the one before."""
    shard = make_shard(train=10)
    whole = Trainer(tmp_path / "whole")(RICH, shard)
    stopped, rest = stop_and_go_on(tmp_path / "broken", RICH, calls, shard)
    assert (stopped.stopped, stopped.error) == (True, None)
    assert (stopped.state.epoch, stopped.state.step) == (epoch, step)
    assert not rest.stopped
    assert_same_run((tmp_path / "broken", rest), (tmp_path / "whole", whole), RICH)


def test_the_average_of_the_weights_is_scored_and_kept(trainer: Trainer) -> None:
    config = dataclasses.replace(CONFIG, ema=0.9, epochs=2)
    outcome = trainer(config)
    engine = Engine(config, (SIZE, SIZE), tf.distribute.get_strategy())
    with trainer.context.latest_checkpoint() as latest:
        assert latest is not None
        load_checkpoint(latest, engine)
        own = engine.model.get_weights()
        load_weights(latest / CHECKPOINT_WEIGHTS, engine.model)
    assert engine.average is not None
    for kept, average in zip(engine.model.get_weights(), engine.average.variables, strict=True):
        np.testing.assert_array_equal(kept, average.numpy())
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(own, engine.model.get_weights(), strict=True))
    val = make_images(range(8, 12))
    by_image = [dice(a, b) for a, b in zip(engine.predict(val.images), val.masks, strict=True)]
    assert outcome.state.rows()[-1].val_dice == pytest.approx(np.nanmean(by_image), abs=1e-9)


def test_a_run_without_a_better_score_ends_early(trainer: Trainer) -> None:
    config = dataclasses.replace(CONFIG, epochs=50, learning_rate=1e-9, early_stopping=3)
    state = trainer(config).state
    assert state.epoch == state.best_epoch + 3 == len(state.history)
    again = trainer(config)
    assert trainer.context.reports == []
    assert again.state.epoch == state.epoch


class BreaksOnce:
    """One call of the compiled function spoils the weights."""

    def __init__(self, plain: Callable[..., Any], call: int, times: int = 1) -> None:
        self.plain, self.call, self.times, self.calls = plain, call, times, 0

    def __call__(self, engine: Engine, chunk: Chunk, epoch: int, signals: np.ndarray) -> Any:
        self.calls += 1
        if self.call <= self.calls < self.call + self.times:
            bias = engine.model.layers[-2].bias
            bias.assign(bias * np.nan)
        return self.plain(engine, chunk, epoch, signals)


def breaking(monkeypatch: pytest.MonkeyPatch, call: int, times: int = 1) -> None:
    breaks = BreaksOnce(Engine.train_steps, call, times)
    monkeypatch.setattr(Engine, "train_steps", lambda *args: breaks(*args))


class Notes(Monitor):
    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []

    def note(self, kind: str, text: str) -> None:
        self.notes.append((kind, text))


def test_a_rollback_goes_back_an_epoch_and_halves_the_rate(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(CONFIG, batch_size=2, steps_per_call=2, on_nan="rollback", schedule="constant")
    breaking(monkeypatch, call=6)  # four of one step, then two of two
    notes = Notes()
    outcome = trainer(config, monitor=notes)
    assert outcome.error is None
    assert outcome.state.rollbacks == 1
    assert [row.epoch for row in outcome.state.rows()] == [1, 2, 3, 4]
    assert [row.learning_rate for row in outcome.state.rows()] == pytest.approx([2e-3, 1e-3, 1e-3, 1e-3])
    assert all(math.isfinite(row.loss) for row in outcome.state.rows())
    kind, text = notes.notes[0]
    assert kind == "rollback"
    assert re.match(r"loss is not finite at epoch 2, step 3 of 4, images D-\d+, D-\d+; back to epoch 1", text)


def test_rollbacks_end(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(monkeypatch, call=2, times=1000)
    outcome = trainer(dataclasses.replace(CONFIG, on_nan="rollback", batch_size=8))
    assert outcome.error is not None
    assert outcome.error.startswith("loss is not finite at epoch 2, step 1 of 1, images ")
    assert outcome.error.endswith(" after 5 rollbacks")
    assert outcome.state.epoch == 1


def test_a_broken_loss_ends_the_epoch_soon(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other steps of a long epoch are not made."""
    breaks = BreaksOnce(Engine.train_steps, call=1)
    monkeypatch.setattr(Engine, "train_steps", lambda *args: breaks(*args))
    outcome = trainer(dataclasses.replace(CONFIG, batch_size=1, steps_per_call=1), make_shard(train=12))
    assert outcome.error is not None
    assert outcome.error.startswith("loss is not finite at epoch 1, step 1 of 12, images D-")
    assert breaks.calls == 2
