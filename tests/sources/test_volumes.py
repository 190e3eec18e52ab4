"""Volumes as pairs: which planes are labelled, which way they lie, that each is decoded once."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from lvseg.config import ConvertConfig
from lvseg.errors import SourceError
from lvseg.sources import PairItem, discover, load
from lvseg.sources import pair_item as pair_item_module

ENDO = ConvertConfig()
BOTH = ConvertConfig(structures="endo+myo")
AFFINE = np.array([[0.0, 0.0, 8.0, 10.0], [1.5, 0.0, 0.0, 20.0], [0.0, 1.25, 0.0, 30.0], [0.0, 0.0, 0.0, 1.0]])
"""Columns 1.5 mm apart run anterior, rows 1.25 mm apart up, slices 8 mm apart to the right."""


def volume(shape: tuple[int, ...], dtype=np.int16) -> np.ndarray:
    """As NIfTI has it: (columns, rows, slices[, phases]); every pixel another value."""
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape, order="F")


def label(shape: tuple[int, ...], *planes: tuple[int, ...]) -> np.ndarray:
    """A block of 1 on the given planes."""
    mask = np.zeros(shape, np.uint8)
    for plane in planes:
        mask[(slice(1, 3), slice(2, 5), *plane)] = 1
    return mask


def write_nifti(
    folder: Path, stem: str, image: np.ndarray, mask: np.ndarray, suffix: str = ".nii.gz", kind=nibabel.Nifti1Image
) -> None:
    for part, array in (("images", image), ("masks", mask)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        nifti = kind(array, AFFINE)
        nifti.header.set_xyzt_units("mm", "msec")
        if array.ndim == 4:
            nifti.header.set_zooms((1.5, 1.25, 8.0, 40.0))
        nibabel.save(nifti, folder / part / f"{stem}{suffix}")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_nifti_volume(tmp_path, suffix, kind):
    image = volume((5, 7, 3))
    write_nifti(tmp_path, "anna", image, label((5, 7, 3), (1,)), suffix, kind)
    items = discover(tmp_path).items
    assert [item.name for item in items] == ["anna-s00", "anna-s01", "anna-s02"]
    assert {item.case_id for item in items} == {"anna"}
    slices = [load(tmp_path, item, ENDO) for item in items]
    for index, each in enumerate(slices):
        np.testing.assert_array_equal(each.image, image[:, :, index].T)
        assert each.image.dtype == np.int16
        assert each.image.flags.c_contiguous
    assert [int(each.mask.sum()) for each in slices] == [0, 6, 0]
    np.testing.assert_array_equal(slices[1].mask, label((5, 7, 3), (1,))[:, :, 1].T)


def test_where_a_plane_lies(tmp_path):
    """In DICOM's words: spacing (row, column), position of the first pixel, directions in patient coordinates (LPS)."""
    write_nifti(tmp_path, "anna", volume((5, 7, 3)), label((5, 7, 3), (1,)))
    place = load(tmp_path, discover(tmp_path).items[2], ENDO).place
    assert place.pixel_spacing == (1.25, 1.5)
    assert (place.slice_index, place.phase_index, place.spacing_between_slices_mm) == (2, None, 8.0)
    np.testing.assert_allclose(place.image_position_patient, (-26.0, -20.0, 30.0))
    np.testing.assert_allclose(place.image_orientation_patient, (0, -1, 0, 0, 0, 1))


def test_header_without_coordinates_keeps_the_spacing(tmp_path):
    write_nifti(tmp_path, "anna", volume((5, 7, 3)), label((5, 7, 3), (1,)), ".nii")
    nifti = nibabel.load(tmp_path / "images/anna.nii")
    plain = nibabel.Nifti1Image(np.asanyarray(nifti.dataobj).copy(), None)
    plain.header.set_zooms((1.5, 1.25, 8.0))
    nibabel.save(plain, tmp_path / "images/anna.nii")
    place = load(tmp_path, discover(tmp_path).items[0], ENDO).place
    assert (place.pixel_spacing, place.spacing_between_slices_mm) == ((1.25, 1.5), 8.0)
    assert place.image_position_patient is place.image_orientation_patient is None


