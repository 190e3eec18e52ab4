"""The phantom: what it writes is readable, repeatable, and agrees with its own truth."""

import csv
import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import MRImageStorage
from scipy.ndimage import binary_dilation
from skimage.draw import polygon2mask

from lvseg.errors import ConfigError, SourceError
from lvseg.phantom import PhantomSummary, write_phantom
from lvseg.phantom.anatomy import THETA, contraction, draw_anatomy, polygon_area, section
from lvseg.phantom.montage import write_montage
from lvseg.phantom.write import AREA_TOLERANCE, EF_TOLERANCE, contour_points

PATIENTS = 3


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> PhantomSummary:
    return write_phantom(tmp_path_factory.mktemp("phantom"), patients=PATIENTS, labelled_only=True)


@pytest.fixture(scope="module")
def patients(phantom: PhantomSummary) -> list[dict[str, Any]]:
    truth: dict[str, Any] = json.loads((phantom.out / "truth.json").read_text())
    return truth["patients"]


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_contour(phantom: PhantomSummary, patient: dict[str, Any], number: int, kind: str = "i") -> np.ndarray:
    folder = phantom.out / "contourfiles" / patient["original_id"] / f"{kind[0]}-contours"
    return np.loadtxt(folder / f"IM-0001-{number:04d}-{kind}contour-manual.txt")


def read_image(phantom: PhantomSummary, patient: dict[str, Any], number: int) -> pydicom.Dataset:
    return pydicom.dcmread(phantom.out / "dicoms" / patient["patient_id"] / f"{number}.dcm")


def mask_of(contour: np.ndarray, size: int = 256) -> np.ndarray:
    """Pixels whose centre is inside; the contour is 1-based (column, row)."""
    return polygon2mask((size, size), contour[:, ::-1] - 1)


def mean_mask_area(contour: np.ndarray) -> float:
    """Pixels inside; the lattice runs through pixel centres, so that a nudge each way decides those on the line."""
    nudges = [(x, y) for x in (-0.05, 0.05) for y in (-0.05, 0.05)]
    return float(np.mean([mask_of(contour + nudge).sum() for nudge in nudges]))


def test_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_phantom(tmp_path / name, patients=1, seed=5, size=64, slices=3, phases=4)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_another_seed_and_another_patient_give_another_heart(tmp_path: Path) -> None:
    write_phantom(tmp_path / "a", patients=4, seed=0, size=64, slices=3, phases=2)
    write_phantom(tmp_path / "b", patients=1, seed=1, size=64, slices=3, phases=2)
    images = [(tmp_path / "a" / "dicoms" / f"PHANTOM000{n}" / "3.dcm") for n in (1, 2, 3, 4)]
    images.append(tmp_path / "b" / "dicoms" / "PHANTOM0001" / "3.dcm")
    pixels = [pydicom.dcmread(path).pixel_array for path in images]
    assert all(not np.array_equal(pixels[a], pixels[b]) for a in range(5) for b in range(a))
    edv = [patient["edv_ml"] for patient in json.loads((tmp_path / "a" / "truth.json").read_text())["patients"]]
    assert len(set(edv)) == 4


def test_labelled_only_writes_the_same_images(tmp_path: Path) -> None:
    arguments = {"patients": 1, "size": 64, "slices": 3, "phases": 5}
    whole = write_phantom(tmp_path / "whole", **arguments)
    part = write_phantom(tmp_path / "part", **arguments, labelled_only=True)
    assert whole.images == 15
    assert part.images == part.endocardium_contours == whole.endocardium_contours < 15
    assert hashes(tmp_path / "part").items() <= hashes(tmp_path / "whole").items()


def test_layout_and_counts(phantom: PhantomSummary, patients: list[dict[str, Any]]) -> None:
    with (phantom.out / "link.csv").open(newline="") as file:
        links = [(row["patient_id"], row["original_id"]) for row in csv.DictReader(file)]
    assert links == [("PHANTOM0001", "PH-N-1"), ("PHANTOM0002", "PH-HYP-2"), ("PHANTOM0003", "PH-HF-3")]
    assert phantom.patients == PATIENTS
    assert phantom.images == len(list(phantom.out.rglob("*.dcm")))
    assert phantom.endocardium_contours == len(list(phantom.out.rglob("*-icontour-manual.txt")))
    assert phantom.epicardium_contours == len(list(phantom.out.rglob("*-ocontour-manual.txt")))
    assert list(phantom.out.rglob("*-p1contour-manual.txt"))
    for patient in patients:
        with_epicardium = {i["phase_index"] for i in patient["images"] if i["epicardium_area_mm2"] is not None}
        assert with_epicardium == {patient["ed_phase"]}
        assert {image["phase_index"] for image in patient["images"]} == {patient["ed_phase"], patient["es_phase"]}


