import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lvseg.config import TrainConfig
from lvseg.errors import RecordsError, RunError
from lvseg.leaderboard import build
from lvseg.report.extremes import find_evaluation
from lvseg.results import RunResult, extremes_path
from lvseg.run_folder import WEIGHTS_NAME, Run, finish_run, open_run
from lvseg.slices import CLASSES
from lvseg.training.context import LocalContext
from lvseg.training.evaluate import evaluate_run
from lvseg.training.loop import train
from lvseg.training.monitor import Monitor
from lvseg.training.pictures import PANEL_PX
from lvseg.training.portion import split_facts
from lvseg.training.shards import open_shard
from tests.discs import SIZE, write_records


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, RunResult]:
    root = tmp_path_factory.mktemp("evaluate")
    manifest = write_records(root / "records", train=8, val=11)
    config = TrainConfig(model="fc", epochs=5, learning_rate=2e-3)
    run = Run(folder=root / "runs/one", config=config, records=root / "records", manifest=manifest)
    open_run(run)
    shard = open_shard("memory", run.records, manifest, config, split_facts(run.records, manifest))
    context = LocalContext(run.folder / "checkpoints")
    outcome = train(config, (SIZE, SIZE), shard.train_images, lambda: shard, context, Monitor())
    return run, finish_run(run, outcome, context.best_checkpoint)


def test_the_scores_are_those_of_the_best_epoch(finished: tuple[Run, RunResult]) -> None:
    run, result = finished
    evaluation = evaluate_run(run.folder, run.records)
    assert 0 < evaluation.summary.mean == pytest.approx(result.val_dice, abs=1e-6)
    assert evaluation.summary.pooled == pytest.approx(result.val_dice_pooled, abs=1e-6)
    assert evaluation.summary.by_case == pytest.approx(dict(result.val_dice_by_case), abs=1e-6)
    assert (evaluation.labels, evaluation.records_sha256) == ("given", run.manifest.records_sha256)


def test_the_scores_go_into_the_leaderboard(finished: tuple[Run, RunResult]) -> None:
    run, result = finished
    evaluate_run(run.folder, run.records, "train")
    own, scored = build(run.folder.parent).groups
    assert own.rows[0].result == result
    assert own.rows[0].dice_interval is not None
    assert scored.heading.endswith("8 images of part train, evaluated")
    assert scored.rows[0].result.command.endswith("--split train")
    assert scored.rows[0].result.val_counts_by_case.keys() == scored.rows[0].result.val_dice_by_case.keys()


def test_the_images_of_lowest_and_highest_dice_are_kept_as_pictures(finished: tuple[Run, RunResult]) -> None:
    run, _ = finished
    evaluation = evaluate_run(run.folder, run.records)
    view = find_evaluation(run.folder, "val", run.manifest.records_sha256)
    assert view is not None
    scores = sorted(dice for _, _, dice in evaluation.images)
    assert [image.dice for image in view.worst] == pytest.approx(scores[:4])
    assert [image.dice for image in view.best] == pytest.approx(scores[:-5:-1])
    for which in ("worst", "best"):
        picture = cv2.imread(str(extremes_path(run.folder, "val", which)))
        assert picture.shape == (4 * PANEL_PX, 3 * PANEL_PX, 3)
    assert find_evaluation(run.folder, "val", "other records") is None


def test_the_scores_of_every_image_are_kept(finished: tuple[Run, RunResult]) -> None:
    run, _ = finished
    evaluation = evaluate_run(run.folder, run.records, "train")
    kept = json.loads((run.folder / "evaluation-train.json").read_text())
    assert [image["name"] for image in kept["images"]] == [f"D-{number:03d}" for number in range(8)]
    assert np.mean([image["dice"] for image in kept["images"]]) == pytest.approx(evaluation.summary.mean)
    assert kept["summary"]["images"] == 8


