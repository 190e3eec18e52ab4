"""Contours of any tree with their images: the phantom's layouts, one's own folders, and what can be missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lvseg.errors import SourceError
from lvseg.evaluation import contour_from_mask, evaluate_frames, write_auto_contours
from lvseg.phantom import write_phantom
from lvseg.phantom.write import AREA_TOLERANCE, EF_TOLERANCE
from lvseg.rasterize import rasterize
from lvseg.slices import Contours
from lvseg.sources.contour_trees import read_contour_trees
from lvseg.sources.contours import read_contour
from tests.sources.conftest import Cine, write_contour

PATIENTS, SIZE = 2, 128


@pytest.fixture(scope="module", params=["linked", "challenge", "cap"])
def phantom(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / request.param
    write_phantom(folder, patients=PATIENTS, size=SIZE, slices=6, phases=8, labelled_only=True, layout=request.param)
    return folder


def case_of(path: Path) -> str:
    """Case id of a phantom's contour file."""
    return next(part for part in reversed(path.parts) if part.startswith(("PH-", "SC-")))


@pytest.fixture(scope="module")
def auto(phantom: Path) -> Path:
    """The manual contours made into masks and back, in folders of canonical ids."""
    folder = phantom.parent / "auto"
    for path in sorted(phantom.rglob("*contour-manual.txt")):
        kind = path.name.split("-")[3][0]
        if kind in "io":
            mask = rasterize(read_contour(path), (SIZE, SIZE), "centre")
            name = "endocardium" if kind == "i" else "epicardium"
            contours = Contours(**{name: contour_from_mask(mask, "centre")})
            write_auto_contours(folder / case_of(path), int(path.name.split("-")[2]), contours)
    return folder


