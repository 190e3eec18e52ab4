import argparse
import dataclasses
import hashlib
import json
import math
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvseg import cli
from lvseg.config import TrainConfig, from_mapping, read_yaml
from lvseg.errors import RunError
from lvseg.ledger import read
from lvseg.records import Manifest
from lvseg.results import RESULT_FILE, CaseCounts, EpochRow, read_result
from lvseg.run_folder import (
    CONFIG_NAME,
    ORIGIN_NAME,
    WEIGHTS_NAME,
    Run,
    default_name,
    fail_run,
    finish_run,
    open_run,
    typical_speed,
)
from lvseg.training.state import CHECKPOINT_WEIGHTS, Outcome, RunState
from tests.discs import write_records


@pytest.fixture
def run(tmp_path: Path) -> Run:
    records = tmp_path / "records"
    manifest = write_records(records, train=2, val=1, size=16)
    return Run(folder=tmp_path / "runs/one", config=TrainConfig(epochs=2), records=records, manifest=manifest)


def row(epoch: int, dice: float, speed: float = 10.0) -> EpochRow:
    return EpochRow(
        epoch=epoch,
        learning_rate=1e-3,
        loss=0.5,
        accuracy=0.9,
        dice=0.4,
        val_loss=0.6,
        val_accuracy=0.8,
        val_dice=dice,
        val_dice_pooled=dice + 0.1,
        images_per_second=speed,
        seconds=2.5,
    )


def outcome(*dices: float, error: str | None = None) -> Outcome:
    rows = [row(epoch, dice) for epoch, dice in enumerate(dices, start=1)]
    best = max(range(len(dices)), key=dices.__getitem__) + 1 if dices else 0
    state = RunState(
        parameters=123,
        epoch=len(rows),
        best_epoch=best,
        best_undefined=1,
        best_by_case={"A": 0.5},
        best_counts_by_case={"A": {"images": 1, "intersection": 2, "predicted": 3, "labelled": 4}},
        history=[*map(dataclasses.asdict, rows)],
    )
    return Outcome(state=state, error=error)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / CHECKPOINT_WEIGHTS).write_bytes(b"weights")
    return tmp_path / "checkpoint"


def changed(run: Run, **settings: Any) -> Run:
    return dataclasses.replace(run, config=dataclasses.replace(run.config, **settings))


def test_a_new_run_claims_its_folder(run: Run) -> None:
    assert open_run(run) is None
    assert from_mapping(TrainConfig, read_yaml(run.folder / CONFIG_NAME)) == run.config
    origin = json.loads((run.folder / ORIGIN_NAME).read_text())
    assert origin["records_sha256"] == run.manifest.records_sha256
    assert open_run(run) is None, "a run that was broken off goes on"


def test_another_configuration_is_refused_with_field_old_and_new(run: Run) -> None:
    open_run(run)
    with pytest.raises(RunError) as caught:
        open_run(changed(run, learning_rate=0.5, epochs=9))
    assert str(caught.value) == (
        "run name one is taken by another configuration "
        "(epochs was 2, is 9, learning_rate was 0.001, is 0.5); choose another name"
    )
    assert read_yaml(run.folder / CONFIG_NAME)["epochs"] == 2


def test_where_it_runs_may_change(run: Run) -> None:
    open_run(run)
    assert (
        open_run(changed(run, workers=2, steps_per_call=1, picture_every=0, max_failures=0, cpus_per_worker=1)) is None
    )
    assert read_yaml(run.folder / CONFIG_NAME)["workers"] == 2


def test_other_records_are_refused(run: Run) -> None:
    open_run(run)
    other: Manifest = dataclasses.replace(run.manifest, records_sha256="f" * 64)
    with pytest.raises(RunError, match=r"^run one was trained on other records \(.*records\); choose another name$"):
        open_run(dataclasses.replace(run, manifest=other))


