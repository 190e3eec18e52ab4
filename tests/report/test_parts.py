"""Sweeps, patients, evaluations and views on the page."""

import base64
import json
import re
import shutil

import cv2
import numpy as np

from lvseg.leaderboard import View, build
from lvseg.ledger import report
from lvseg.report import render_page
from lvseg.report.extremes import find_picture
from lvseg.report.patients import tabulate_patients
from lvseg.report.sweeps import MOST_PLOTS, view_sweeps
from lvseg.results import extremes_path, picture_path, read_result
from tests.leaderboard.test_gather import scores


def add_sweep(folders, trials: int = 4) -> None:
    for number in range(trials):
        settings = {
            "model": "unet" if number % 2 else "fcn",
            "learning_rate": 10.0**-number,
            "decay_rate": 0.9,
            "name$": f"${number}$",
            "workers": number,
        }
        folders.add(f"trial-{number}", dice=0.5 + number / 10, epochs=3, sweep="rates", config=settings)
    folders.add_failed("trial-bad", "out of memory")


def test_a_sweep_shows_what_it_varied_and_its_best_trial(folders) -> None:
    add_sweep(folders)
    board = build(folders.runs)
    (sweep,) = view_sweeps(board.groups[0].rows, board.failed, "0")
    assert (sweep.name, sweep.finished, sweep.best.result.name) == ("rates", 4, "trial-3")
    assert sweep.varied == {"model": "unet", "learning_rate": 1e-3, "name$": "$3$"}
    assert [setting for setting, _ in sweep.plots] == list(sweep.varied)
    assert all(plot.startswith("<svg") for _, plot in sweep.plots)
    text = render_page(board)
    assert "Sweep rates" in text
    assert "with model unet, learning_rate 0.001, name$ $3$." in text


def test_a_larger_sweep_says_what_mattered(folders) -> None:
    for number in range(8):
        settings = {"model": "fcn", "learning_rate": 10.0**-number, "decay_rate": 0.9 + number % 2 / 10}
        folders.add(f"trial-{number}", dice=0.5 + number / 20, epochs=2, sweep="rates", config=settings)
    (sweep,) = view_sweeps(build(folders.runs).groups[0].rows, [], "0")
    assert [importance.setting for importance in sweep.importance] == ["learning_rate", "decay_rate"]
    text = render_page(build(folders.runs))
    share = round(100 * sweep.importance[0].share)
    assert f'{share} % <span class="muted">lower is better' in text[text.index("What mattered") :]


def test_of_a_sweep_all_trials_are_told_when_few_are_in_the_table(folders) -> None:
    for number in range(8):
        settings = {"model": "fcn", "learning_rate": 10.0**-number, "decay_rate": 0.9 + number % 2 / 10}
        folders.add(f"trial-{number}", dice=0.5 + number / 20, epochs=2, sweep="rates", config=settings)
    text = render_page(build(folders.runs, View(top=2)))
    assert "6 more runs not shown." in text
    assert "8 trials finished" in text
    assert "What mattered" in text


def test_the_settings_that_mattered_most_are_drawn_and_the_others_counted(folders) -> None:
    for number in range(12):
        noise = {f"setting_{other}": number * (other + 3) % 13 for other in range(MOST_PLOTS + 1)}
        settings = {"model": "fcn", **noise, "learning_rate": 10.0**-number}
        folders.add(f"trial-{number}", dice=0.3 + number / 20, epochs=2, sweep="rates", config=settings)
    (sweep,) = view_sweeps(build(folders.runs).groups[0].rows, [], "0")
    assert sweep.plots[0][0] == "learning_rate"
    assert [setting for setting, _ in sweep.plots] == [found.setting for found in sweep.importance[:MOST_PLOTS]]
    assert sweep.left_out == 2
    assert "2 more settings, of less importance, not drawn." in render_page(build(folders.runs))


def test_few_values_stand_at_the_axis_where_there_is_room(folders) -> None:
    for number in range(5):
        settings = {"model": "fcn", "batch_size": 2**number, "learning_rate": 0.00102318 + number * 0.000111}
        folders.add(f"trial-{number}", dice=0.3 + number / 20, epochs=2, sweep="rates", config=settings)
    (sweep,) = view_sweeps(build(folders.runs).groups[0].rows, [], "0")
    drawn = dict(sweep.plots)
    assert all(f">{2**number}</text>" in drawn["batch_size"] for number in range(5))
    assert ">0.00102318</text>" not in drawn["learning_rate"]


def test_columns_are_explained_where_they_are_shown(folders) -> None:
    folders.add("one", epochs=3)
    assert "Wilcoxon" not in render_page(build(folders.runs))
    folders.add("two", epochs=3, val_dice_by_case={f"SC-HF-I-{case}": 0.5 for case in range(1, 6)})
    assert "Wilcoxon" in render_page(build(folders.runs))


def test_two_trials_are_no_sweep_to_look_at(folders) -> None:
    add_sweep(folders, trials=2)
    board = build(folders.runs)
    assert view_sweeps(board.groups[0].rows, board.failed, "0") == []


def test_patients_are_in_the_order_of_their_scores_over_the_runs(folders) -> None:
    folders.add("one", dice=0.9, val_dice_by_case={"A": 0.9, "B": 0.7, "C": float("nan")})
    folders.add("two", dice=0.8, val_dice_by_case={"A": 0.5, "B": 0.8, "D": 0.1})
    table = tabulate_patients(build(folders.runs).groups[0].rows)
    assert [row.name for row in table.runs] == ["one", "two"]
    assert table.lines == [("D", [None, 0.1]), ("A", [0.9, 0.5]), ("B", [0.7, 0.8]), ("C", [None, None])]
    assert "Dice by patient" in render_page(build(folders.runs))


