"""Manual contours of a real patient as a prediction: real headers, real positions."""

from __future__ import annotations

import warnings

import nibabel
import numpy as np
import pydicom
import pytest

from lvseg.config import ConvertConfig
from lvseg.evaluation import slice_spacing_mm
from lvseg.outputs import PredictedImage, PredictedStudy, write_outputs
from lvseg.sources import discover, load
from lvseg.store import location

pytestmark = pytest.mark.real_data


def read_study(folder) -> PredictedStudy:
    """The labelled images of the first patient, at ED and ES."""
    items = discover(folder, ConvertConfig()).items
    items = [item for item in items if item.case_id == items[0].case_id]
    slices = [load(folder, item, ConvertConfig()) for item in items]
    images = [
        PredictedImage(
            name=one.name,
            instance_number=one.place.instance_number,
            slice_index=one.place.slice_index,
            phase_index=one.place.phase_index,
            trigger_time_ms=one.place.trigger_time_ms,
            image=one.image.astype(np.float32),
            mask=one.mask,
            probability=None,
            uncertainty=None,
            look=None,
            pixel_spacing=one.place.pixel_spacing,
            image_position_patient=one.place.image_position_patient,
            image_orientation_patient=one.place.image_orientation_patient,
            source=str(folder / item.image),
        )
        for item, one in zip(items, slices, strict=True)
    ]
    spacing = slice_spacing_mm(one.place for one in slices)
    return PredictedStudy(case_id=items[0].case_id, images=tuple(images), slice_spacing_mm=spacing)


def test_a_real_patient(sunnybrook, tmp_path):
    study = read_study(location(sunnybrook / "sunnybrook-dicom"))
    kinds = frozenset({"nifti", "seg", "sr", "overlay"})
    names = write_outputs(study, location(tmp_path), kinds)
    # Each of these images has a frame of reference of its own, and ES lacks slices that ED has.
    assert {name for name in names if "note" in name} == {"note-nifti.txt", "note-seg.txt"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # UIDs with leading zeros
        headers = {image.name: pydicom.dcmread(image.source, stop_before_pixels=True) for image in study.images}
        seg = pydicom.dcmread(tmp_path / f"{study.case_id}-seg.dcm")
        by_uid = {headers[image.name].SOPInstanceUID: image for image in study.images}
        frames = zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True)
        shown = [
            (pixels, by_uid[groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID])
            for pixels, groups in frames
        ]
    assert len(shown) == len(study.images)
    assert all(np.array_equal(pixels, image.mask) for pixels, image in shown)
    for image in study.images:
        volume = nibabel.load(tmp_path / f"{study.case_id}-phase-{image.phase_index:02d}-mask.nii.gz")
        first = min(other.slice_index for other in study.images)
        x, y, z, _ = volume.affine @ [0, 0, image.slice_index - first, 1]
        assert np.allclose((-x, -y, z), headers[image.name].ImagePositionPatient, atol=0.01)
        assert np.array_equal(volume.dataobj[..., image.slice_index - first].T, image.mask)
