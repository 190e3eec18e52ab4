"""Each layout's tree is as users have it, and all of them show the same hearts."""

import csv
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from lvseg.errors import ConfigError
from lvseg.phantom import write_phantom
from lvseg.phantom.layout import official_case
from lvseg.rasterize import label_mask, rasterize
from lvseg.slices import CAVITY, MYOCARDIUM, Contours
from lvseg.sources.cases import OFFICIAL_PARTS, SAX_SERIES

SIZES: dict[str, Any] = {"patients": 3, "size": 64, "slices": 3, "phases": 4}

PATTERNS = {
    "linked": (
        r"dicoms/PHANTOM\d{4}/\d+\.dcm",
        r"contourfiles/PH-(N|HYP|HF)-\d/(i|o|p)-contours/IM-0001-\d{4}-(i|o|p1|p2)contour-manual\.txt",
        r"link\.csv",
    ),
    "challenge": (
        r"challenge_(training|validation|online)/SC-[A-Z-]+-\d+/IM-\d{4}-\d{4}\.dcm",
        r"Sunnybrook Cardiac MR Database ContoursPart(3/Training|2/Validation|1/Online)DataContours/SC-[A-Z-]+-\d\d/"
        r"contours-manual/IRCCI-expert/IM-0001-\d{4}-(i|o|p1|p2)contour-manual\.txt",
    ),
    "cap": (
        r"SCD_IMAGES_01/SCD0000\d01/CINE(SAX_300/IM-0003|LAX_299/IM-0002)-\d{4}\.dcm",
        r"SCD_ManualContours/SC-[A-Z-]+-\d\d/contours-manual/IRCCI-expert/IM-0001-\d{4}-(i|o|p1|p2)contour-manual\.txt",
        r"scd_patientdata\.csv",
    ),
    "pairs": (r"(images|masks)/PH-(N|HYP|HF)-\d-IM-0001-\d{4}\.png",),
    "segmentation": (r"PH-(N|HYP|HF)-\d/SAX_300/\d{4}\.dcm", r"PH-(N|HYP|HF)-\d/SEG_400/\d{4}\.dcm"),
}


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_truth(folder: Path) -> dict[str, Any]:
    truth: dict[str, Any] = json.loads((folder / "truth.json").read_text())
    return truth


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("layouts")
    for layout in PATTERNS:
        write_phantom(out / layout, **SIZES, layout=layout)
    return {layout: out / layout for layout in PATTERNS}


@pytest.mark.parametrize("layout", PATTERNS)
def test_every_file_is_where_users_have_it(trees: dict[str, Path], layout: str) -> None:
    files = hashes(trees[layout])
    files.pop("truth.json")
    assert files
    for file in files:
        assert any(re.fullmatch(pattern, file) for pattern in PATTERNS[layout]), file
    for pattern in PATTERNS[layout]:
        assert any(re.fullmatch(pattern, file) for file in files), pattern


@pytest.mark.parametrize("layout", PATTERNS)
def test_truth_says_what_it_is(trees: dict[str, Path], layout: str) -> None:
    truth = read_truth(trees[layout])
    assert (truth["phantom"], truth["layout"], truth["traps"]) == (True, layout, [])
    names = [image["name"] for patient in truth["patients"] for image in patient["images"]]
    assert len(names) == len(set(names)) > 10
    for patient in truth["patients"]:
        assert all(image["name"].startswith(f"{patient['original_id']}-IM-") for image in patient["images"])


@pytest.mark.parametrize("layout", ["challenge", "segmentation"])
def test_same_arguments_give_the_same_bytes(trees: dict[str, Path], tmp_path: Path, layout: str) -> None:
    write_phantom(tmp_path / "again", **SIZES, layout=layout)
    assert hashes(tmp_path / "again") == hashes(trees[layout])


def test_challenge_has_official_names_and_numbers(trees: dict[str, Path]) -> None:
    for patient in read_truth(trees["challenge"])["patients"]:
        case_id = patient["original_id"]
        (part,) = (part for part, ids in OFFICIAL_PARTS.items() if case_id in ids)
        folder = trees["challenge"] / f"challenge_{part}" / case_id
        series = {int(path.name.split("-")[1]) for path in folder.iterdir()}
        number = SAX_SERIES[case_id][0]
        assert series == {number - 2, number - 1, number}
        for path in folder.iterdir():
            header = pydicom.dcmread(path, stop_before_pixels=True)
            assert f"IM-{header.SeriesNumber:04d}-{header.InstanceNumber:04d}.dcm" == path.name


