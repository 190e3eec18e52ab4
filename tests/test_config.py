import dataclasses
import re
from pathlib import Path

import pytest

from lvseg.config import (
    EXECUTION_FIELDS,
    ConvertConfig,
    PreprocessConfig,
    TrainConfig,
    TuneConfig,
    from_mapping,
    read_yaml,
)
from lvseg.errors import ConfigError

OUT_OF_RANGE = [
    (ConvertConfig, "val_fraction", 0, "greater than 0"),
    (ConvertConfig, "val_fraction", 1, "less than 1"),
    (ConvertConfig, "val_fraction", float("nan"), "than"),
    (ConvertConfig, "seed", -1, "greater than or equal to 0"),
    (ConvertConfig, "shard_images", 0, "greater than or equal to 1"),
    (ConvertConfig, "shard_images", 65537, "less than or equal to 65536"),
    (ConvertConfig, "source", "nifti", "'pairs', 'course' or 'segmentation'"),
    (ConvertConfig, "format", "hdf5", "'parquet', 'tfrecord' or 'course-tfrecord'"),
    (ConvertConfig, "structures", "rv", "'endo' or 'endo+myo'"),
    (ConvertConfig, "cavity_value", 0, "greater than or equal to 1"),
    (ConvertConfig, "myocardium_value", 65536, "less than or equal to 65535"),
    (ConvertConfig, "folds", 1, "greater than or equal to 2"),
    (ConvertConfig, "quarantine", "maybe", "valid boolean"),
    (ConvertConfig, "strict", "maybe", "valid boolean"),
    (ConvertConfig, "spacing_mm", 0, "greater than 0"),
    (ConvertConfig, "crop", "left", "'none', 'centre' or 'heart'"),
    (ConvertConfig, "crop_size", 8, "greater than or equal to 16"),
    (ConvertConfig, "normalise", "minmax", "'none', 'percentile' or 'zscore'"),
    (ConvertConfig, "labels", "given", "'centre' or 'course'"),
    (ConvertConfig, "split", "random", "'official', 'kfold' or 'file'"),
    (TrainConfig, "model", "resnet", "fc, fcn, unet"),
    (TrainConfig, "epochs", 0, "greater than or equal to 1"),
    (TrainConfig, "epochs", 100_001, "less than or equal to 100000"),
    (TrainConfig, "epochs", 2.5, "valid integer"),
    (TrainConfig, "batch_size", 0, "greater than or equal to 1"),
    (TrainConfig, "batch_size", 65_537, "less than or equal to 65536"),
    (TrainConfig, "learning_rate", 0, "greater than 0"),
    (TrainConfig, "learning_rate", 10.5, "less than or equal to 10"),
    (TrainConfig, "learning_rate", float("nan"), "than"),
    (TrainConfig, "learning_rate", "fast", "valid number"),
    (TrainConfig, "decay_rate", 0, "greater than 0"),
    (TrainConfig, "decay_rate", 1.01, "less than or equal to 1"),
    (TrainConfig, "decay_steps", 0, "greater than or equal to 1"),
    (TrainConfig, "staircase", "maybe", "valid boolean"),
    (TrainConfig, "precision", "float8", "'auto', 'float32', 'bfloat16' or 'float16'"),
    (TrainConfig, "seed", -1, "greater than or equal to 0"),
    (TrainConfig, "seed", 2**31, "less than 2147483648"),
    (TrainConfig, "workers", -1, "greater than or equal to 0"),
    (TrainConfig, "workers", 4097, "less than or equal to 4096"),
    (TrainConfig, "cpus_per_worker", 0, "greater than or equal to 1"),
    (TrainConfig, "steps_per_call", 0, "greater than or equal to 1"),
    (TrainConfig, "picture_every", -1, "greater than or equal to 0"),
    (TrainConfig, "max_failures", -1, "greater than or equal to 0"),
    (TrainConfig, "fold", -1, "greater than or equal to 0"),
    (TrainConfig, "folds", 1, "greater than or equal to 2"),
    (TrainConfig, "unet_width", 2, "greater than or equal to 4"),
    (TrainConfig, "unet_depth", 5, "less than or equal to 4"),
    (TrainConfig, "unet_stem", 3, "1, 2 or 4"),
    (TrainConfig, "norm", "batch", "'none', 'group' or 'instance'"),
    (TrainConfig, "accumulate", 0, "greater than or equal to 1"),
    (TrainConfig, "loss", "hinge", "'cross-entropy', 'dice', 'dice+cross-entropy', 'focal-tversky' or 'boundary'"),
    (TrainConfig, "optimizer", "lion", "'adam', 'adamw' or 'sgd'"),
    (TrainConfig, "momentum", 1.0, "less than 1"),
    (TrainConfig, "weight_decay", -0.1, "greater than or equal to 0"),
    (TrainConfig, "clip_norm", 0.0, "greater than 0"),
    (TrainConfig, "ema", 1.0, "less than 1"),
    (TrainConfig, "schedule", "linear", "'constant', 'exponential', 'cosine', 'polynomial' or 'one-cycle'"),
    (TrainConfig, "warmup_steps", -1, "greater than or equal to 0"),
    (TrainConfig, "final_rate", 1.5, "less than or equal to 1"),
    (TrainConfig, "decay_power", 0.0, "greater than 0"),
    (TrainConfig, "early_stopping", 0, "greater than or equal to 1"),
    (TrainConfig, "on_nan", "ignore", "'stop' or 'rollback'"),
    (TrainConfig, "min_workers", 0, "greater than or equal to 1"),
    (TrainConfig, "collective_timeout_s", 0, "greater than or equal to 1"),
    (TrainConfig, "gpus_per_worker", 0, "greater than or equal to 1"),
    (TrainConfig, "placement", "near", "'pack', 'spread', 'strict-pack' or 'strict-spread'"),
    (TrainConfig, "augment_rotation_deg", 181.0, "less than or equal to 180"),
    (TrainConfig, "augment_scale", 1.0, "less than or equal to 0.9"),
    (TrainConfig, "augment_shift", 0.6, "less than or equal to 0.5"),
    (TrainConfig, "augment_elastic_px", -1.0, "greater than or equal to 0"),
    (TrainConfig, "augment_gamma", 3.0, "less than or equal to 2"),
    (TrainConfig, "augment_brightness", 3.0, "less than or equal to 2"),
    (TrainConfig, "augment_shading", 1.5, "less than or equal to 1"),
    (TrainConfig, "augment_noise", 3.0, "less than or equal to 2"),
    (TrainConfig, "augment_blur_px", 9.0, "less than or equal to 8"),
    (TrainConfig, "augment_chance", 0.0, "greater than 0"),
    (TrainConfig, "ingest", "ram", "'auto', 'memory', 'disk' or 'stream'"),
    (TuneConfig, "trials", 0, "greater than or equal to 1"),
    (TuneConfig, "concurrency", 0, "greater than or equal to 1"),
    (TuneConfig, "search_seed", 2**31, "less than 2147483648"),
    (TuneConfig, "search", "bayes", "'random', 'grid' or 'tpe'"),
    (TuneConfig, "scheduler", "hyperband", "'none', 'asha', 'median' or 'pbt'"),
    (TuneConfig, "rung_epochs", 0, "greater than or equal to 1"),
    (TuneConfig, "reduction_factor", 1, "greater than or equal to 2"),
    (TuneConfig, "warm_start", -1, "greater than or equal to 0"),
    (TuneConfig, "gpus_per_trial", 1.5, "less than or equal to 1"),
    (TuneConfig, "gpus_per_trial", 0.3, "must be 1 / n or 1"),
    (TuneConfig, "max_hours", 0.0, "greater than 0"),
    (TuneConfig, "target_dice", 1.1, "less than or equal to 1"),
    (TuneConfig, "trial_timeout_s", 0, "greater than or equal to 1"),
]


