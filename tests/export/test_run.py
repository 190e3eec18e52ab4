"""Exported files, read as others read them, against lvseg's own preprocessing and network."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from upath import UPath

from lvseg import cli
from lvseg.config import Norm, PreprocessConfig, TrainConfig
from lvseg.errors import ConfigError, LvsegError, RunError
from lvseg.export import formats
from lvseg.export.run import export_run
from lvseg.preprocess import preprocess
from lvseg.slices import Place, Slice
from lvseg.store import file_sha256
from lvseg.training.load import load_model
from tests.export.finished import make_run

TOLERANCE = 1e-5
"""Of a probability: float32 rounding, the sums in another order."""

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
FC = TrainConfig(model="fc", precision="float32")


def own_way(run: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """As an image goes through conversion and network."""
    loaded = load_model(run, precision="float32")
    assert loaded.origin.preprocessing is not None
    shape = images.shape[1:3]
    slices = [Slice(name="", case_id="", image=each, mask=np.zeros(shape, np.uint8), place=Place()) for each in images]
    stored = np.stack([preprocess(each, loaded.origin.preprocessing, None, "endo", None).image for each in slices])
    stored = stored.astype(np.float64)
    mean, variance = stored.mean((1, 2), keepdims=True), stored.var((1, 2), keepdims=True)
    standard = (stored - mean) / np.sqrt(variance + 1e-6)
    powers = np.exp(loaded.model(standard[..., None].astype(np.float32)).numpy())
    return powers / powers.sum(-1, keepdims=True)  # type: ignore[no-any-return]


def readers(folder: Path) -> dict[str, Predict]:
    """Nothing of lvseg's: (n, rows, columns) → (n, rows, columns, classes)."""
    model = keras.models.load_model(folder / "model.keras", safe_mode=True)
    signature = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    return {
        "keras": lambda images: model.predict(images[..., None], verbose=0),
        "savedmodel": lambda images: signature(image=tf.constant(images[..., None]))["probabilities"].numpy(),
        "onnx": lambda images: session.run(["probabilities"], {"image": images[..., None]})[0],
    }


def grey_values(count: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    random = np.random.default_rng(count)
    images = random.normal(300, 80, (count, *shape)).round().clip(0).astype(np.float32)
    images[:, : shape[0] // 2] += 400
    return images


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "settings", "preprocessing", "shapes"),
    [
        ("fc", {}, PreprocessConfig(normalise="percentile"), [(32, 32)]),
        ("fcn", {"precision": "bfloat16"}, PreprocessConfig(normalise="zscore"), [(32, 32)]),
        (
            "unet",
            {"unet_width": 4, "norm": "group", "unet_attention": True, "unet_residual": True},
            PreprocessConfig(crop="centre", crop_size=32, normalise="percentile"),
            [(32, 32), (41, 25)],
        ),
        ("unet-light", {"unet_width": 4, "deep_supervision": True}, PreprocessConfig(), [(32, 32)]),
    ],
)
def test_every_format_predicts_what_the_run_predicts(
    tmp_path: Path,
    model: str,
    settings: dict[str, int | bool | Norm],
    preprocessing: PreprocessConfig,
    shapes: list[tuple[int, int]],
) -> None:
    structures = "endo+myo" if model == "unet-light" else "endo"
    config = TrainConfig(model=model, **{"precision": "float32", **settings})  # type: ignore[arg-type]
    run = make_run(tmp_path, config, preprocessing, structures=structures).folder
    out = tmp_path / "export"
    card = export_run(run, ["keras", "savedmodel", "onnx"], out)
    assert [file.format for file in card.files] == ["keras", "savedmodel", "onnx"]
    loaded = readers(out)
    for shape in shapes:
        for count in (1, 5):
            images = grey_values(count, shape)
            expected = own_way(run, images)
            assert expected.std(axis=(1, 2)).min() > 1e-3, "a constant would prove nothing"
            for name, predict in loaded.items():
                np.testing.assert_allclose(predict(images), expected, atol=TOLERANCE, rtol=0, err_msg=name)
    dimensions = onnxruntime.InferenceSession(out / "model.onnx").get_inputs()[0].shape
    assert dimensions == ["batch", *(("rows", "columns") if preprocessing.crop == "centre" else (32, 32)), 1]