def test_a_folder_with_other_files_is_refused(run: Run) -> None:
    run.folder.mkdir(parents=True)
    (run.folder / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="holds other files, not a run"):
        open_run(run)
    assert [path.name for path in run.folder.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("blocked", ["runs", "runs/one"])
def test_a_folder_that_cannot_be_made_is_named(run: Run, blocked: str) -> None:
    path = run.folder.parents[1] / blocked
    path.parent.mkdir(exist_ok=True)
    path.write_text("a file")
    with pytest.raises(RunError) as caught:
        open_run(run)
    assert str(caught.value).startswith(f"{run.folder}: cannot be written: ")


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_run_file_is_named(run: Run, content: str) -> None:
    open_run(run)
    (run.folder / ORIGIN_NAME).write_text(content)
    with pytest.raises(RunError) as caught:
        open_run(run)
    assert str(caught.value).startswith(f"{run.folder / ORIGIN_NAME}: damaged")
    assert "\n" not in str(caught.value)


def test_a_finished_run_gives_its_result(run: Run, checkpoint: Path) -> None:
    open_run(run)
    result = finish_run(run, outcome(0.3, 0.7, 0.6), checkpoint)
    assert open_run(run) == result == read_result(run.folder)
    assert (result.status, result.best_epoch, result.val_dice, result.epochs) == ("finished", 2, 0.7, 3)
    assert (result.val_dice_pooled, result.val_dice_undefined, result.val_dice_by_case) == (
        pytest.approx(0.8),
        1,
        {"A": 0.5},
    )
    assert (result.parameters, result.seconds, result.train_images, result.val_images) == (123, 7.5, 2, 1)
    assert (run.folder / WEIGHTS_NAME).read_bytes() == b"weights"
    assert result.weights_sha256 == hashlib.sha256(b"weights").hexdigest()
    assert result.val_counts_by_case == {"A": CaseCounts(images=1, intersection=2, predicted=3, labelled=4)}
    assert [(row.run, row.result) for row in read(run.folder.parent)] == [(run.name, result)]
    assert result.command == run.command()
    assert result.config["epochs"] == 2


def test_a_failed_run_is_recorded_and_starts_again(run: Run, checkpoint: Path) -> None:
    open_run(run)
    result = finish_run(run, outcome(0.3, error="loss is not finite at epoch 2"), checkpoint)
    assert (result.status, result.error, result.epochs) == ("failed", "loss is not finite at epoch 2", 1)
    assert not (run.folder / WEIGHTS_NAME).exists()
    assert result.weights_sha256 is None
    assert open_run(run) is None
    assert not (run.folder / RESULT_FILE).exists()


def test_a_run_without_epochs_has_no_dice(run: Run) -> None:
    result = finish_run(run, outcome(error="nothing"), None)
    assert math.isnan(result.val_dice)
    assert math.isnan(result.images_per_second)
    assert result.best_epoch is None


def test_a_run_that_fails_before_it_starts_is_recorded(run: Run) -> None:
    open_run(run)
    fail_run(dataclasses.replace(run, sweep="sweep"), "no workers")
    result = read_result(run.folder)
    assert (result.status, result.error, result.sweep, result.parameters) == ("failed", "no workers", "sweep", None)
    rows = read(run.folder.parent.parent)
    assert [(row.run, row.result.error) for row in rows] == [(f"{run.folder.parent.name}/{run.name}", "no workers")]


def test_the_speed_is_the_median_without_the_first_epoch() -> None:
    assert typical_speed([row(1, 0, 2.0), row(2, 0, 30.0), row(3, 0, 10.0), row(4, 0, 20.0)]) == 20
    assert typical_speed([row(1, 0, 2.0)]) == 2


def test_a_name_of_its_own() -> None:
    assert default_name("fcn").startswith("fcn-2")


CONFIGS = [
    TrainConfig(),
    TrainConfig(model="unet", epochs=3, batch_size=6, workers=2, staircase=True, gpu=True),
    TrainConfig(learning_rate=1e-05, decay_rate=1.0, decay_steps=1, precision="bfloat16", seed=7),
    TrainConfig(learning_rate=0.1 + 0.2, cpus_per_worker=3, picture_every=0, max_failures=0, steps_per_call=1),
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("records", ["records", "/data/my records/it's"])
def test_the_command_makes_the_same_run_again(
    run: Run, monkeypatch: pytest.MonkeyPatch, config: TrainConfig, records: str
) -> None:
    parsed = argparse.Namespace()

    def keep(records: Path, settings: TrainConfig, *_: object, **__: object) -> int:
        parsed.records, parsed.settings = records, settings
        return 0

    monkeypatch.setattr(cli.verbs.training, "train", keep)
    command = shlex.split(dataclasses.replace(run, config=config, records=Path(records)).command())
    assert command[:2] == ["lvseg", "train"]
    assert cli.main(command[1:]) == 0
    assert parsed.settings == config
    assert parsed.records == Path(records)


def test_the_command_can_undo_what_a_config_file_sets(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump({"staircase": True, "epochs": 5}))
    seen = []
    monkeypatch.setattr(cli.verbs.training, "train", lambda records, settings, *_, **__: seen.append(settings) or 0)
    assert cli.main(["train", "records", "--config", str(path), "--no-staircase"]) == 0
    assert cli.main(["train", "records", f"--config={path}", "--epochs", "6"]) == 0
    assert [(settings.staircase, settings.epochs) for settings in seen] == [(False, 5), (True, 6)]


def test_a_run_with_listed_settings_is_gone_on_with(run: Run) -> None:
    """YAML has lists where the configuration has tuples."""
    run = dataclasses.replace(run, config=TrainConfig(epochs=2, class_weights=(1.0, 2.0)))
    assert open_run(run) is None
    assert open_run(run) is None
