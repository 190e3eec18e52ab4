import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from lvseg.config import PreprocessConfig, TrainConfig
from lvseg.errors import RunError
from lvseg.models import build_model
from lvseg.run_folder import ORIGIN_NAME, WEIGHTS_NAME, Run, finish_run, open_run
from lvseg.store import file_sha256
from lvseg.training.load import load_model
from lvseg.training.state import CHECKPOINT_WEIGHTS, Outcome, RunState
from tests.discs import write_records

SIZE = 16


def make_run(root: Path, config: TrainConfig, seed: int = 0) -> Run:
    """A finished run with start values as its weights, without a training."""
    manifest = write_records(
        root / "records", train=2, val=1, size=SIZE, preprocessing=PreprocessConfig(normalise="zscore")
    )
    run = Run(folder=root / "runs/one", config=config, records=root / "records", manifest=manifest)
    open_run(run)
    keras.utils.set_random_seed(seed)
    (root / "best").mkdir()
    build_model(config, (SIZE, SIZE)).save_weights(root / "best" / CHECKPOINT_WEIGHTS)
    finish_run(run, Outcome(state=RunState(epoch=1, parameters=1)), root / "best")
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path, TrainConfig(model="fc", precision="float32"))


def test_the_model_and_what_it_needs_come_back(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    loaded = load_model(run.folder)
    assert (loaded.shape, loaded.config) == ((SIZE, SIZE), run.config)
    assert loaded.origin.preprocessing == PreprocessConfig(normalise="zscore")
    assert loaded.result is not None
    assert loaded.weights_sha256 == loaded.result.weights_sha256 == file_sha256(run.folder / WEIGHTS_NAME)
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).normal(size=(3, SIZE, SIZE)).astype(np.float32)
    standard = (images - images.mean((1, 2), keepdims=True)) / images.std((1, 2), keepdims=True)
    logits = build_model(run.config, (SIZE, SIZE))(standard[..., None]).numpy()
    np.testing.assert_array_equal(loaded.predict(images), logits.argmax(-1))
    assert caplog.text == ""


def test_of_deep_supervision_the_full_size_is_left(tmp_path: Path) -> None:
    run = make_run(tmp_path, TrainConfig(model="unet-light", unet_width=4, deep_supervision=True, precision="float32"))
    assert load_model(run.folder).model.output.shape == (None, SIZE, SIZE, 2)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def change_a_number(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["layers/dense/vars/1"][0] = 7


def exchange(path: Path) -> None:
    """Another model's file, whole."""
    build_model(TrainConfig(model="fcn"), (SIZE, SIZE)).save_weights(path)


@pytest.mark.parametrize("damage", [cut, empty, change_a_number, exchange])
def test_other_weights_than_were_written_are_refused(run: Run, damage: Callable[[Path], None]) -> None:
    path = run.folder / WEIGHTS_NAME
    damage(path)
    with pytest.raises(RunError, match="damaged or changed since it was written: sha-256 is") as caught:
        load_model(run.folder)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_missing_weights_are_named(run: Run) -> None:
    (run.folder / WEIGHTS_NAME).unlink()
    with pytest.raises(RunError, match=rf"has no {WEIGHTS_NAME}"):
        load_model(run.folder)


def forget_hash(run: Run) -> None:
    """As a run of an earlier version."""
    path = run.folder / "result.json"
    content = json.loads(path.read_text())
    del content["weights_sha256"]
    path.write_text(json.dumps(content))


def test_a_run_without_a_hash_loads_with_a_word(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    forget_hash(run)
    assert load_model(run.folder).weights_sha256 == file_sha256(run.folder / WEIGHTS_NAME)
    assert "no hash of it in result.json, so that it is loaded unchecked" in caplog.text


def test_wrong_shapes_are_named_with_what_was_expected(run: Run) -> None:
    forget_hash(run)
    expected = r"not weights of this fc: found 1 of 256x64, .*, expected 1 of 1024x64"
    with pytest.raises(RunError, match=expected):
        load_model(run.folder, (32, 32))


def test_an_earlier_run_s_facts_come_from_its_records(run: Run) -> None:
    path = run.folder / ORIGIN_NAME
    content = json.loads(path.read_text())
    del content["shape"], content["preprocessing"]
    path.write_text(json.dumps(content))
    assert load_model(run.folder).origin.preprocessing == PreprocessConfig(normalise="zscore")
    other = dataclasses.replace(run.manifest, records_sha256="f" * 64)
    (run.records / "manifest.json").write_text(other.to_json())
    with pytest.raises(RunError, match="was trained on other records than those"):
        load_model(run.folder)
    (run.records / "manifest.json").unlink()
    with pytest.raises(RunError, match=r"of an earlier version, .* these are not there"):
        load_model(run.folder)
