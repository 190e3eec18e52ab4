"""The fast mode writes what the slow one would, only more of it."""

import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy.ndimage import binary_dilation

from lvseg.errors import ConfigError
from lvseg.phantom import PhantomSummary, write_phantom
from lvseg.rasterize import rasterize

PATIENTS, SLICES, PHASES = 7, 3, 4


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> PhantomSummary:
    out = tmp_path_factory.mktemp("fast") / "out"
    return write_phantom(out, patients=PATIENTS, size=64, slices=SLICES, phases=PHASES, fast=True)


def test_every_image_is_labelled(fast: PhantomSummary) -> None:
    images = {(path.parent.name[-1], int(path.stem)) for path in fast.out.glob("dicoms/*/*.dcm")}
    contours = {
        (path.parents[1].name.split("-")[2], int(path.name.split("-")[2]))
        for path in fast.out.glob("contourfiles/*/i-contours/*")
    }
    assert images == contours
    assert len(images) == fast.images == fast.endocardium_contours == PATIENTS * SLICES * PHASES
    assert len(list(fast.out.glob("contourfiles/*/o-contours/*"))) == fast.epicardium_contours == PATIENTS * SLICES


def test_no_two_images_and_no_two_patients_contours_are_alike(fast: PhantomSummary) -> None:
    images = [pydicom.dcmread(path) for path in fast.out.rglob("*.dcm")]
    assert len({image.PixelData for image in images}) == len(images)
    assert len({image.SOPInstanceUID for image in images}) == len(images)
    assert len({image.StudyInstanceUID for image in images}) == PATIENTS
    contours = [{path.read_bytes() for path in case.rglob("*.txt")} for case in (fast.out / "contourfiles").iterdir()]
    assert len(set.union(*contours)) == sum(map(len, contours))


def test_headers_agree_with_names_and_places(fast: PhantomSummary) -> None:
    for folder in (fast.out / "dicoms").iterdir():
        images = {int(path.stem): pydicom.dcmread(path) for path in folder.iterdir()}
        first = images[1]
        normal = np.cross(*np.array(first.ImageOrientationPatient, float).reshape(2, 3))
        for number, image in images.items():
            slice_index, phase = divmod(number - 1, PHASES)
            assert (image.InstanceNumber, image.PatientID) == (number, folder.name)
            assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
            assert image.SOPInstanceUID.is_valid
            assert float(image.TriggerTime) == pytest.approx(phase / PHASES * image.NominalInterval, abs=1e-3)
            step = np.array(image.ImagePositionPatient, float) - np.array(first.ImagePositionPatient, float)
            expected = -normal * slice_index * float(image.SpacingBetweenSlices)
            assert step == pytest.approx(expected, abs=1e-4)
            location = np.array(image.ImagePositionPatient, float) @ normal
            assert float(image.SliceLocation) == pytest.approx(location, abs=1e-3)


def test_contours_lie_on_their_images(fast: PhantomSummary) -> None:
    for folder in (fast.out / "dicoms").iterdir():
        (contours,) = (fast.out / "contourfiles").glob(f"PH-*-{int(folder.name[-4:])}")
        for path in folder.iterdir():
            pixels = pydicom.dcmread(path).pixel_array
            points = np.loadtxt(contours / "i-contours" / f"IM-0001-{int(path.stem):04d}-icontour-manual.txt")
            inside = rasterize(points, pixels.shape, "centre").astype(bool)
            ring = binary_dilation(inside) & ~inside
            assert pixels[inside].mean() > 1.3 * pixels[ring].mean()
            assert pixels.min() >= 0


def test_same_arguments_give_the_same_bytes(fast: PhantomSummary, tmp_path: Path) -> None:
    write_phantom(tmp_path / "again", patients=PATIENTS, size=64, slices=SLICES, phases=PHASES, fast=True)
    digests = [
        {path.relative_to(out): hashlib.sha256(path.read_bytes()).digest() for path in out.rglob("*") if path.is_file()}
        for out in (fast.out, tmp_path / "again")
    ]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("other", [{"layout": "cap"}, {"traps": ["stray-files"]}, {"identifiers": True}])
def test_fast_goes_with_nothing_else(tmp_path: Path, other: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="fast goes with the layout linked only"):
        write_phantom(tmp_path / "out", fast=True, **other)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