@pytest.mark.parametrize(("cls", "field", "value", "allowed"), OUT_OF_RANGE)
def test_a_wrong_value_is_refused_with_field_value_and_range(
    cls: type, field: str, value: object, allowed: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        cls(**{field: value})
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(field)
    assert allowed in message
    assert message.endswith(f"got {value!r}")


UNBOUNDED = {
    "mlflow",
    "node_label",
    *("gpu", "split_file", "xla", "profile", "augment_flip"),
    *("unet_residual", "unet_attention", "deep_supervision", "class_weights"),
}


@pytest.mark.parametrize("cls", [ConvertConfig, TrainConfig, TuneConfig])
def test_every_setting_with_a_range_or_choices_is_in_the_table_above(cls: type) -> None:
    tested = {field for owner, field, *_ in OUT_OF_RANGE if owner is cls}
    assert {field.name for field in dataclasses.fields(cls)} - tested <= UNBOUNDED


@pytest.mark.parametrize("cls", [ConvertConfig, TrainConfig, TuneConfig])
def test_an_unknown_setting_lists_the_known_ones(cls: type) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(cls, {"learning-rat": 1})
    assert "unknown setting learning_rat; known: " in str(caught.value)
    assert all(field.name in str(caught.value) for field in dataclasses.fields(cls))


def test_several_faults_are_told_at_once_on_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^epochs must .*got 0; decay_rate must .*got 2$"):
        TrainConfig(epochs=0, decay_rate=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 3, "workers": 4}, "workers must be at most batch_size, got 4 and 3"),
        ({"node_label": ("zone=a", "zone")}, "node_label must be key=value, got 'zone'"),
        ({"workers": 2, "min_workers": 3}, "min_workers must be at most workers, got 3 and 2"),
        (
            {"workers": 2, "min_workers": 1, "placement": "strict-spread"},
            "min_workers needs placement pack or spread, got strict-spread: Ray counts cores and GPUs that are left, "
            "not nodes, and would wait for places that cannot be",
        ),
        ({"workers": 0, "gpu": True}, "gpu needs at least one worker, got workers 0"),
        ({"model": "fcn", "norm": "group"}, "norm is for the models unet and unet-light, got model 'fcn'"),
        ({"model": "fc", "unet_width": 16}, "unet_width is for the models unet and unet-light, got model 'fc'"),
        ({"class_weights": (1.0, 0.0)}, "class_weights.1 must be greater than 0, got 0.0"),
    ],
)
def test_training_settings_that_belong_together(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        from_mapping(TrainConfig, settings)


def test_a_batch_need_not_be_shared_out_evenly() -> None:
    assert TrainConfig(batch_size=30, workers=4).workers == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": "centre"}, "crop and crop_size belong together, got 'centre' and None"),
        ({"crop_size": 96}, "crop and crop_size belong together, got 'none' and 96"),
        ({"split": "file"}, "split 'file' and split_file belong together, got 'file' and None"),
        ({"split_file": "a.csv"}, "split 'file' and split_file belong together, got 'patient' and a.csv"),
        ({"format": "course-tfrecord", "split": "kfold"}, "format course-tfrecord has no folds"),
    ],
)
def test_settings_that_belong_together(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        from_mapping(ConvertConfig, settings)


def test_the_preprocessing_is_a_part_of_the_conversion() -> None:
    config = ConvertConfig(spacing_mm=1.4, crop="centre", crop_size=128, split="image")
    assert config.preprocessing() == PreprocessConfig(spacing_mm=1.4, crop="centre", crop_size=128)


def test_replace_validates_too() -> None:
    with pytest.raises(ConfigError, match="epochs must be"):
        dataclasses.replace(TrainConfig(), epochs=0)


def test_a_config_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().epochs = 3  # type: ignore[misc]


def test_identity_leaves_out_what_only_says_where_it_runs() -> None:
    here = TrainConfig(batch_size=4, workers=1)
    there = TrainConfig(batch_size=4, workers=4, gpu=True, cpus_per_worker=2, steps_per_call=1, max_failures=0)
    assert here.identity() == there.identity()
    assert here.identity() != dataclasses.replace(here, learning_rate=0.5).identity()
    assert {field.name for field in dataclasses.fields(TrainConfig)} >= EXECUTION_FIELDS


@pytest.mark.parametrize("text", ["batch-size: 8\nlearning-rate: 1e-3\n", "batch_size: 8\nlearning_rate: 0.001\n"])
def test_yaml_keys_have_dashes_or_underscores(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    assert from_mapping(TrainConfig, read_yaml(path)) == TrainConfig(batch_size=8, learning_rate=1e-3)


def test_an_empty_yaml_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert read_yaml(path) == {}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"- 1\n- 2\n", "expected a mapping of settings to values, found list"),
        (b"3: 4\n", "expected a mapping of settings to values"),
        (b"a: [1\n", "not a YAML file"),
        (b"\xff\xfe\x00a", "not a YAML file"),
    ],
)
def test_a_file_that_holds_no_settings_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}: {fault}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml")
