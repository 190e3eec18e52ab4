"""NIfTI: every voxel is where DICOM says its pixel is."""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pytest

from lvseg.errors import SourceError
from lvseg.outputs.nifti import write_nifti
from lvseg.store import location
from tests.outputs.studies import CASE, change, oblique_study


def lps_of(image, row: int, column: int) -> np.ndarray:
    """Position of a pixel by the equation of PS3.3, C.7.6.2.1.1."""
    cosines = np.array(image.image_orientation_patient)
    row_mm, column_mm = image.pixel_spacing
    return np.array(image.image_position_patient) + cosines[:3] * column_mm * column + cosines[3:] * row_mm * row


@pytest.mark.parametrize("shear_mm", [0.0, 2.5])
def test_every_voxel_is_where_dicom_says(tmp_path, shear_mm):
    study = oblique_study(shear_mm=shear_mm)
    assert write_nifti(study, location(tmp_path)) == [f"{CASE}-mask.nii.gz", f"{CASE}-image.nii.gz"]
    mask, grey = (nibabel.load(tmp_path / f"{CASE}-{kind}.nii.gz") for kind in ("mask", "image"))
    assert mask.shape == grey.shape == (9, 6, 3, 2)
    assert mask.get_data_dtype() == np.uint8
    for image in study.images:
        for row, column in ((0, 0), (5, 8), (2, 7)):
            voxel = (column, row, image.slice_index, image.phase_index)
            assert mask.dataobj[voxel] == image.mask[row, column]
            assert grey.dataobj[voxel] == image.image[row, column]
            x, y, z, _ = mask.affine @ [*voxel[:3], 1]
            # The header's numbers are float32.
            assert np.allclose((-x, -y, z), lps_of(image, row, column), atol=1e-4)
    assert mask.header["sform_code"] == 1
    assert mask.header["qform_code"] == (0 if shear_mm else 1)
    if not shear_mm:
        assert np.allclose(mask.get_qform(), mask.affine, atol=1e-4)
    assert mask.header.get_zooms()[3] == pytest.approx(0.045)
    assert mask.header.get_xyzt_units() == ("mm", "sec")


def test_our_own_reader_finds_the_same_places(tmp_path):
    from lvseg.sources.nifti import parse_nifti

    study = oblique_study()
    write_nifti(study, location(tmp_path))
    pixels, geometry = parse_nifti((tmp_path / f"{CASE}-image.nii.gz").read_bytes())
    for image in study.images:
        place = geometry.place((image.slice_index, image.phase_index))
        assert np.array_equal(pixels[:, :, image.slice_index, image.phase_index], image.image)
        assert np.allclose(place.image_position_patient, image.image_position_patient, atol=1e-4)
        assert np.allclose(place.image_orientation_patient, image.image_orientation_patient, atol=1e-5)
        assert np.allclose(place.pixel_spacing, image.pixel_spacing)


def test_a_cine_with_a_gap_is_written_phase_by_phase(tmp_path):
    study = oblique_study()
    study = replace(study, images=study.images[:3] + study.images[4:])  # without slice 1 of phase 1
    names = write_nifti(study, location(tmp_path))
    assert names == [
        *(f"{CASE}-phase-{phase}-{kind}.nii.gz" for phase in ("00", "01") for kind in ("mask", "image")),
        "note-nifti.txt",
    ]
    assert "no image of slice 1 phase 1" in (tmp_path / "note-nifti.txt").read_text()
    grey = nibabel.load(tmp_path / f"{CASE}-phase-01-image.nii.gz")
    assert grey.shape == (9, 6, 3)
    assert not np.asarray(grey.dataobj)[:, :, 1].any()
    assert np.array_equal(np.asarray(grey.dataobj)[:, :, 2].T, study.images[-1].image)


def test_one_phase_is_one_volume_and_fractions_stay(tmp_path):
    study = oblique_study(phases=1)
    study = change(study, 0, image=study.images[0].image + np.float32(0.25))
    write_nifti(study, location(tmp_path))
    grey = nibabel.load(tmp_path / f"{CASE}-image.nii.gz")
    assert grey.shape == (9, 6, 3)
    assert grey.get_data_dtype() == np.float32
    assert grey.dataobj[0, 0, 0] == 0.25


def test_one_slice_has_the_normal_as_its_third_axis(tmp_path):
    study = oblique_study(slices=1, phases=1)
    write_nifti(study, location(tmp_path))
    affine = nibabel.load(tmp_path / f"{CASE}-mask.nii.gz").affine
    assert np.linalg.norm(affine[:3, 2]) == pytest.approx(8.0)
    assert np.allclose(affine[:3, 2] @ affine[:3, :2], 0, atol=1e-4)


@pytest.mark.parametrize(
    ("number", "fields", "message"),
    [
        (2, {"image_position_patient": None}, "-1-0: no ImagePositionPatient"),
        (1, {"pixel_spacing": None, "image_orientation_patient": None}, "no PixelSpacing, ImageOrientationPatient"),
        (3, {"pixel_spacing": (1.5, 1.3)}, "-1-1: PixelSpacing is (1.5, 1.3)"),
        (3, {"image_orientation_patient": (1.0, 0, 0, 0, 1.0, 0)}, "-1-1: ImageOrientationPatient is not that of"),
        (2, {"slice_index": None}, "-1-0: its slice is not known"),
        (2, {"phase_index": None}, "-1-0: its phase is not known"),
        (1, {"phase_index": 0}, "another image has the same slice and phase"),
        (4, {"image_position_patient": (0.0, 0.0, 0.0)}, "mm off the even stack"),
        (4, {"mask": np.zeros((6, 8), np.uint8)}, "-2-0: shape is (6, 8)"),
    ],
)
def test_what_is_missing_is_named(tmp_path, number, fields, message):
    with pytest.raises(SourceError) as caught:
        write_nifti(change(oblique_study(), number, **fields), location(tmp_path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