def test_micrometres(tmp_path):
    write_nifti(tmp_path, "anna", volume((5, 7, 3)), label((5, 7, 3), (1,)), ".nii")
    nifti = nibabel.load(tmp_path / "images/anna.nii")
    small = nibabel.Nifti1Image(np.asanyarray(nifti.dataobj).copy(), AFFINE * 1000)
    small.header.set_xyzt_units("micron")
    nibabel.save(small, tmp_path / "images/anna.nii")
    assert load(tmp_path, discover(tmp_path).items[0], ENDO).place.pixel_spacing == (1.25, 1.5)


def test_phases_without_label_are_not_labelled(tmp_path):
    """A 4-D file is drawn at end-diastole and end-systole; what is empty between is no empty heart."""
    shape = (5, 7, 2, 4)
    write_nifti(tmp_path, "anna", image := volume(shape), label(shape, (0, 1), (1, 3)))
    listing = discover(tmp_path)
    assert [item.name for item in listing.items] == ["anna-s00-p01", "anna-s00-p03", "anna-s01-p01", "anna-s01-p03"]
    assert listing.unlabelled_images == 4
    loaded = load(tmp_path, listing.items[3], ENDO)
    np.testing.assert_array_equal(loaded.image, image[:, :, 1, 3].T)
    assert loaded.mask.sum() == 6
    assert (loaded.place.slice_index, loaded.place.phase_index, loaded.place.trigger_time_ms) == (1, 3, 120.0)


def test_volume_without_label(tmp_path):
    write_nifti(tmp_path, "anna", volume((5, 7, 2)), label((5, 7, 2)))
    write_nifti(tmp_path, "otto", volume((5, 7, 2)), label((5, 7, 2), (0,)))
    listing = discover(tmp_path)
    assert {item.case_id for item in listing.items} == {"otto"}
    assert [(skip.file, skip.reason) for skip in listing.skipped] == [
        ("masks/anna.nii.gz", "masks/anna.nii.gz: no plane holds a label")
    ]


@pytest.mark.parametrize(
    ("stem", "case_id"),
    [
        ("patient001_frame01", "patient001"),
        ("la_003", "la_003"),
        ("A0S9V9_ED", "A0S9V9"),
        ("SC-HF-I-01", "SC-HF-I-1"),
        ("SC-HF-I-01-IM-0001-0048", "SC-HF-I-1"),
    ],
)
def test_case_of_a_volume(tmp_path, stem, case_id):
    for index in (2, 3):
        write_nifti(
            tmp_path / str(index), stem, volume((5, 7, index)[:index]), np.ones((5, 7, index)[:index], np.uint8)
        )
        (unit,) = discover(tmp_path / str(index)).items[:1]
        assert unit.case_id == case_id


def test_one_plane_is_no_volume(tmp_path):
    write_nifti(tmp_path, "anna", volume((5, 7, 1)), label((5, 7, 1)))
    (item,) = discover(tmp_path).items
    assert (item.name, item.plane) == ("anna", ())
    assert load(tmp_path, item, ENDO).image.shape == (7, 5)


def test_rescaled_pixels(tmp_path):
    write_nifti(tmp_path, "anna", volume((5, 7, 2)), label((5, 7, 2), (0,)), ".nii")
    nifti = nibabel.load(tmp_path / "images/anna.nii")
    scaled = nibabel.Nifti1Image(np.asanyarray(nifti.dataobj).copy(), AFFINE)
    scaled.header.set_slope_inter(0.5, -1)
    nibabel.save(scaled, tmp_path / "images/anna.nii")
    loaded = load(tmp_path, discover(tmp_path).items[0], ENDO)
    assert loaded.image.dtype == np.float32
    np.testing.assert_array_equal(loaded.image, 0.5 * volume((5, 7, 2))[:, :, 0].T - 1)


