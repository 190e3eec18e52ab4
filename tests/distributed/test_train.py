"""Training with real Ray Train workers: the same numbers whatever the workers, and after a kill."""

import dataclasses
import os
import re
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray.train

from lvseg.config import TrainConfig
from lvseg.distributed.train import _remove_orphans, run_training
from lvseg.errors import ConfigError, RecordsError, RunError, StoppedError, TrainingError
from lvseg.models import build_model
from lvseg.records import Manifest
from lvseg.results import EpochRow, read_history, read_result
from lvseg.run_folder import Run, request_stop
from lvseg.training.cache import cache_folder
from lvseg.training.evaluate import evaluate_run
from lvseg.training.local import train_locally
from lvseg.training.status import read_events
from tests.discs import write_records
from tests.distributed.weights import assert_same_weights
from tests.histories import DEADLINE_S, wait_for_epochs
from tests.processes import kill_all, running

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]

# Everything that could depend on how a batch is shared out: augmentation, clipping, averages, a batch that is not even.
SHORT = TrainConfig(
    model="unet-light",
    epochs=3,
    batch_size=5,
    steps_per_call=1,
    picture_every=2,
    precision="float32",
    loss="dice+cross-entropy",
    norm="group",
    # Adam would hide a wrong scale of the gradient, and blow rounding up where a gradient is next to nothing.
    optimizer="sgd",
    learning_rate=0.02,
    weight_decay=0.05,
    clip_norm=0.5,
    ema=0.8,
    augment_rotation_deg=180,
    augment_flip=True,
    augment_elastic_px=4,
    augment_noise=0.2,
)
# One core each, whatever the cluster: another number of threads would add rounding of its own.
LONG = TrainConfig(
    model="fcn",
    epochs=12,
    batch_size=4,
    picture_every=0,
    cpus_per_worker=1,
    precision="float32",
    optimizer="sgd",
    learning_rate=0.02,
)
LOSS_TOLERANCE = 5e-5
# Rounding moves a pixel now and then whose two classes are as good as equal: one of 4,096, or of a cavity of some 200.
TOLERANCES = {"learning_rate": 1e-12, "loss": LOSS_TOLERANCE, "val_loss": LOSS_TOLERANCE} | dict.fromkeys(
    ("accuracy", "val_accuracy"), 1e-4
)
TOLERANCES |= dict.fromkeys(("dice", "val_dice", "val_dice_pooled"), 2e-3)


WORKER, NEEDLESS = "RayTrainWorker", ("DatasetManager", "PlacementGroupCleaner")


def run_of(made: tuple[Path, Manifest], folder: Path, config: TrainConfig) -> Run:
    records, manifest = made
    return Run(folder=folder, config=config, records=records, manifest=manifest)


def assert_same_history(first: list[EpochRow], second: list[EpochRow]) -> None:
    assert len(first) == len(second)
    for ours, theirs in zip(first, second, strict=True):
        for name, tolerance in TOLERANCES.items():
            expected = getattr(theirs, name)
            assert getattr(ours, name) == pytest.approx(expected, abs=tolerance), f"{name}, epoch {ours.epoch}"


