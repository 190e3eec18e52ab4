"""A whole prediction in this process, on a phantom and on records; the model is one with weights of chance."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from lvseg.config import PredictConfig, PreprocessConfig
from lvseg.errors import ConfigError, RecordsError, RunError
from lvseg.inference.ensemble import Member, make_members
from lvseg.inference.folder import PredictManifest
from lvseg.inference.job import OpenJob, end_job, open_job, read_pack
from lvseg.inference.local import predict_locally
from lvseg.inference.model import load_member
from lvseg.inference.runs import read_run
from lvseg.phantom import write_phantom
from lvseg.records import Manifest
from lvseg.run_folder import ORIGIN_NAME, WEIGHTS_NAME
from lvseg.store import UPath, location
from lvseg.training.engine import standardise
from tests.discs import write_records
from tests.inference.runs import write_run

SIZE = 64
SETTINGS = PredictConfig(precision="float32", batch_size=7)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("records")
    return folder, write_records(folder, train=8, val=4, size=SIZE)


@pytest.fixture(scope="module")
def run(records: tuple[Path, Manifest], tmp_path_factory: pytest.TempPathFactory) -> UPath:
    return location(write_run(tmp_path_factory.mktemp("runs") / "one", *records))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "phantom"
    write_phantom(folder, patients=2, size=SIZE, slices=3, phases=6)
    return folder


def opened(run: UPath, source: Path, out: Path, settings: PredictConfig = SETTINGS, *more: UPath) -> OpenJob:
    return open_job((run, *more), location(source), location(out), settings, None, gpu=False)


def predict(run: UPath, source: Path, out: Path, settings: PredictConfig = SETTINGS, *more: UPath) -> PredictManifest:
    job = opened(run, source, out, settings, *more)
    return end_job(job, predict_locally(job), lambda *_: None)


@pytest.fixture(scope="module")
def done(run: UPath, phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PredictManifest]:
    out = tmp_path_factory.mktemp("done") / "out"
    return out, predict(run, phantom, out)


def test_every_phase_is_predicted(done: tuple[Path, PredictManifest]) -> None:
    out, manifest = done
    assert (manifest.studies, manifest.images, manifest.misleads) == (2, 2 * 3 * 6, False)
    images = list(csv.DictReader((out / "images.csv").open()))
    assert {(row["slice_index"], row["phase_index"]) for row in images if row["case_id"] == "PH-N-1"} == {
        (str(index), str(phase)) for index in range(3) for phase in range(6)
    }
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"PH-N-1", "PH-HYP-2"}


def test_the_masks_are_those_of_the_model(run: UPath, phantom: Path, tmp_path: Path) -> None:
    """Against the model called by hand, on all images at once."""
    job = opened(run, phantom, tmp_path / "out")
    studies, _ = read_pack(job.job, job.packs[0])
    (member,) = make_members(job.job)
    found = np.concatenate(list(member.predict(studies[0].inputs[0], 7)))
    logits = load_member(run).model(standardise(studies[0].inputs[0])).numpy()
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    assert found[..., 0] == pytest.approx((odds / odds.sum(axis=-1, keepdims=True))[..., 1], abs=1e-5)


@pytest.mark.parametrize(("augmentation", "views"), [("flips", 4), ("all", 8)])
def test_test_time_augmentation_averages_over_views(run: UPath, augmentation: str, views: int) -> None:
    images = np.random.default_rng(1).random((2, SIZE, SIZE)).astype(np.float32)
    loaded = load_member(run)
    plain = Member(loaded)
    turned = []
    for quarter in (0, 2) if views == 4 else range(4):
        for mirrored in (False, True):
            view = np.rot90(images[:, :, ::-1] if mirrored else images, quarter, axes=(1, 2))
            (result,) = plain.predict(np.ascontiguousarray(view), 8)
            result = np.rot90(result, -quarter, axes=(1, 2))
            turned.append(result[:, :, ::-1] if mirrored else result)
    (averaged,) = Member(loaded, augmentation).predict(images, 8)
    assert averaged == pytest.approx(np.mean(turned, axis=0), abs=1e-5)


def test_images_of_another_size_are_padded(run: UPath) -> None:
    images = np.random.default_rng(1).random((2, 50, 70)).astype(np.float32)
    (found,) = Member(load_member(run)).predict(images, 8)
    assert found.shape == (2, 50, 70, 1)


def test_weights_that_were_changed_are_refused(run: UPath, tmp_path: Path) -> None:
    copy = location(shutil.copytree(run.path, tmp_path / "run"))
    facts = read_run(copy)
    other = keras.models.clone_model(load_member(copy).model)
    other.save_weights(tmp_path / "run" / WEIGHTS_NAME)
    with pytest.raises(RunError, match=r"best\.weights\.h5: changed while the prediction ran"):
        load_member(facts)


def test_coarser_levels_that_were_trained_too_predict_nothing(tmp_path: Path, records: tuple[Path, Manifest]) -> None:
    run = write_run(tmp_path / "run", *records, model="unet-light", deep_supervision=True)
    loaded = load_member(location(run))
    images = np.random.default_rng(1).random((2, 50, 70)).astype(np.float32)
    (found,) = Member(loaded).predict(images, 8)
    assert found.shape == (2, 50, 70, 1)


def test_finished_studies_are_not_done_again(run: UPath, phantom: Path, done: tuple[Path, PredictManifest]) -> None:
    out, manifest = done
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*/study.json")}
    (out / "PH-N-1/study.json").unlink()
    again = opened(run, phantom, out)
    assert [study.case_id for pack in again.packs for study in pack.studies] == ["PH-N-1"]
    ended = end_job(again, predict_locally(again), lambda *_: None)
    assert dataclasses.replace(ended, finished_at=None) == dataclasses.replace(manifest, finished_at=None)
    assert (out / "PH-HYP-2/study.json").stat().st_mtime_ns == before[out / "PH-HYP-2/study.json"]


def test_the_manifest_says_with_which_weights(run: UPath, done: tuple[Path, PredictManifest]) -> None:
    content = json.loads((done[0] / "predict.json").read_text())
    (entry,) = content["runs"]
    assert (entry["name"], entry["model"]) == ("one", "fcn")
    assert len(entry["weights_sha256"]) == 64
    assert str(done[0].parent) not in json.dumps(content)


def test_an_ensemble_has_both_models_probabilities(
    run: UPath, records: tuple[Path, Manifest], phantom: Path, tmp_path: Path
) -> None:
    other = location(write_run(tmp_path / "two", *records, seed=1))
    job = opened(run, phantom, tmp_path / "out", SETTINGS, other)
    assert [run["name"] for run in job.job.manifest.runs] == ["one", "two"]
    assert len(make_members(job.job)) == 2
    assert job.job.recipe.kinds == (0, 0)


def test_records(run: UPath, records: tuple[Path, Manifest], tmp_path: Path) -> None:
    manifest = predict(run, records[0], tmp_path / "out")
    assert (manifest.studies, manifest.images) == (records[1].splits["train"].patients + 1, 12)
    assert (tmp_path / "out/CASE-0/masks/D-000.png").is_file()


def test_records_preprocessed_in_another_way(run: UPath, records: tuple[Path, Manifest], tmp_path: Path) -> None:
    content = json.loads((records[0] / "manifest.json").read_text())
    content["preprocessing"] |= dataclasses.asdict(PreprocessConfig(crop="centre", crop_size=32))
    (tmp_path / "records").mkdir()
    (tmp_path / "records/manifest.json").write_text(json.dumps(content))
    with pytest.raises(RecordsError, match="preprocessed as crop centre crop_size 32, the model needs nothing"):
        opened(run, tmp_path / "records", tmp_path / "out")


def test_a_damaged_image_costs_itself_and_puts_volumes_in_doubt(run: UPath, phantom: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    source = phantom / "dicoms/PHANTOM0001"
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    victim = sorted(folder.iterdir())[5]
    victim.write_bytes(victim.read_bytes()[:-100])
    manifest = predict(run, folder, tmp_path / "out")
    assert manifest.images == 17
    assert [each.reason for each in manifest.doubts] == ["1 images could not be used"]
    assert "truncated" in manifest.skipped[0].reason
    (row,) = csv.DictReader((tmp_path / "out/volumes.csv").open())
    assert (row["left_out_phases"], row["unreadable_images"]) == ("1", "1")


def test_a_folder_that_holds_no_run(phantom: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        opened(location(tmp_path), phantom, tmp_path / "out")


def test_records_that_are_gone(records: tuple[Path, Manifest], phantom: Path, tmp_path: Path) -> None:
    run = location(write_run(tmp_path / "one", tmp_path / "gone", records[1]))
    with pytest.raises(RunError, match="--records"):
        opened(run, phantom, tmp_path / "out")
    moved = open_job((run,), location(phantom), location(tmp_path / "out"), SETTINGS, location(records[0]), gpu=False)
    assert len(moved.packs) == 2


def test_a_run_says_itself_how_images_are_preprocessed(
    records: tuple[Path, Manifest], phantom: Path, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "one", tmp_path / "gone", records[1])
    origin = json.loads((run / ORIGIN_NAME).read_text())
    wanted = PreprocessConfig(crop="centre", crop_size=32)
    origin |= {"shape": [32, 32], "preprocessing": dataclasses.asdict(wanted)}
    (run / ORIGIN_NAME).write_text(json.dumps(origin))
    (facts,) = opened(location(run), phantom, tmp_path / "out").job.runs
    assert (facts.preprocessing, facts.shape, facts.labels) == (wanted, (32, 32), records[1].labels)


def test_an_output_that_is_none(run: UPath, phantom: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be"):
        PredictConfig(outputs=("jpeg",))  # type: ignore[arg-type]
