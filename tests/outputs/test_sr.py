"""DICOM SR: the numbers of the volume table, in the right units, about the images at ED and ES."""

from __future__ import annotations

from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest

from lvseg.errors import SourceError
from lvseg.outputs.sr import write_sr
from lvseg.store import location
from tests.outputs.studies import CASE, PHASES, SIZE, SLICES, change


def numbers_of(folder) -> dict[str, tuple[float, str]]:
    """Code → (value, unit) of every number in the report."""
    report = highdicom.sr.srread(folder / f"{CASE}-sr.dcm")
    found = highdicom.sr.utils.find_content_items(report, value_type="NUM", recursive=True)
    return {
        item.ConceptNameCodeSequence[0].CodeValue: (
            float(item.MeasuredValueSequence[0].NumericValue),
            item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue,
        )
        for item in found
    }


def test_numbers_follow_from_the_masks_pixels(cine, tmp_path):
    """Counted pixels times spacings; the contours of masks cut corners, by half a pixel an image."""
    write_sr(cine, location(tmp_path))
    voxel_ml = np.prod(cine.images[0].pixel_spacing) * cine.slice_spacing_mm / 1000
    heart = [replace(image, mask=_without_marks(image.mask)) for image in cine.images]
    volume = [sum((i.mask == 1).sum() for i in heart if i.phase_index == phase) * voxel_ml for phase in range(PHASES)]
    edv, esv, tolerance = max(volume), min(volume), 0.5 * SLICES * voxel_ml + 0.01
    numbers = numbers_of(tmp_path)
    assert numbers["8821-1"] == (pytest.approx(edv, abs=tolerance), "ml")
    assert numbers["8823-7"] == (pytest.approx(esv, abs=tolerance), "ml")
    assert numbers["90096001"] == (pytest.approx(numbers["8821-1"][0] - numbers["8823-7"][0], abs=0.02), "ml")
    assert numbers["8811-2"] == (pytest.approx(100 * (1 - esv / edv), abs=1.0), "%")
    wall = sum((i.mask == 2).sum() for i in heart if i.phase_index == int(np.argmax(volume))) * voxel_ml
    assert numbers["18087-7"][0] == pytest.approx(1.05 * wall, rel=0.03)
    assert numbers["18087-7"][1] == "g"


def _without_marks(mask: np.ndarray) -> np.ndarray:
    """The ring alone: the contour is that of the largest component."""
    return np.where(np.indices(mask.shape)[1] < 6, 0, mask)


def test_it_refers_to_the_images_at_ed_and_es_of_the_same_study(cine, tmp_path):
    write_sr(cine, location(tmp_path))
    report = pydicom.dcmread(tmp_path / f"{CASE}-sr.dcm")
    header = pydicom.dcmread(cine.images[0].source)
    assert report.StudyInstanceUID == header.StudyInstanceUID
    assert report.PatientID == header.PatientID
    assert report.VerificationFlag == "UNVERIFIED"
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    referenced = {item.ReferencedSOPInstanceUID for item in study.ReferencedSeriesSequence[0].ReferencedSOPSequence}
    # The largest ring is at phase 0, the smallest at phases 2 and 3, of which the first counts.
    expected = {pydicom.dcmread(image.source).SOPInstanceUID for image in cine.images if image.phase_index in (0, 2)}
    assert referenced == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pixel_spacing": None}, "IM-0001-0001 has no PixelSpacing"),
        ({"phase_index": None}, "phase or slice of P-0123456789abcdef-IM-0001-0001 is not known"),
    ],
)
def test_a_study_without_volumes_says_why(cine, tmp_path, fields, message):
    first = next(n for n, image in enumerate(cine.images) if image.instance_number == 1)
    study = replace(cine, images=(cine.images[first],))
    with pytest.raises(SourceError, match=message):
        write_sr(change(study, 0, **fields), location(tmp_path))


def test_a_study_without_a_cavity_says_so(cine, tmp_path):
    blank = [replace(image, mask=np.zeros((SIZE, SIZE), np.uint8)) for image in cine.images]
    with pytest.raises(SourceError, match="the cavity was not found"):
        write_sr(replace(cine, images=tuple(blank)), location(tmp_path))


def test_a_phase_that_lacks_a_slice_is_no_end_systole(cine, tmp_path):
    """Phases 2 and 3 are the smallest; without a slice phase 2 would be smaller still, but it has no volume."""
    fewer = [image for image in cine.images if (image.slice_index, image.phase_index) != (0, 2)]
    write_sr(cine, location(tmp_path / "whole"))
    write_sr(replace(cine, images=tuple(fewer)), location(tmp_path))
    assert numbers_of(tmp_path)["8823-7"][0] == pytest.approx(numbers_of(tmp_path / "whole")["8823-7"][0], rel=0.02)