def test_other_series_lie_in_other_planes(trees: dict[str, Path]) -> None:
    case_id = read_truth(trees["challenge"])["patients"][0]["original_id"]
    number = SAX_SERIES[case_id][0]
    folder = next(trees["challenge"].glob(f"challenge_*/{case_id}"))
    series = {
        step: [pydicom.dcmread(path) for path in sorted(folder.glob(f"IM-{number + step:04d}-*.dcm"))]
        for step in (-2, -1, 0)
    }
    assert [len(series[step]) for step in (-2, -1, 0)] == [3, SIZES["phases"], SIZES["slices"] * SIZES["phases"]]
    assert len({image.SeriesInstanceUID for images in series.values() for image in images}) == 3
    normals = {
        step: np.cross(*np.array(images[0].ImageOrientationPatient, float).reshape(2, 3))
        for step, images in series.items()
    }
    assert abs(normals[0] @ normals[-1]) < 0.1
    assert len({tuple(image.ImageOrientationPatient) for image in series[-2]}) == 3
    assert all(image.pixel_array.max() > 100 for images in series.values() for image in images)


def test_official_cases_are_all_there_and_mixed() -> None:
    cases = [official_case(number) for number in range(1, 46)]
    assert {case_id for _, case_id, _ in cases} == {case_id for ids in OFFICIAL_PARTS.values() for case_id in ids}
    assert all(case_id in OFFICIAL_PARTS[part] for part, case_id, _ in cases)
    assert {part for part, _, _ in cases[:3]} == set(OFFICIAL_PARTS)
    assert {group for _, _, group in cases[:6]} == {"N", "HYP", "HF-NI", "HF-I"}