def test_contour_and_mask_areas_agree_with_truth(phantom: PhantomSummary, patients: list[dict[str, Any]]) -> None:
    for patient in patients:
        pixel_mm2 = patient["pixel_spacing_mm"] ** 2
        for image in patient["images"]:
            contour, area = read_contour(phantom, patient, image["image_number"]), image["endocardium_area_mm2"]
            assert polygon_area(contour) * pixel_mm2 == pytest.approx(area, rel=AREA_TOLERANCE)
            assert mean_mask_area(contour) * pixel_mm2 == pytest.approx(area, rel=AREA_TOLERANCE)
            if image["epicardium_area_mm2"] is not None:
                outer = polygon_area(read_contour(phantom, patient, image["image_number"], "o")) * pixel_mm2
                assert outer == pytest.approx(image["epicardium_area_mm2"], rel=AREA_TOLERANCE)


def test_ejection_fraction_of_the_contours(phantom: PhantomSummary, patients: list[dict[str, Any]]) -> None:
    for patient in patients:
        volume = {patient["ed_phase"]: 0.0, patient["es_phase"]: 0.0}
        for image in patient["images"]:
            area = (
                polygon_area(read_contour(phantom, patient, image["image_number"])) * patient["pixel_spacing_mm"] ** 2
            )
            volume[image["phase_index"]] += area * patient["spacing_between_slices_mm"] / 1000
        edv, esv = volume[patient["ed_phase"]], volume[patient["es_phase"]]
        assert 1 - esv / edv == pytest.approx(patient["ejection_fraction"], abs=EF_TOLERANCE)
        assert edv == pytest.approx(patient["edv_ml"], rel=AREA_TOLERANCE)


def test_groups_differ_as_hearts_do(patients: list[dict[str, Any]]) -> None:
    normal, thick, failing = patients
    assert 0.5 < normal["ejection_fraction"] < 0.75
    assert 0.1 < failing["ejection_fraction"] < 0.4
    assert failing["edv_ml"] > 1.3 * normal["edv_ml"]
    assert thick["lv_mass_g"] / thick["edv_ml"] > 1.5 * normal["lv_mass_g"] / normal["edv_ml"]
    for patient in patients:
        assert patient["ed_phase"] == 0
        assert patient["es_phase"] in (7, 8)


def test_contours_lie_on_their_images(phantom: PhantomSummary, patients: list[dict[str, Any]]) -> None:
    """Blood is bright inside the endocardium, the wall is dark, and a shifted contour fits less."""
    for patient in patients:
        for image in patient["images"]:
            number = image["image_number"]
            pixels = read_image(phantom, patient, number).pixel_array
            inner = mask_of(read_contour(phantom, patient, number))
            around = binary_dilation(inner, iterations=3) & ~inner
            assert pixels[inner].mean() > 1.5 * pixels[around].mean()
            for step in ((0, 5), (5, 0), (0, -5), (-5, 0)):
                assert pixels[np.roll(inner, step, axis=(0, 1))].mean() < pixels[inner].mean()
            if image["epicardium_area_mm2"] is not None:
                wall = mask_of(read_contour(phantom, patient, number, "o")) & ~inner
                assert pixels[inner].mean() > 1.6 * pixels[wall].mean()


def test_contour_points_are_one_based_on_the_half_pixel_lattice() -> None:
    square = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    # A 4 x 4 image of 2 mm pixels: its middle is 2.5 in 1-based pixels.
    assert contour_points(square, 2.0, 4).tolist() == [[2, 2], [3, 2], [3, 3], [2, 3]]
    circle = 20.3 * np.stack([np.cos(THETA), np.sin(THETA)], axis=1)
    points = contour_points(circle, 1.37, 256)
    assert np.array_equal(points * 2, np.round(points * 2))
    assert np.all(np.any(points != np.roll(points, 1, axis=0), axis=1))


