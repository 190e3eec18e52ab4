"""What the page knows of a folder of runs."""

import dataclasses
import shutil
from pathlib import Path

from lvseg.dashboard.trials import Reader
from lvseg.results import RESULT_FILE, read_result
from lvseg.store import location
from tests.dashboard.conftest import SweepFolders


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_finished_running_and_failed_runs_stand_together(sweep: SweepFolders) -> None:
    (section,) = Reader(location(sweep.runs), 1).look().sections
    assert [trial.state for trial in section.trials] == ["finished"] * 8 + ["running", "failed"]
    best, running, failed = section.trials[0], section.of("running")[0], section.of("failed")[0]
    assert (best.key, best.dice, best.row and best.row.rank) == ("rates/trial-00000", 0.9, 1)
    assert section.best is best
    assert (running.epochs, running.planned_epochs, running.sweep) == (2, 6, "rates")
    assert running.dice == max(row.val_dice for row in running.history)
    assert running.settings["learning_rate"] == 10.0**-3.5
    assert (failed.error, failed.dice) == ("out of memory", None)
    assert section.short(best) == "trial-00000"
    sweep.add("alone")
    (section,) = Reader(location(sweep.runs), 1).look().sections
    assert section.short(section.trials[1]) == "rates/trial-00001", "there are runs of several folders"


def test_other_labels_are_another_section(sweep: SweepFolders) -> None:
    sweep.add("other", labels="course")
    snapshot = Reader(location(sweep.runs), 1).look()
    assert [len(section.trials) for section in snapshot.sections] == [10, 1]
    other = snapshot.sections[1]
    assert snapshot.section(other.key) is other
    assert snapshot.section("gone") is snapshot.sections[0]


def test_the_folder_is_read_once_an_interval(sweep: SweepFolders) -> None:
    clock = Clock()
    reader = Reader(location(sweep.runs), 5, clock)
    first = reader.look()
    sweep.go_on(sweep.runs / "rates/trial-00008", 4)
    clock.now = 4.9
    assert reader.look() is first
    clock.now = 5.0
    assert reader.look().sections[0].of("running")[0].epochs == 4


def test_a_folder_that_is_not_there_yet_or_not_any_more(sweep: SweepFolders, tmp_path: Path) -> None:
    clock = Clock()
    reader = Reader(location(tmp_path / "later"), 1, clock)
    assert (reader.look().sections, reader.look().trouble) == ((), "the folder of runs is not there yet")
    shutil.copytree(sweep.runs, tmp_path / "later")
    clock.now = 1
    assert len(reader.look().sections[0].trials) == 10
    assert reader.look().trouble is None


def test_a_result_that_cannot_be_read_is_counted(sweep: SweepFolders) -> None:
    (sweep.runs / "rates/trial-00003" / RESULT_FILE).write_text("{")
    snapshot = Reader(location(sweep.runs), 1).look()
    assert len(snapshot.damaged) == 1
    assert len(snapshot.sections[0].trials) == 9


def test_a_store_that_is_away_leaves_what_was_known(sweep: SweepFolders, monkeypatch) -> None:
    clock = Clock()
    reader = Reader(location(sweep.runs), 1, clock)
    before = reader.look()
    monkeypatch.setattr("lvseg.dashboard.trials.build", lambda *_, **__: (_ for _ in ()).throw(OSError("no route")))
    clock.now = 1
    assert reader.look().sections == before.sections
    assert "cannot be read just now" in (reader.look().trouble or "")


def test_a_trial_that_its_sweep_has_stopped_early_is_ranked_and_no_failure(sweep: SweepFolders) -> None:
    folder = sweep.runs / "rates/trial-00001"
    dataclasses.replace(read_result(folder), status="stopped early").write(folder)
    (section,) = Reader(location(sweep.runs), 1).look().sections
    assert [trial.state for trial in section.trials[:3]] == ["finished", "stopped early", "finished"]
    early = section.trials[1]
    assert (early.error, early.row and early.row.rank) == (None, 2)
    assert len(section.ranked) == 8
    assert len(section.of("failed")) == 1


def test_folds_are_sections_with_keys_of_their_own_and_a_mean_over_them(tmp_path: Path) -> None:
    folders = SweepFolders(tmp_path)
    for folds in (2, 3):
        for fold in range(folds):
            config = {"model": "fcn", "fold": fold, "folds": folds}
            folders.add(f"cv{folds}-fold-{fold}", dice=0.8 + fold / 10, split="kfold", config=config)
    folders.trial(5, "running", fold=0, folds=2)
    snapshot = Reader(location(folders.runs), 1).look()
    assert len({section.key for section in snapshot.sections}) == len(snapshot.sections) == 5
    assert [len(section.trials) for section in snapshot.sections] == [2, 1, 1, 1, 1]
    assert {(each.name, round(each.mean, 6), each.folds) for each in snapshot.cross_validations} == {
        ("cv2", 0.85, 2),
        ("cv3", 0.9, 3),
    }