def test_cap_table_and_folders(trees: dict[str, Path]) -> None:
    with (trees["cap"] / "scd_patientdata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["PatientID", "OriginalID", "Gender", "Age", "Pathology"]
    patients = read_truth(trees["cap"])["patients"]
    assert [(row["PatientID"], row["OriginalID"]) for row in rows] == [
        (patient["patient_id"], patient["original_id"]) for patient in patients
    ]
    header = pydicom.dcmread(next((trees["cap"] / "SCD_IMAGES_01/SCD0000101/CINESAX_300").iterdir()))
    assert (header.PatientID, header.SeriesNumber) == ("SCD0000101", 300)


def linked_image(trees: dict[str, Path], patient: int, number: int) -> pydicom.Dataset:
    return pydicom.dcmread(trees["linked"] / "dicoms" / f"PHANTOM{patient:04d}" / f"{number}.dcm")


def linked_contours(trees: dict[str, Path], case_id: str, number: int) -> Contours:
    folder = trees["linked"] / "contourfiles" / case_id
    points = {
        kind: np.loadtxt(path)
        for kind in "io"
        if (path := folder / f"{kind}-contours" / f"IM-0001-{number:04d}-{kind}contour-manual.txt").exists()
    }
    return Contours(endocardium=points["i"], epicardium=points.get("o"))


@pytest.mark.parametrize("kind", ["png", "tiff", "npy"])
def test_pairs_hold_the_same_pixels_and_masks(trees: dict[str, Path], tmp_path: Path, kind: str) -> None:
    folder = trees["pairs"] if kind == "png" else tmp_path / kind
    if kind != "png":
        write_phantom(folder, **SIZES, layout="pairs", pair_format=kind)
    images = 0
    for number, patient in enumerate(read_truth(folder)["patients"], start=1):
        for image in patient["images"]:
            pixels, mask = (read_picture(folder / part / f"{image['name']}.{kind}") for part in ("images", "masks"))
            assert np.array_equal(pixels, linked_image(trees, number, image["image_number"]).pixel_array)
            contour = linked_contours(trees, patient["original_id"], image["image_number"]).endocardium
            assert np.array_equal(mask, rasterize(np.asarray(contour), (64, 64), "centre") * 255)
            images += 1
    assert images == len(list((folder / "images").iterdir())) == len(list((folder / "masks").iterdir()))


def read_picture(path: Path) -> np.ndarray:
    return np.load(path) if path.suffix == ".npy" else np.asarray(Image.open(path))


def test_nifti_holds_the_cine_in_its_place(trees: dict[str, Path], tmp_path: Path) -> None:
    write_phantom(tmp_path / "nifti", **SIZES, layout="pairs", pair_format="nifti")
    patient = read_truth(tmp_path / "nifti")["patients"][0]
    cine, mask = (nibabel.load(tmp_path / "nifti" / part / "PH-N-1.nii.gz") for part in ("images", "masks"))
    assert cine.shape == mask.shape == (64, 64, SIZES["slices"], SIZES["phases"])
    labels = np.asarray(mask.dataobj)
    assert set(np.flatnonzero(labels.any(axis=(0, 1, 2)))) == {patient["ed_phase"], patient["es_phase"]}
    for image in patient["images"]:
        place = image["slice_index"], image["phase_index"]
        dicom = linked_image(trees, 1, image["image_number"])
        assert np.array_equal(np.asarray(cine.dataobj)[(..., *place)].T, dicom.pixel_array)
        corner = cine.affine @ [0, 0, image["slice_index"], 1]
        assert corner[:3] * [-1, -1, 1] == pytest.approx(np.array(dicom.ImagePositionPatient, float), abs=1e-3)
        contours = linked_contours(trees, "PH-N-1", image["image_number"])
        drawn = label_mask(contours, (64, 64), "centre", "endo" if contours.epicardium is None else "endo+myo")
        found = labels[(..., *place)].T
        assert np.array_equal(found == CAVITY, drawn == CAVITY)
        if contours.epicardium is not None:
            assert np.array_equal(found, drawn)
        assert (found == MYOCARDIUM).any()


def test_nifti_of_labelled_phases_only(trees: dict[str, Path], tmp_path: Path) -> None:
    write_phantom(tmp_path / "out", **SIZES, layout="pairs", pair_format="nifti", labelled_only=True)
    names = {path.name for path in (tmp_path / "out" / "images").iterdir()}
    assert names == {path.name for path in (tmp_path / "out" / "masks").iterdir()}
    assert {name for name in names if "HF" in name} == {"PH-HF-3_ED.nii.gz", "PH-HF-3_ES.nii.gz"}
    volume = np.asarray(nibabel.load(tmp_path / "out" / "images" / "PH-HF-3_ED.nii.gz").dataobj)
    assert np.array_equal(volume[..., 1].T, linked_image(trees, 3, SIZES["phases"] + 1).pixel_array)
    truth = read_truth(tmp_path / "out")["patients"][2]["images"]
    assert truth[0]["name"] == "PH-HF-3_ED-s00"


def test_dicom_seg_holds_the_masks(trees: dict[str, Path]) -> None:
    import highdicom

    for number, patient in enumerate(read_truth(trees["segmentation"])["patients"], start=1):
        folder = trees["segmentation"] / patient["original_id"]
        segs = [highdicom.seg.segread(path) for path in sorted((folder / "SEG_400").iterdir())]
        assert [seg.InstanceNumber - 1 for seg in segs] == sorted([patient["ed_phase"], patient["es_phase"]])
        for image in patient["images"]:
            dicom = pydicom.dcmread(folder / "SAX_300" / f"{image['image_number']:04d}.dcm")
            assert np.array_equal(dicom.pixel_array, linked_image(trees, number, image["image_number"]).pixel_array)
            (seg,) = (seg for seg in segs if seg.InstanceNumber - 1 == image["phase_index"])
            frames = seg.get_pixels_by_source_instance([dicom.SOPInstanceUID], combine_segments=True)
            contours = linked_contours(trees, patient["original_id"], image["image_number"])
            structures = "endo" if contours.epicardium is None else "endo+myo"
            assert np.array_equal(frames[0], label_mask(contours, (64, 64), "centre", structures))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layout": "cap", "patients": 46}, "patients must be from 1 to 45 in the layout cap, got 46"),
        ({"layout": "course"}, "layout must be one of .* got 'course'"),
    ],
)
def test_what_a_layout_cannot_hold_is_named(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_phantom(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()
