from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from lvseg.config import TrainConfig
from lvseg.errors import RunError
from lvseg.training.checkpoint import load_checkpoint, load_weights, save_checkpoint
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


@pytest.mark.parametrize("name", ["training.npz", "state.json", "model.weights.h5"])
def test_a_changed_checkpoint_is_refused(saved: tuple[Path, Engine], tmp_path: Path, name: str) -> None:
    """Another whole checkpoint's file: nothing but the hash tells."""
    for path in saved[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "other").mkdir()
    save_checkpoint(tmp_path / "other", make_engine(seed=5), {"epoch": 9})
    (tmp_path / "other" / name).replace(tmp_path / name)
    with pytest.raises(RunError, match=rf"{name}: damaged or changed .* sha-256 is \w+…, expected \w+…"):
        load_checkpoint(tmp_path, make_engine())


def test_a_checkpoint_without_hashes_loads(saved: tuple[Path, Engine], tmp_path: Path) -> None:
    """As earlier versions wrote them."""
    for path in saved[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "hashes.json").unlink()
    assert load_checkpoint(tmp_path, make_engine())["epoch"] == 3


def test_arrays_with_pickled_objects_are_refused(saved: tuple[Path, Engine], tmp_path: Path) -> None:
    for path in saved[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "hashes.json").unlink()
    np.savez(tmp_path / "training.npz", **{"00000": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(RunError, match="allow_pickle=False"):
        load_checkpoint(tmp_path, make_engine())


@pytest.mark.filterwarnings("ignore::UserWarning:keras")
def test_garbled_weights_raise_nothing_but_our_error(saved: tuple[Path, Engine], tmp_path: Path) -> None:
    """Of 60 files with wrong bytes among the first, where HDF5 keeps its structure; the seed gives every kind."""
    whole, random, model = (saved[0] / "model.weights.h5").read_bytes(), np.random.default_rng(0), make_engine().model
    path, refused = tmp_path / "model.weights.h5", 0
    for _ in range(60):
        content = np.frombuffer(whole, np.uint8).copy()
        content[random.integers(0, 4000, 20)] = random.integers(0, 256, 20)
        path.write_bytes(content.tobytes())
        try:
            load_weights(path, model)
        except RunError:
            refused += 1
    assert refused > 30


def test_arrays_outside_the_file_are_refused(saved: tuple[Path, Engine], tmp_path: Path) -> None:
    path = tmp_path / "model.weights.h5"
    path.write_bytes((saved[0] / path.name).read_bytes())
    with h5py.File(path, "a") as file:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = h5py.ExternalLink(str(saved[0] / path.name), "layers/dense/vars/0")
    with pytest.raises(RunError, match="/layers/dense/vars/0 is a link"):
        load_weights(path, make_engine().model)


def test_a_checkpoint_of_another_model_is_refused(saved: tuple[Path, Engine]) -> None:
    engine = make_engine("unet")
    with pytest.raises(RunError, match="not weights of this unet"):
        load_checkpoint(saved[0], engine)
