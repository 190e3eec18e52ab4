import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from lvseg.errors import RunError
from lvseg.results import (
    CaseCounts,
    EpochRow,
    RunResult,
    last_picture,
    picture_path,
    read_history,
    read_result,
    write_history,
)

RESULT = RunResult(
    name="first",
    status="finished",
    model="fcn",
    parameters=1_857_848,
    val_dice=0.1 + 0.2,
    val_dice_pooled=0.9,
    val_dice_by_case={"SC-HF-I-1": 0.8},
    val_counts_by_case={"SC-HF-I-1": CaseCounts(images=2, intersection=80, predicted=90, labelled=110)},
    best_epoch=3,
    epochs=4,
    workers=2,
    seconds=12.5,
    images_per_second=40.0,
    labels="centre",
    split="patient",
    records_sha256="ab" * 32,
    config={"model": "fcn", "batch_size": 4},
    command="lvseg train records",
    finished_at="2026-01-02T03:04:05Z",
)

ROW = EpochRow(
    epoch=1,
    learning_rate=1e-3,
    loss=1 / 3,
    accuracy=0.98,
    dice=0.5,
    val_loss=2 / 3,
    val_accuracy=0.97,
    val_dice=math.nan,
    val_dice_pooled=0.4,
    images_per_second=41.5,
    seconds=1e-17,
)


def test_a_result_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = RESULT.write(tmp_path / "runs" / "first")
    assert read_result(path) == read_result(path.parent) == RESULT


def test_the_keys_of_result_json_are_pinned() -> None:
    assert " ".join(json.loads(RESULT.to_json())) == (
        "schema name status error sweep model parameters val_dice val_dice_undefined val_dice_pooled "
        "val_dice_by_case val_counts_by_case val_dice_myocardium best_epoch epochs "
        "workers seconds images_per_second train_images val_images labels split "
        "records_sha256 weights_sha256 config command versions finished_at"
    )


def test_nan_is_null_in_the_file_and_nan_again_when_read(tmp_path: Path) -> None:
    path = dataclasses.replace(RESULT, val_dice=math.nan, val_dice_by_case={"A": math.nan}).write(tmp_path)
    assert json.loads(path.read_text())["val_dice"] is None
    assert math.isnan(read_result(path).val_dice)
    assert math.isnan(read_result(path).val_dice_by_case["A"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "done"}, "status: Input should be 'finished', 'failed' or 'stopped early'"),
        ({"schema": 2}, "schema: Input should be 1"),
        ({"val_dice": "high"}, "val_dice: Input should be a valid number"),
        ({"wokers": 2}, "wokers: Unexpected keyword argument"),
    ],
)
def test_a_wrong_value_is_named_with_its_file(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    path = RESULT.write(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunError) as error:
        read_result(path)
    assert str(error.value).startswith(f"{path}: not a run's result: {reason}")
    assert "\n" not in str(error.value)


def test_a_lacking_key_is_named(tmp_path: Path) -> None:
    path = RESULT.write(tmp_path)
    content = json.loads(path.read_text())
    del content["val_dice"], content["epochs"]
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match="lacks val_dice, epochs"):
        read_result(path)


def test_a_truncated_result_and_a_missing_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"result\.json: cannot be read: No such file"):
        read_result(tmp_path)
    path = RESULT.write(tmp_path)
    path.write_text(path.read_text()[:50])
    with pytest.raises(RunError, match=r"result\.json: not a run's result: Invalid JSON"):
        read_result(path)


def test_history_reads_back_to_the_same_bits(tmp_path: Path) -> None:
    changes = {"loss": np.float64(0.1) + 0.2, "val_dice": 0.5, "val_dice_myocardium": 0.25}
    rows = [ROW, dataclasses.replace(ROW, epoch=2, **changes)]
    write_history(tmp_path, rows)
    first, second = read_history(tmp_path)
    assert repr(first) == repr(ROW)
    assert second == dataclasses.replace(rows[1], loss=0.1 + 0.2)


def test_files_of_a_version_without_myocardium_and_counts_are_read(tmp_path: Path) -> None:
    path = RESULT.write(tmp_path)
    content = json.loads(path.read_text())
    assert content.pop("val_dice_myocardium") is None
    assert content.pop("val_counts_by_case") == {
        "SC-HF-I-1": {"images": 2, "intersection": 80, "predicted": 90, "labelled": 110}
    }
    path.write_text(json.dumps(content))
    assert read_result(path) == dataclasses.replace(RESULT, val_counts_by_case={})
    history = write_history(tmp_path, [ROW])
    history.write_text(history.read_text().replace(",val_dice_myocardium", "").replace(",\n", "\n"))
    assert repr(read_history(tmp_path)) == repr([ROW])


def test_the_columns_of_history_are_pinned(tmp_path: Path) -> None:
    assert write_history(tmp_path, []).read_text() == (
        "epoch,learning_rate,loss,accuracy,dice,val_loss,val_accuracy,val_dice,val_dice_pooled,"
        "images_per_second,seconds,val_dice_myocardium\n"
    )
    assert read_history(tmp_path) == []


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: text.replace("val_loss", "loss2"), "expected the columns epoch,learning_rate"),
        (lambda text: text[:-9], "line 2: expected 12 values, found 10"),
        (lambda text: text.replace("0.98", "good"), "line 2: could not convert string to float: 'good'"),
        (lambda _: "", "expected the columns"),
    ],
)
def test_a_damaged_history_is_named_with_the_line(tmp_path: Path, damage: object, reason: str) -> None:
    path = write_history(tmp_path, [ROW])
    path.write_text(damage(path.read_text()))  # type: ignore[operator]
    with pytest.raises(RunError, match=reason):
        read_history(tmp_path)


def test_the_last_picture_is_the_one_of_the_highest_epoch(tmp_path: Path) -> None:
    assert last_picture(tmp_path) is None
    for epoch in (5, 10_000, 9_995):
        picture_path(tmp_path, epoch).parent.mkdir(exist_ok=True)
        picture_path(tmp_path, epoch).touch()
    (tmp_path / "pictures" / "epoch-last.png").touch()
    assert last_picture(tmp_path) == (10_000, tmp_path / "pictures" / "epoch-10000.png")
