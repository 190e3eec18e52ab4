from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from lvseg.config import TrainConfig
from lvseg.errors import RunError
from lvseg.training.checkpoint import load_checkpoint, save_checkpoint
from lvseg.training.engine import Engine


def make_engine(model: str = "fc", seed: int = 0) -> Engine:
    return Engine(TrainConfig(model=model, seed=seed), (16, 16), tf.distribute.get_strategy())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Engine]:
    folder, engine = tmp_path_factory.mktemp("checkpoint"), make_engine()
    gradients = [tf.ones_like(variable) for variable in engine.model.trainable_variables]
    engine.optimizer.apply(gradients, engine.model.trainable_variables)
    save_checkpoint(folder, engine, {"epoch": 3, "best_val_dice": float("nan")})
    return folder, engine


def test_weights_optimizer_and_state_come_back(saved: tuple[Path, Engine]) -> None:
    folder, engine = saved
    other = make_engine(seed=9)
    state = load_checkpoint(folder, other)
    assert state["epoch"] == 3
    assert np.isnan(state["best_val_dice"])
    assert int(other.optimizer.iterations) == 1
    pairs = [(engine.model.weights, other.model.weights), (engine.optimizer.variables, other.optimizer.variables)]
    for ours, theirs in pairs:
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garble(path: Path) -> None:
    path.write_bytes(b"garbled" * 100)


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [cut, empty, garble, remove])
@pytest.mark.parametrize("name", ["training.npz", "state.json", "model.weights.h5"])
def test_a_damaged_checkpoint_is_named(
    saved: tuple[Path, Engine], tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    for path in saved[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    damage(tmp_path / name)
    engine = make_engine()
    with pytest.raises(RunError) as caught:
        load_checkpoint(tmp_path, engine)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_a_checkpoint_of_another_model_is_refused(saved: tuple[Path, Engine]) -> None:
    engine = make_engine("unet")
    with pytest.raises(RunError, match="not weights of this unet"):
        load_checkpoint(saved[0], engine)