@pytest.fixture(scope="module")
def one_worker(made: tuple[Path, Manifest], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = run_of(made, tmp_path_factory.mktemp("runs") / "one", SHORT)
    run_training(run)
    return run.folder


def test_uneven_data(made: tuple[Path, Manifest]) -> None:
    """The tests below mean something only if the batches, the last batch and the shards are uneven."""
    _, manifest = made
    assert SHORT.batch_size % 2
    assert SHORT.batch_size % 3
    assert manifest.splits["train"].images % SHORT.batch_size
    assert manifest.splits["val"].images % 2 or manifest.splits["val"].images % 3


def test_run_folder_is_complete(one_worker: Path, made: tuple[Path, Manifest]) -> None:
    records, manifest = made
    result, history = read_result(one_worker), read_history(one_worker)
    assert result.status == "finished"
    assert result.workers == 1
    assert result.epochs == 3
    assert result.val_dice == max(row.val_dice for row in history)
    assert result.best_epoch == max(history, key=lambda row: row.val_dice).epoch
    assert result.records_sha256 == manifest.records_sha256
    assert result.parameters == build_model(SHORT, (64, 64)).count_params()
    for name in ("config.yaml", "best.weights.h5", "tensorboard", "pictures/epoch-0002.png", "pictures/epoch-0003.png"):
        assert (one_worker / name).exists(), name
    kept = {int(path.name.split("-")[1]) for path in (one_worker / "checkpoints").glob("epoch-*")}
    assert kept == {result.best_epoch, 3}
    scores = evaluate_run(one_worker, records)
    assert scores.summary.mean == pytest.approx(result.val_dice, abs=1e-6)
    assert scores.summary.pooled == pytest.approx(result.val_dice_pooled, abs=1e-6)
    assert scores.summary.by_case == pytest.approx(dict(result.val_dice_by_case), abs=1e-6)


def test_three_workers_give_the_same_run_from_tfrecords(one_worker: Path, tmp_path: Path) -> None:
    records = tmp_path / "records"
    manifest = write_records(records, train=19, val=7, size=64, shard_images=8, format="tfrecord")
    run = run_of((records, manifest), tmp_path / "three", dataclasses.replace(SHORT, workers=3))
    run_training(run)
    assert_same_history(read_history(run.folder), read_history(one_worker))
    assert_same_weights(run.folder, one_worker)


def test_without_ray_the_run_is_the_same(one_worker: Path, made: tuple[Path, Manifest], tmp_path: Path) -> None:
    run = run_of(made, tmp_path / "here", dataclasses.replace(SHORT, workers=0, accumulate=2))
    train_locally(run, print)
    assert_same_history(read_history(run.folder), read_history(one_worker))
    assert_same_weights(run.folder, one_worker)


def cached(manifest: Manifest) -> list[Path]:
    """What runs on these records keep on this node's disk."""
    return [path for path in cache_folder().iterdir() if manifest.records_sha256[:32] in path.name and path.is_dir()]


def test_finished_run_is_not_trained_again(one_worker: Path, made: tuple[Path, Manifest]) -> None:
    before = (one_worker / "history.csv").stat().st_mtime_ns
    assert run_training(run_of(made, one_worker, SHORT)) == read_result(one_worker)
    assert (one_worker / "history.csv").stat().st_mtime_ns == before
    with pytest.raises(RunError, match="learning_rate"):
        run_training(run_of(made, one_worker, dataclasses.replace(SHORT, learning_rate=0.5)))


def test_what_cannot_work_is_refused_before_it_starts(made: tuple[Path, Manifest], tmp_path: Path) -> None:
    many = dataclasses.replace(SHORT, batch_size=64, workers=64)
    with pytest.raises(ConfigError, match="workers must be at most the number of training images"):
        run_training(run_of(made, tmp_path / "many", many))
    with pytest.raises(ConfigError, match=r"gpu: 1 worker\(s\) of 1 GPU\(s\) need 1, this machine has 0"):
        run_training(run_of(made, tmp_path / "gpu", dataclasses.replace(SHORT, gpu=True)))
    with pytest.raises(ConfigError, match=r"cpus_per_worker: 2 worker\(s\) of 500 CPU\(s\) need 1000"):
        run_training(run_of(made, tmp_path / "cpus", dataclasses.replace(SHORT, workers=2, cpus_per_worker=500)))
    assert not list(tmp_path.iterdir())


def test_damaged_record_file_ends_the_run_with_its_name(made: tuple[Path, Manifest], tmp_path: Path) -> None:
    records, manifest = made
    copy = tmp_path / "records"
    shutil.copytree(records, copy)
    damaged = copy / manifest.splits["train"].files[-1].file
    damaged.write_bytes(damaged.read_bytes()[:500])
    with pytest.raises(RecordsError, match=rf"^{re.escape(str(damaged))}: not a readable parquet record file: [^\n]*$"):
        run_training(run_of((copy, manifest), tmp_path / "run", SHORT))


def test_error_in_a_worker_fails_the_run_in_one_line(
    made: tuple[Path, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvseg.distributed.train.split_facts", lambda *_: {"train_images": "eighteen"})
    run = run_of(made, tmp_path / "run", dataclasses.replace(SHORT, max_failures=0))
    with pytest.raises(TrainingError, match=r"^run run failed: [^\n]+$"):
        run_training(run)
    assert read_result(run.folder).status == "failed"


def test_a_run_that_is_told_to_stop_goes_on_with_another_number_of_workers(
    one_worker: Path, made: tuple[Path, Manifest], tmp_path: Path
) -> None:
    """Three are stopped in the middle of the first epoch; it goes on with 1 to 2: two, since there is room for them.

    The three have their images on disk, the two read them anew in every epoch.
    """
    folder = tmp_path / "stopped"
    threading.Thread(target=stop_once_claimed, args=(folder,), daemon=True).start()
    with pytest.raises(StoppedError, match=r"^run stopped was told to stop: saved after epoch 0, step [23]; the same"):
        run_training(run_of(made, folder, dataclasses.replace(SHORT, workers=3, ingest="disk")))
    assert not (folder / "result.json").exists()
    entries = cached(made[1])
    assert len(entries) == 6, "each worker's training and validation rows"
    for entry in entries:
        shutil.rmtree(entry)
    said: list[str] = []
    settings = dataclasses.replace(SHORT, workers=2, min_workers=1, ingest="stream", steps_per_call=2)
    run_training(run_of(made, folder, settings), say=said.append)
    assert said[0].startswith("ingest stream:")
    assert said[1].startswith("workers 1 to 2, each with ")
    assert read_events(folder)[-1].kind == "finished"
    assert [event.facts["workers"] for event in read_events(folder) if event.kind == "resume"] == [2]
    assert cached(made[1]) == []
    assert_same_history(read_history(folder), read_history(one_worker))
    assert_same_weights(folder, one_worker)


def stop_once_claimed(folder: Path) -> None:
    """Before the workers are there: rank 0 hears it in its first step, and all stop some steps later."""
    deadline = time.monotonic() + DEADLINE_S
    while not (folder / "run.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    request_stop(folder)


def test_best_and_last_checkpoint_are_kept(made: tuple[Path, Manifest], tmp_path: Path) -> None:
    best, last, lost = (tmp_path / "checkpoints" / f"epoch-0000{epoch}-1" for epoch in (2, 5, 4))
    for folder in (best, last, lost):
        folder.mkdir(parents=True)
    checkpoint = ray.train.Checkpoint
    result = SimpleNamespace(checkpoint=checkpoint(str(last)), best_checkpoints=[(checkpoint(str(best)), {})])
    _remove_orphans(run_of(made, tmp_path, SHORT), result)
    assert (best.exists(), last.exists(), lost.exists()) == (True, True, False)


def test_ray_restarts_a_killed_worker(made: tuple[Path, Manifest], tmp_path: Path) -> None:
    calm, run = run_of(made, tmp_path / "calm", LONG), run_of(made, tmp_path / "restarted", LONG)
    train_locally(calm, print)
    killed: list[int] = []
    threading.Thread(target=kill_workers_after, args=(3, run.folder, killed), daemon=True).start()
    run_training(run)
    assert len(killed) == 1, "a worker, and none of the helpers that a run does without"
    assert [event.kind for event in read_events(run.folder)].count("lost") == 1
    assert_same_history(read_history(run.folder), read_history(calm.folder))
    assert_same_weights(run.folder, calm.folder)
    assert len(list((run.folder / "checkpoints").glob("epoch-*"))) <= 2


def kill_workers_after(epochs: int, folder: Path, killed: list[int]) -> None:
    """Kill every worker of this process's Ray when the run has done so many epochs."""
    wait_for_epochs(folder, epochs)
    workers = [process for name in (WORKER, *NEEDLESS) for process in running(os.getpid(), name)]
    kill_all(workers)
    killed += [process.pid for process in workers]
