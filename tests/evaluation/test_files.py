import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from lvseg.evaluation import evaluate_frames, format_contour, to_csv, to_json, write_auto_contours, write_evaluation
from lvseg.slices import Contours
from lvseg.sources.contours import read_contour
from tests.evaluation.hearts import heart
from tests.evaluation.shapes import circle


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def missing_apex(index: int, phase: int, manual: Contours) -> Contours:
    return Contours() if index == 5 else manual


def test_contour_files_are_named_and_read_as_the_challenge_has_them(tmp_path: Path) -> None:
    contours = Contours(endocardium=circle(100.26, 90, 20), epicardium=circle(100, 90, 26))
    written = write_auto_contours(tmp_path / "SC-N-2", 48, contours)
    assert [path.name for path in written] == ["IM-0001-0048-icontour-auto.txt", "IM-0001-0048-ocontour-auto.txt"]
    np.testing.assert_allclose(read_contour(written[0]), contours.endocardium, atol=0.0006)
    assert all(re.fullmatch(r"\d+\.\d+ \d+\.\d+", line) for line in written[0].read_text().splitlines())
    assert write_auto_contours(tmp_path, 1048, Contours()) == []


def test_a_contour_file_ends_its_last_line() -> None:
    assert format_contour(np.array([(120.5, 137.0), (121.125, 136)])) == "120.500 137.000\n121.125 136.000\n"


def test_tables_and_plots(tmp_path: Path) -> None:
    evaluation = evaluate_frames([*heart("SC-N-2", "N", missing_apex), *heart("SC-N-3")])
    files = write_evaluation(evaluation, tmp_path, "evaluation-val")
    assert [path.name for path in files] == [
        "evaluation-val-images.csv",
        "evaluation-val-patients.csv",
        "evaluation-val-volumes.csv",
        "evaluation-val-agreement.png",
    ]
    images, patients, volumes = (rows(path) for path in files[:3])
    assert len(images) == 36
    first, last = images[0], next(row for row in images if row["slice_index"] == "5")
    assert (first["structure"], first["phase"], first["level"], first["dice"]) == ("endocardium", "ED", "base", "1")
    assert (last["detected"], last["dice"], last["apd"]) == ("False", "0", "")
    assert [(row["case_id"], row["structure"]) for row in patients][:2] == [
        ("SC-N-2", "endocardium"),
        ("SC-N-2", "epicardium"),
    ]
    assert float(volumes[1]["manual_edv_ml"]) == pytest.approx(evaluation.volumes[1].manual.edv_ml, rel=1e-5)


def test_without_volumes_there_are_no_files_of_them(tmp_path: Path) -> None:
    evaluation = evaluate_frames(heart(pixel_spacing=None))
    assert len(write_evaluation(evaluation, tmp_path)) == 2


def test_json_has_null_for_what_is_not_defined() -> None:
    content = json.loads(to_json(evaluate_frames(heart(auto=missing_apex))))
    assert (content["unit"], content["threshold"]) == ("mm", 5.0)
    assert [image["score"]["apd"] for image in content["images"] if not image["detected"]] == [None, None, None]
    assert content["strata"][0]["over_patients"]["dice_good"] == {"mean": 1.0, "sd": None, "patients": 1}


def test_a_table_of_nothing_is_empty() -> None:
    assert to_csv([]).strip() == ""