def test_one_value_for_the_whole_volume(tmp_path):
    """A plane with 0 and 1 alone must not pass for a cavity when the next plane shows that 1 is something else."""
    mask = label((5, 7, 2), (0,))
    mask[0, 0, 1] = 3
    write_nifti(tmp_path, "anna", volume((5, 7, 2)), mask)
    with pytest.raises(SourceError, match="values 0, 1, 3"):
        discover(tmp_path)
    with pytest.raises(SourceError, match="values 0, 1, 3"):
        load(
            tmp_path,
            PairItem(name="a", case_id="a", image="images/anna.nii.gz", mask="masks/anna.nii.gz", plane=(0,)),
            ENDO,
        )
    assert len(discover(tmp_path, ConvertConfig(cavity_value=3)).items) == 2


def test_myocardium_is_asked_for_by_phase(tmp_path):
    """Drawn at end-diastole only: there a plane of cavity alone is right, at end-systole nothing is known."""
    mask = label((5, 7, 2, 2), (0, 0), (1, 0), (0, 1))
    mask[4, 6, 0, 0] = 2
    write_nifti(tmp_path, "anna", volume((5, 7, 2, 2)), mask)
    items = {item.plane: item for item in discover(tmp_path, BOTH).items}
    assert np.unique(load(tmp_path, items[0, 0], BOTH).mask).tolist() == [0, 1, 2]
    assert np.unique(load(tmp_path, items[1, 0], BOTH).mask).tolist() == [0, 1]
    with pytest.raises(SourceError, match="cavity without myocardium"):
        load(tmp_path, items[0, 1], BOTH)


def test_numpy_volume(tmp_path):
    image = np.arange(4 * 5 * 3).reshape(4, 5, 3)
    mask = np.zeros((4, 5, 3), bool)
    mask[1, 2, 0] = True
    for part, array in (("images", image), ("masks", mask)):
        (tmp_path / part).mkdir()
        np.save(tmp_path / part / "anna_3.npy", array)
    items = discover(tmp_path).items
    assert [(item.name, item.case_id, item.plane) for item in items] == [
        (f"anna_3-s0{index}", "anna_3", (index,)) for index in range(3)
    ]
    for index, item in enumerate(items):
        np.testing.assert_array_equal(load(tmp_path, item, ENDO).image, image[..., index])


def test_mask_of_another_size(tmp_path):
    write_nifti(tmp_path, "anna", volume((5, 7, 2)), label((5, 7, 3), (0,)))
    with pytest.raises(SourceError, match="mask is 7x5x3, but its image is 7x5x2"):
        discover(tmp_path)


@pytest.mark.parametrize("part", ["images", "masks"])
def test_damaged_volume_costs_only_itself(tmp_path, part):
    for stem in ("anna", "otto"):
        write_nifti(tmp_path, stem, volume((5, 7, 2)), label((5, 7, 2), (0,)))
    path = tmp_path / part / "anna.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    listing = discover(tmp_path)
    assert {item.case_id for item in listing.items} == {"otto"}
    assert listing.skipped[0].reason.startswith(f"{part}/anna.nii.gz: nii.gz file cannot be used")


def test_a_volume_is_decoded_once(tmp_path, monkeypatch):
    write_nifti(tmp_path, "anna", volume((5, 7, 3)), label((5, 7, 3), (1,)))
    items, read = discover(tmp_path).items, []
    real = pair_item_module.read_array
    monkeypatch.setattr(pair_item_module, "read_array", lambda path, name: read.append(name) or real(path, name))
    for item in items:
        load(tmp_path, item, ENDO)
    assert sorted(read) == ["images/anna.nii.gz", "masks/anna.nii.gz"]


def test_a_changed_volume_is_read_again(tmp_path):
    write_nifti(tmp_path, "anna", volume((5, 7, 3)), label((5, 7, 3), (1,)), ".nii")
    (item, *_) = discover(tmp_path).items
    load(tmp_path, item, ENDO).image[:] = -1  # what is kept must not change with what was handed out
    assert load(tmp_path, item, ENDO).image.min() == 0
    write_nifti(tmp_path, "anna", volume((5, 7, 3)) + 5, label((5, 7, 3), (1,)), ".nii")
    assert load(tmp_path, item, ENDO).image.min() == 5
