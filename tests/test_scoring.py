"""``lvseg evaluate`` on contour files: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lvseg import cli
from lvseg.evaluation import write_auto_contours
from lvseg.slices import Contours
from tests.sources.conftest import Cine


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Automatic contours a pixel of 1.5 mm wider than the manual ones, which lie beside the images; no apex."""
    cine, auto, source = Cine(slices=3, phases=4), tmp_path / "auto", tmp_path / "source"
    cine.write_images(source / "dicoms/PHANTOM0001")
    cine.write_contours(source / "contourfiles/SC-HYP-1")
    (source / "link.csv").write_text("patient_id,original_id\nPHANTOM0001,SC-HYP-1\n")
    for index, phase in cine.labelled():
        if index < 2:
            wider = Contours(endocardium=np.array(cine.outline(index, phase, margin=1)))
            write_auto_contours(auto / "SC-HYP-1", cine.number(index, phase), wider)
    return auto, source


def test_tables_and_files(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    auto, source = folders
    out = tmp_path / "scores"
    assert cli.main(["evaluate", "--auto", str(auto), "--dicom", str(source), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "endocardium, good: APD < 5 mm" in text
    (line,) = [line.split() for line in text.splitlines() if line.split()[:2] == ["SC-HYP-1", "6"]]
    assert line[:4] == ["SC-HYP-1", "6", "66.7", "66.7"]
    assert float(line[6]) == pytest.approx(1.5, abs=0.2)
    assert "EF %" in text
    content = json.loads((out / "evaluation.json").read_text())
    assert {image["structure"] for image in content["images"]} == {"endocardium", "epicardium"}
    assert sorted(path.name for path in out.iterdir()) == [
        "evaluation-agreement.png",
        "evaluation-images.csv",
        "evaluation-patients.csv",
        "evaluation-volumes.csv",
        "evaluation.json",
    ]


def test_without_out_nothing_is_written(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    auto, source = folders
    before = sorted(tmp_path.rglob("*"))
    manual = source / "contourfiles"
    args = ["evaluate", "--auto", auto, "--manual", manual, "--dicom", source / "dicoms", "--threshold", "1"]
    assert cli.main([str(arg) for arg in args]) == 0
    assert "good: APD < 1 mm" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("args", [[], ["run"], ["--auto", "a"], ["--dicom", "d"], ["run", "records", "--auto", "a"]])
def test_neither_a_run_nor_contours(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", *args]) == 2
    assert "evaluate takes either RUN RECORDS, or --auto DIR --dicom DIR" in capsys.readouterr().err