def test_what_all_runs_share_is_no_column(folders) -> None:
    for name, steps in (("one", 100), ("two", 200)):
        folders.add(name, epochs=3, config={"batch_size": 4, "decay_steps": steps})
    text = render_page(build(folders.runs))
    head = text[text.index("<thead>") : text.index("</thead>")]
    assert ">steps<" in head
    assert ">batch<" not in head
    assert "batch size 4" in text


def test_lowest_and_highest_predictions_of_an_evaluation_are_shown(folders) -> None:
    folder = folders.add("one", epochs=3)
    images = [{"name": f"I-{number}", "dice": dice} for number, dice in enumerate([0.5, None, 0.1, 0.9, 0.1, 0.7, 0.8])]
    content = {"records_sha256": read_result(folder).records_sha256, "images": images}
    (folder / "evaluation-val.json").write_text(json.dumps(content))
    for which in ("worst", "best"):
        shutil.copy(picture_path(folder, 3), extremes_path(folder, "val", which))
    text = render_page(build(folders.runs))
    assert text.count("data:image/webp") == 3
    ends = text[text.index("Lowest Dice") :]
    assert [ends.index(f"{dice:.4f} {name}") for dice, name in ((0.1, "I-2"), (0.1, "I-4"), (0.5, "I-0"), (0.7, "I-5"))]
    assert ends.index("0.1000 I-2") < ends.index("0.1000 I-4") < ends.index("0.9000 I-3") < ends.index("0.8000 I-6")
    (folder / "evaluation-val.json").write_text(json.dumps(content | {"records_sha256": "other"}))
    assert "Lowest Dice" not in render_page(build(folders.runs))
    (folder / "evaluation-val.json").write_text("{")
    assert "Lowest Dice" not in render_page(build(folders.runs))


def test_evaluations_have_a_table_without_curves_and_are_no_runs(folders) -> None:
    folder = folders.add("one", epochs=3)
    report(folder, None, evaluation=scores())
    text = render_page(build(folders.runs))
    assert "1 run finished;" in text
    assert "7 images of part test, evaluated" in text
    assert text.count("Dice by epoch</figcaption>") == 1


def test_a_view_applies_to_the_page(folders) -> None:
    for number in range(3):
        folders.add(f"run-{number}", dice=0.5 + number / 10, epochs=3)
    text = render_page(build(folders.runs, View(top=1)))
    assert "2 more runs not shown." in text
    assert "run-0" not in text


def test_a_page_of_failed_runs_only(folders) -> None:
    folders.add_failed("bad", "the cause")
    text = render_page(build(folders.runs, allow_empty=True))
    assert '0 runs finished, <a href="#failed">1 failed</a>; the last ended' in text
    assert "the cause" in text


def test_trials_that_were_stopped_early_are_told_apart(folders) -> None:
    for number in range(4):
        status = "finished" if number > 1 else "stopped early"
        config = {"model": "fcn", "ema": None if number else 0.99}
        folders.add(f"trial-{number}", dice=0.5 + number / 10, epochs=2, sweep="rates", status=status, config=config)
    board = build(folders.runs)
    (sweep,) = view_sweeps(board.groups[0].rows, [], "0")
    assert (sweep.finished, sweep.early) == (2, 2)
    ((_, plot),) = sweep.plots
    assert plot.count("fill: none; stroke: #8c939d") >= 2, "hollow"
    assert "None" not in plot
    text = render_page(board)
    assert "2 runs finished, 2 stopped early;" in text
    assert "2 trials finished, 2 stopped early" in text
    board_rows = re.findall(r"<tr>.*?</tr>", text[text.index('class="board"') :], flags=re.DOTALL)[:5]
    assert ["stopped early" in row for row in board_rows] == [False, False, False, True, True]
    assert "with ema –." in text


def test_a_cross_validation_has_a_table_of_its_own(folders) -> None:
    for fold in range(3):
        config = {"model": "unet", "fold": fold, "folds": 4}
        folders.add(f"cv-fold-{fold}", dice=0.7 + fold / 10, epochs=2, model="unet", split="kfold", config=config)
        other = config | {"model": "fcn"}
        folders.add(f"low-fold-{fold}", dice=0.1, epochs=2, model="fcn", split="kfold", config=other)
    text = render_page(build(folders.runs, View(top=1)))
    table = text[text.index("Cross-validation") : text.index("sample standard deviation")]
    assert "<b>0.8000</b> ± 0.1000" in table
    assert re.findall(r">(0\.\d{4})</td>", table) == ["0.7000", "0.8000", "0.9000", *["0.1000"] * 3]
    assert "cv: 3 of 4 folds have finished." in text


def test_pictures_are_small_enough_to_send(folders) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 72, 1), dtype=np.uint8)
    folder = folders.add("one", epochs=3)
    picture = cv2.cvtColor(cv2.resize(noise, (576, 768), interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    cv2.imwrite(str(picture_path(folder, 3)), picture)
    found = find_picture(folder)
    assert found is not None
    content = base64.b64decode(found.uri.partition("base64,")[2])
    assert len(content) < picture_path(folder, 3).stat().st_size / 2
    shown = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(shown.astype(int) - picture).mean() < 4