def test_the_contours_of_the_predictions_are_scored_too(finished: tuple[Run, RunResult], tmp_path: Path) -> None:
    """Discs without spacing and contours: in pixels, against the contours of the label masks."""
    run, _ = finished
    evaluation = evaluate_run(run.folder, run.records, threshold=3.0, out=tmp_path)
    found = evaluation.contours
    assert (found.unit, found.threshold, found.volumes) == ("px", 3.0, ())
    assert [image.name for image in found.images] == [name for name, _, _ in evaluation.images]
    for image, (_, _, dice) in zip(found.images, evaluation.images, strict=True):
        if image.detected:  # without the small components, and with the corners of pixels cut
            assert image.score.dice == pytest.approx(dice, abs=0.15)
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["evaluation-val-images.csv", "evaluation-val-patients.csv", "evaluation-val.json", "pictures"]
    kept = json.loads((tmp_path / "evaluation-val.json").read_text())
    assert len(kept["contours"]["patients"]) == len(evaluation.summary.by_case)


def test_a_part_that_is_not_there_is_named(finished: tuple[Run, RunResult]) -> None:
    run, _ = finished
    with pytest.raises(RecordsError, match=r"no images in split test; it has train 8, val 11"):
        evaluate_run(run.folder, run.records, "test")


def test_records_of_another_size_are_refused(finished: tuple[Run, RunResult], tmp_path: Path) -> None:
    run, _ = finished
    write_records(tmp_path, train=1, val=1, size=16)
    with pytest.raises(RunError, match="not weights of this fc"):
        evaluate_run(run.folder, tmp_path)


def test_what_is_no_finished_run_is_named(finished: tuple[Run, RunResult], tmp_path: Path) -> None:
    run, _ = finished
    with pytest.raises(RunError, match=r"none: not a run folder: no config\.yaml there"):
        evaluate_run(tmp_path / "none", run.records)
    other = Run(folder=tmp_path / "two", config=run.config, records=run.records, manifest=run.manifest)
    open_run(other)
    with pytest.raises(RunError, match=rf"two: has no {WEIGHTS_NAME}: the run has not finished"):
        evaluate_run(other.folder, run.records)


def test_missing_records_are_named(finished: tuple[Run, RunResult], tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="not a record set"):
        evaluate_run(finished[0].folder, tmp_path / "none")


def train_run(root: Path, config: TrainConfig, **records: Any) -> tuple[Run, RunResult]:
    manifest = write_records(root / "records", **records)
    run = Run(folder=root / "runs/one", config=config, records=root / "records", manifest=manifest)
    open_run(run)
    shard = open_shard("memory", run.records, run.data, config, split_facts(run.records, run.data))
    context = LocalContext(run.folder / "checkpoints")
    outcome = train(
        config,
        (SIZE, SIZE),
        shard.train_images,
        lambda: shard,
        context,
        Monitor(),
        classes=CLASSES[manifest.structures],
    )
    return run, finish_run(run, outcome, context.best_checkpoint)


def test_a_run_on_a_fold_is_scored_on_that_fold(tmp_path: Path) -> None:
    config = TrainConfig(model="fc", epochs=2, fold=1)
    run, result = train_run(tmp_path, config, train=9, val=3, folds=3)
    assert (result.train_images, result.val_images) == (8, 4)
    evaluation = evaluate_run(run.folder, run.records)
    assert [name for name, _, _ in evaluation.images] == ["D-001", "D-004", "D-007", "D-010"]
    assert evaluation.summary.mean == pytest.approx(result.val_dice, abs=1e-6)


def test_myocardium_is_scored_where_records_and_model_have_it(tmp_path: Path) -> None:
    run, result = train_run(tmp_path, TrainConfig(model="fc", epochs=3), train=8, val=5, structures="endo+myo")
    evaluation = evaluate_run(run.folder, run.records)
    assert evaluation.myocardium is not None
    assert evaluation.myocardium.mean == pytest.approx(result.val_dice_myocardium, abs=1e-6)
    assert json.loads((run.folder / "evaluation-val.json").read_text())["myocardium"]["images"] == 5
    write_records(tmp_path / "endo", train=8, val=5)
    other = evaluate_run(run.folder, tmp_path / "endo")
    assert other.myocardium is None
    assert 0 < other.summary.mean < 1


def test_a_model_of_the_cavity_alone_is_scored_on_records_with_myocardium(
    finished: tuple[Run, RunResult], tmp_path: Path
) -> None:
    write_records(tmp_path, train=8, val=11, structures="endo+myo")
    evaluation = evaluate_run(finished[0].folder, tmp_path)
    assert evaluation.myocardium is None
    assert 0 < evaluation.summary.mean < 1