def test_a_keras_file_asks_for_no_code_of_lvseg(tmp_path: Path) -> None:
    run = make_run(tmp_path, FC, PreprocessConfig(crop="centre", crop_size=16, normalise="percentile"), size=16)
    out = tmp_path / "export"
    export_run(run.folder, ["keras"], out)
    config = json.loads(zipfile.ZipFile(out / "model.keras").read("config.json"))

    def modules(value: object) -> set[str]:
        if isinstance(value, dict):
            own = {str(value[key]) for key in ("module", "registered_name") if value.get(key)}
            return own.union(*map(modules, value.values()))
        return set().union(*map(modules, value)) if isinstance(value, list) else set()

    found = modules(config)
    assert "keras" in found
    assert not [name for name in found if "lvseg" in name or "Lambda" in name or name == "builtins"]


def test_what_lies_beside_the_models(tmp_path: Path) -> None:
    run = make_run(tmp_path, FC, PreprocessConfig(spacing_mm=1.4, crop="heart", crop_size=16), size=16)
    out = tmp_path / "export"
    card = export_run(run.folder, ["keras"], out)
    assert sorted(path.name for path in out.iterdir()) == [
        "MODEL_CARD.md",
        "model.keras",
        "model_card.json",
        "preprocessing.json",
    ]
    interface = json.loads((out / "preprocessing.json").read_text())
    assert interface["input"]["shape"] == ["batch", 16, 16, 1]
    assert [(step["step"], step.get("spacing_mm"), step.get("rows")) for step in interface["before_the_graph"]] == [
        ("resample", 1.4, None),
        ("crop", None, 16),
    ]
    assert [step["step"] for step in interface["in_the_graph"]] == ["standardise", "network", "softmax"]
    assert interface["settings"]["crop"] == "heart"
    (file,) = card.files
    assert file.sha256 == {"model.keras": file_sha256(out / "model.keras")}
    assert json.loads((out / "model_card.json").read_text())["files"][0]["sha256"] == file.sha256


def test_an_export_is_replaced_only_when_told(tmp_path: Path) -> None:
    run, out = make_run(tmp_path, FC, size=16).folder, tmp_path / "export"
    export_run(run, ["keras"], out)
    (out / "model.onnx").write_text("of another time")
    with pytest.raises(RunError, match="holds an export; choose another folder, or --overwrite"):
        export_run(run, ["keras"], out)
    export_run(run, ["keras"], out, overwrite=True)
    assert not (out / "model.onnx").exists()
    (out / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match=r"holds thesis\.txt, which is no part of an export"):
        export_run(run, ["keras"], out, overwrite=True)


def test_an_object_store_gets_the_same_files(tmp_path: Path) -> None:
    run, out = make_run(tmp_path, FC, size=16).folder, UPath("memory://exports/one")
    card = export_run(run, ["savedmodel"], out)
    for path, sha256 in card.files[0].sha256.items():
        assert file_sha256(out.joinpath(*path.split("/"))) == sha256
    assert json.loads((out / "model_card.json").read_text())["name"] == "one"


def test_a_file_that_predicts_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, out = make_run(tmp_path, FC, size=16).folder, tmp_path / "export"
    honest = formats.FORMATS["keras"]

    def load(path: Path) -> Predict:
        predict = honest.load(path)
        return lambda images: predict(images) + np.float32(2e-4)

    monkeypatch.setitem(formats.FORMATS, "keras", replace(honest, load=load))
    with pytest.raises(LvsegError, match=r"model\.keras: probabilities differ from the run's own by 2\.0e-04"):
        export_run(run, ["keras"], out)
    assert not out.exists()


def test_packages_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "tf2onnx" else object())
    with pytest.raises(ConfigError, match=r"export to onnx needs tf2onnx, not installed: pip install 'lvseg\[onnx\]'"):
        export_run(tmp_path / "run", ["onnx"], tmp_path / "export")


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path, FC, size=16).folder
    assert cli.main(["export", str(run), "--to", "keras"]) == 0
    assert "largest difference" in capsys.readouterr().out
    assert (run / "export/model_card.json").is_file()
    assert cli.main(["export", str(run), "--to", "keras"]) == 1
    assert "--overwrite" in capsys.readouterr().err
