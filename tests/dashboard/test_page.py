"""What stands in the page's head and in the panel."""

import dataclasses
from pathlib import Path

from lvseg.dashboard.page import panel, section_options, summary
from lvseg.dashboard.trials import Reader, Snapshot
from lvseg.store import location
from lvseg.training.status import RunProgress, write_progress
from tests.dashboard.conftest import SweepFolders


def look(folders: SweepFolders) -> Snapshot:
    return Reader(location(folders.runs), 1).look()


def words(parts: object) -> str:
    """The text of a part of the page."""
    if isinstance(parts, list | tuple):
        return "".join(map(words, parts))
    return parts if isinstance(parts, str) else words(getattr(parts, "children", None) or "")


def add_folds(folders: SweepFolders, name: str, folds: int) -> None:
    for fold in range(folds):
        config = {"model": "fcn", "fold": fold, "folds": folds}
        folders.add(f"{name}-fold-{fold}", dice=0.8 + fold / 100, split="kfold", config=config)


def test_the_head_counts_the_whole_folder_and_lists_the_folds(tmp_path: Path) -> None:
    folders = SweepFolders(tmp_path)
    add_folds(folders, "cv", 3)
    folders.trial(5, "running", fold=0, folds=3)
    folders.trial(6, "failed", fold=1, folds=3)
    snapshot = look(folders)
    text = words(summary(snapshot, snapshot.sections[0]))
    assert "3 finished1 running1 failed" in text
    assert "0.8100 ± 0.0100 (mean ± SD, 3 folds: 0.800, 0.810, 0.820), cv" in text
    assert "best Dice" not in text, "scores of different folds do not compare"
    labels = [option["label"] for option in section_options(snapshot.sections)]
    assert sorted(label[label.rindex("(") :] for label in labels) == [
        "(1 run)",
        "(2 runs, 1 failed)",
        "(2 runs, 1 running)",
    ]


def test_cross_validations_that_are_not_listed_are_counted(tmp_path: Path) -> None:
    folders = SweepFolders(tmp_path)
    for folds in range(2, 7):
        add_folds(folders, f"cv{folds}", folds)
    snapshot = look(folders)
    assert "2 more cross-validations" in words(summary(snapshot, snapshot.sections[0]))


def test_the_panel_says_how_far_a_run_is(sweep: SweepFolders) -> None:
    running = sweep.runs / "rates/trial-00008"
    write_progress(running, RunProgress(phase="validating", epochs=6, epochs_done=2, seconds_left=75))
    section = look(sweep).sections[0]
    assert "epoch 2 of 6, validating, 0:01:15 left" in words(panel(section, "rates/trial-00008"))
    assert "out of memory" in words(panel(section, "rates/trial-00009"))
    waiting = dataclasses.replace(section.of("running")[0], history=(), progress=None)
    assert "starting" in words(panel(dataclasses.replace(section, trials=(waiting,)), None))