def test_every_layout(phantom: Path, auto: Path) -> None:
    truth = json.loads((phantom / "truth.json").read_text())["patients"]
    trees = read_contour_trees(auto, phantom, phantom)
    assert (trees.unscored, trees.without_auto, trees.skipped) == (0, (), ())
    places = {frame.name: (frame.place.slice_index, frame.place.phase_index) for frame in trees.frames}
    assert places == {i["name"]: (i["slice_index"], i["phase_index"]) for patient in truth for i in patient["images"]}
    evaluation = evaluate_frames(trees.frames)
    assert evaluation.unit == "mm"
    assert {p.good_percent for p in evaluation.patients} == {100}
    assert min(p.dice_all for p in evaluation.patients) > 0.93
    assert len(evaluation.patients) == 2 * PATIENTS
    volumes = {found.case_id: found for found in evaluation.volumes}
    assert len(volumes) == PATIENTS
    for patient in truth:
        found = volumes[patient["original_id"]]
        assert found.group == patient["group"]
        assert (found.ed_phase, found.es_phase) == (patient["ed_phase"], patient["es_phase"])
        for side in (found.manual, found.auto):
            assert side.edv_ml == pytest.approx(patient["edv_ml"], rel=AREA_TOLERANCE)
            assert side.esv_ml == pytest.approx(patient["esv_ml"], rel=AREA_TOLERANCE)
            assert side.ejection_fraction == pytest.approx(patient["ejection_fraction"], abs=2 * EF_TOLERANCE)
            assert side.mass_g == pytest.approx(patient["lv_mass_g"], rel=AREA_TOLERANCE)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Automatic contours, manual ones, images of two patients; folders of padded and unpadded ids."""
    auto, manual, dicom = tmp_path / "auto", tmp_path / "manual", tmp_path / "images"
    for case, padded, centre in (("SC-N-2", "SC-N-02", (24, 22)), ("SC-N-3", "SC-N-03", (25, 21))):
        cine = Cine(slices=3, phases=6, centre=centre)
        cine.write_images(dicom / case)
        for index, phase in cine.labelled():
            number, outline = cine.number(index, phase), cine.outline(index, phase)
            expert = manual / padded / "contours-manual/IRCCI-expert"
            write_contour(expert / f"IM-0001-{number:04d}-icontour-manual.txt", outline)
            program = auto / padded / "contours-auto/FULL"
            write_contour(program / f"IM-0001-{number:04d}-icontour-auto.txt", outline)
    return auto, manual, dicom


def test_slices_phases_and_spacings_come_from_the_headers(folders: tuple[Path, Path, Path]) -> None:
    trees = read_contour_trees(*folders)
    assert len(trees.frames) == 2 * 6
    frame = next(frame for frame in trees.frames if frame.name == "SC-N-3-IM-0001-0010")
    assert (frame.place.slice_index, frame.place.phase_index) == (1, 3)
    assert frame.place.pixel_spacing == (1.5, 1.5)
    assert frame.place.image_position_patient == (0, 0, -8)
    assert (frame.group, frame.manual.epicardium) == ("N", None)
    np.testing.assert_array_equal(frame.auto.endocardium, frame.manual.endocardium)


def test_one_patient_needs_no_names(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    auto, manual, dicom = (tmp_path / name for name in ("program", "expert", "scan"))
    for source, target in zip(folders, (auto, manual, dicom), strict=True):
        target.mkdir()
        for path in source.rglob("*.*"):
            if "SC-N-2" in str(path) or "SC-N-02" in str(path):
                shutil.copy(path, target)
    trees = read_contour_trees(auto, manual, dicom)
    assert len(trees.frames) == 6
    assert trees.frames[0].case_id.startswith("P-")  # a folder's name may be a person's


def test_names_that_are_not_public_become_pseudonyms(folders: tuple[Path, Path, Path]) -> None:
    for folder in folders:
        for path in list(folder.iterdir()):
            path.rename(folder / path.name.replace("SC-N-02", "Doe^Jane").replace("SC-N-2", "Doe^Jane"))
    trees = read_contour_trees(*folders)
    cases = {frame.case_id for frame in trees.frames}
    assert len(cases) == 2
    assert "SC-N-3" in cases
    assert not [frame for frame in trees.frames if "Doe" in frame.name + frame.case_id]


def test_a_second_experts_contours_are_taken_where_there_are_no_automatic_ones(
    folders: tuple[Path, Path, Path],
) -> None:
    _, manual, dicom = folders
    assert len(read_contour_trees(manual, manual, dicom).frames) == 12


def test_missing_and_empty_and_broken_automatic_contours(folders: tuple[Path, Path, Path]) -> None:
    auto, manual, dicom = folders
    files = sorted((auto / "SC-N-02").rglob("*.txt"))
    files[0].unlink()
    files[1].write_text("")
    files[2].write_text("1 2\n3 4\n")
    files[3].rename(files[3].with_name("IM-0001-0002-icontour-auto.txt"))
    shutil.rmtree(auto / "SC-N-03")
    trees = read_contour_trees(auto, manual, dicom)
    assert trees.without_auto == ("SC-N-3",)
    assert trees.unscored == 1
    assert [skip.reason for skip in trees.skipped] == [
        "SC-N-2: expected at least three points, found 0",
        "SC-N-2: expected at least three points, found 2",
    ]
    evaluation = evaluate_frames(trees.frames, unscored=trees.unscored)
    (patient,) = evaluation.patients
    assert (patient.contours, patient.detected_percent) == (6, pytest.approx(100 / 3))


def test_a_manual_contour_without_image_is_left_out(folders: tuple[Path, Path, Path]) -> None:
    auto, manual, dicom = folders
    Path(dicom / "SC-N-2/IM-0004-0010.dcm").unlink()
    trees = read_contour_trees(auto, manual, dicom)
    assert len(trees.frames) == 11
    (skip,) = trees.skipped
    assert skip.reason == "SC-N-2: contour without image, no image numbered 10"


@pytest.mark.parametrize(("which", "what"), [(0, "automatic contours"), (1, "manual contours"), (2, "DICOM images")])
def test_a_folder_without_its_files_is_named(folders: tuple[Path, Path, Path], which: int, what: str) -> None:
    empty = folders[0].parent / "empty"
    empty.mkdir()
    chosen = [*folders]
    chosen[which] = empty
    with pytest.raises(SourceError, match=f"empty: no {what}"):
        read_contour_trees(*chosen)
    chosen[which] = empty / "none"
    with pytest.raises(SourceError, match="no such folder"):
        read_contour_trees(*chosen)


def test_patients_of_other_names_are_not_mixed(folders: tuple[Path, Path, Path]) -> None:
    auto, manual, dicom = folders
    for path in list(dicom.iterdir()):
        path.rename(dicom / path.name.replace("SC-N-", "SC-HYP-"))
    with pytest.raises(SourceError, match=r"no patient has images, manual and automatic contours under one name"):
        read_contour_trees(auto, manual, dicom)


def test_two_patients_of_the_challenge_are_never_taken_for_one(folders: tuple[Path, Path, Path]) -> None:
    auto, manual, dicom = folders
    for path in (auto / "SC-N-02", manual / "SC-N-03", dicom / "SC-N-2"):
        shutil.rmtree(path)
    with pytest.raises(SourceError, match="no patient has images, manual and automatic contours"):
        read_contour_trees(auto, manual, dicom)  # of SC-N-3, SC-N-2, SC-N-3


def test_contours_of_other_patients_and_second_ones_are_counted_and_listed(folders: tuple[Path, Path, Path]) -> None:
    auto, manual, dicom = folders
    shutil.rmtree(manual / "SC-N-03")
    shutil.copytree(auto / "SC-N-02/contours-auto/FULL", auto / "SC-N-02/contours-auto/HALF")
    trees = read_contour_trees(auto, manual, dicom)
    assert {frame.case_id for frame in trees.frames} == {"SC-N-2"}
    assert trees.unscored == 6
    assert len(trees.skipped) == 6
    assert trees.skipped[0].reason == "SC-N-2: a second contour of the same image, in another folder"