def test_pydicom_reads_it_without_a_warning(phantom: PhantomSummary, patients: list[dict[str, Any]]) -> None:
    image = patients[0]["images"][2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = read_image(phantom, patients[0], image["image_number"])
        assert dataset.pixel_array.shape == (256, 256)
        str(dataset)
    assert dataset.SOPClassUID == dataset.file_meta.MediaStorageSOPClassUID == MRImageStorage
    assert dataset.PatientID == "PHANTOM0001"
    assert str(dataset.PatientName) == "Phantom^0001"
    assert dataset.InstanceNumber == image["slice_index"] * 20 + image["phase_index"] + 1
    assert (dataset.SeriesNumber, dataset.CardiacNumberOfImages) == (300, 20)
    assert dataset.TriggerTime == pytest.approx(image["phase_index"] / 20 * dataset.NominalInterval, abs=1e-3)
    assert [float(value) for value in dataset.PixelSpacing] == [patients[0]["pixel_spacing_mm"]] * 2


def test_slices_lie_along_the_normal(phantom: PhantomSummary, patients: list[dict[str, Any]]) -> None:
    patient = patients[2]
    ed = [image["image_number"] for image in patient["images"] if image["phase_index"] == patient["ed_phase"]]
    images = [read_image(phantom, patient, number) for number in ed]
    row, column = np.array(images[0].ImageOrientationPatient, float).reshape(2, 3)
    assert [row @ row, column @ column, row @ column] == pytest.approx([1, 1, 0], abs=1e-6)
    steps = np.diff([np.array(image.ImagePositionPatient, float) for image in images], axis=0)
    expected = -np.cross(row, column) * patient["spacing_between_slices_mm"]
    assert steps == pytest.approx(np.tile(expected, (len(steps), 1)), abs=1e-4)


def test_uids_are_valid_and_used_once(phantom: PhantomSummary) -> None:
    images = [pydicom.dcmread(path, stop_before_pixels=True) for path in phantom.out.rglob("*.dcm")]
    assert len({image.SOPInstanceUID for image in images}) == len(images)
    assert len({image.SeriesInstanceUID for image in images}) == PATIENTS
    assert all(image.SOPInstanceUID.is_valid and image.StudyInstanceUID.is_valid for image in images)


def test_intensity_scale_and_cavity_size_are_like_the_real_ones(phantom: PhantomSummary) -> None:
    peaks = [int(pydicom.dcmread(path).pixel_array.max()) for path in phantom.out.rglob("*.dcm")]
    assert 600 < min(peaks) < max(peaks) < 4000
    contours = [np.loadtxt(path) for path in phantom.out.rglob("*-icontour-manual.txt")]
    assert 0.005 < np.mean([polygon_area(contour) for contour in contours]) / 256**2 < 0.03


def test_half_size_doubles_the_pixel_spacing(tmp_path: Path, patients: list[dict[str, Any]]) -> None:
    write_phantom(tmp_path, patients=1, size=128, labelled_only=True)
    (small,) = json.loads((tmp_path / "truth.json").read_text())["patients"]
    assert small["pixel_spacing_mm"] == pytest.approx(2 * patients[0]["pixel_spacing_mm"], abs=1e-5)
    assert small["images"] == patients[0]["images"]


@pytest.mark.parametrize("seed", range(20))
def test_the_wall_is_nowhere_thin_and_papillaries_stay_inside(seed: int) -> None:
    for number in (1, 2, 3):
        anatomy = draw_anatomy(number, seed, 8)
        for slice_index in range(8):
            for time in (0.0, 0.2, 0.4):
                state = section(anatomy, slice_index, time)
                if state.endocardium_mm is None or state.epicardium_mm is None:
                    continue
                assert (state.epicardium_mm - state.endocardium_mm).min() > 2.0
                for outline in state.papillaries_mm:
                    dx, dy = (outline - state.centre_mm).T
                    border = np.interp(np.arctan2(dy, dx) % (2 * np.pi), THETA, state.endocardium_mm)
                    assert (np.hypot(dx, dy) < border + 2.0).all()


def test_contraction_is_smooth_with_one_minimum() -> None:
    curve = np.array([contraction(time, 0.38) for time in np.linspace(0, 1, 381)])
    assert curve[0] == curve[-1] == 0
    assert curve.max() == pytest.approx(1, abs=1e-3)
    assert np.abs(np.diff(curve)).max() < 0.02
    peak = int(curve.argmax())
    assert (np.diff(curve[: peak + 1]) >= 0).all()
    assert (np.diff(curve[peak:]) <= 1e-12).all()


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"size": 8}, {"slices": 0}, {"phases": 1}, {"seed": -1}])
def test_a_number_out_of_range_is_named(tmp_path: Path, wrong: dict[str, int]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ConfigError, match=rf"{name} must be from .* got {value}"):
        write_phantom(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(SourceError, match=r"new or empty folder, found mine\.txt"):
        write_phantom(tmp_path)
    with pytest.raises(SourceError, match="expected a new or empty folder"):
        write_phantom(tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_montage_is_a_small_png(tmp_path: Path) -> None:
    write_montage(tmp_path / "montage.png", patients=1)
    content = (tmp_path / "montage.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert 20_000 < len(content) < 400_000
