"""DICOM SEG: frames lie on their source images, an external validator has nothing to say, the library reads it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.config import disable_value_validation

from lvseg import __version__
from lvseg.errors import SourceError
from lvseg.outputs.seg import write_seg
from lvseg.outputs.source_headers import new_uid
from lvseg.outputs.sr import write_sr
from lvseg.store import location
from tests.outputs.studies import CASE, PHASES, SIZE, SLICES, change, oblique_study


@pytest.fixture(scope="module")
def written(cine, tmp_path_factory):
    """Folder with the SEG and the SR."""
    folder = tmp_path_factory.mktemp("dicom")
    assert write_seg(cine, location(folder)) == [f"{CASE}-seg.dcm"]
    assert write_sr(cine, location(folder)) == [f"{CASE}-sr.dcm"]
    return folder


@pytest.fixture(scope="module")
def sources(cine) -> dict[str, tuple]:
    """SOPInstanceUID → (header, predicted image)."""
    read = [(pydicom.dcmread(image.source), image) for image in cine.images]
    return {header.SOPInstanceUID: (header, image) for header, image in read}


@pytest.mark.parametrize("kind", ["seg", "sr"])
def test_the_validator_reports_no_error(written, kind):
    program = shutil.which("dciodvfy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert program, "dciodvfy comes with dicom3tools, a dependency of development"
    done = subprocess.run([program, str(written / f"{CASE}-{kind}.dcm")], capture_output=True, text=True)
    said = (done.stdout + done.stderr).splitlines()
    assert [line for line in said if line.startswith("Error")] == []
    assert said, "it names at least the kind of object"


def test_frames_lie_on_their_sources_pixel_for_pixel(written, sources):
    """With pydicom alone: frame by frame, by the reference, the position and the segment that each gives."""
    seg = pydicom.dcmread(written / f"{CASE}-seg.dcm")
    frames = seg.pixel_array
    assert frames.shape == (2 * SLICES * PHASES, SIZE, SIZE)
    seen = set()
    for pixels, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        (derivation,) = groups.DerivationImageSequence
        (reference,) = derivation.SourceImageSequence
        header, image = sources[reference.ReferencedSOPInstanceUID]
        segment = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        assert np.array_equal(pixels, image.mask == segment)
        assert reference.ReferencedSOPClassUID == header.SOPClassUID
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(position, header.ImagePositionPatient, atol=1e-6)
        index = groups.FrameContentSequence[0].DimensionIndexValues
        assert index == [segment, 1 + image.slice_index, 1 + image.phase_index]
        assert groups.FrameContentSequence[0].TemporalPositionIndex == 1 + image.phase_index
        seen.add(tuple(index))
    assert len(seen) == len(frames)
    (shared,) = seg.SharedFunctionalGroupsSequence
    header = next(iter(sources.values()))[0]
    assert np.allclose(shared.PlaneOrientationSequence[0].ImageOrientationPatient, header.ImageOrientationPatient)
    measures = shared.PixelMeasuresSequence[0]
    assert np.allclose(measures.PixelSpacing, header.PixelSpacing)
    assert float(measures.SliceThickness) == float(header.SliceThickness)
    assert float(measures.SpacingBetweenSlices) == pytest.approx(float(header.SpacingBetweenSlices), abs=1e-3)
    assert [len(item.DimensionDescriptionLabel) > 0 for item in seg.DimensionIndexSequence] == [True] * 3


def test_highdicom_reads_the_masks_of_the_images(written, sources):
    seg = highdicom.seg.segread(written / f"{CASE}-seg.dcm")
    uids = [*sources]
    read = seg.get_pixels_by_source_instance(uids, combine_segments=True)
    assert np.array_equal(read, np.stack([image.mask for _, image in sources.values()]))


def test_our_own_source_reads_it_as_labels(written, sources):
    from lvseg.slices import CAVITY, MYOCARDIUM
    from lvseg.sources.segments import read_segments

    segments = read_segments(pydicom.dcmread(written / f"{CASE}-seg.dcm"), "seg")
    assert segments.classes == {1: CAVITY, 2: MYOCARDIUM}
    assert len(segments.frames) == len(sources)


def test_it_says_what_it_is_and_who_drew_it(written, sources):
    seg = pydicom.dcmread(written / f"{CASE}-seg.dcm")
    cavity, myocardium = seg.SegmentSequence
    assert [segment.SegmentLabel for segment in (cavity, myocardium)] == [
        "Left ventricular cavity",
        "Left ventricular myocardium",
    ]
    assert [segment.SegmentedPropertyTypeCodeSequence[0].CodeValue for segment in (cavity, myocardium)] == [
        "87878005",
        "49848007",
    ]
    for segment in (cavity, myocardium):
        category = segment.SegmentedPropertyCategoryCodeSequence[0]
        assert (category.CodeValue, category.CodingSchemeDesignator) == ("91723000", "SCT")
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("lvseg", __version__)
    header = next(iter(sources.values()))[0]
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "PatientBirthDate"):
        assert seg[keyword].value == header[keyword].value
    for keyword in (
        "PatientComments",
        "PatientAddress",
        "PatientTelephoneNumbers",
        "OperatorsName",
        "InstitutionName",
        "StationName",
    ):
        assert keyword in header
        assert not seg.get(keyword)
    assert seg.SeriesInstanceUID != header.SeriesInstanceUID
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == header.SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence} == set(sources)


def test_images_of_several_series_keep_their_own(cine, tmp_path):
    moved = []
    for image in cine.images:
        header = pydicom.dcmread(image.source)
        header.SeriesInstanceUID = new_uid("series of slice", str(image.slice_index))
        header.save_as(tmp_path / f"{image.name}.dcm")
        moved.append(replace(image, source=str(tmp_path / f"{image.name}.dcm")))
    write_seg(replace(cine, images=tuple(moved)), location(tmp_path))
    seg = pydicom.dcmread(tmp_path / f"{CASE}-seg.dcm")
    found = {
        series.SeriesInstanceUID: len(series.ReferencedInstanceSequence) for series in seg.ReferencedSeriesSequence
    }
    assert found == {new_uid("series of slice", str(index)): PHASES for index in range(SLICES)}


def test_an_image_without_the_heart_has_no_frame(cine, tmp_path):
    study = change(cine, 4, mask=np.zeros((SIZE, SIZE), np.uint8))
    write_seg(study, location(tmp_path))
    seg = pydicom.dcmread(tmp_path / f"{CASE}-seg.dcm")
    assert seg.NumberOfFrames == 2 * (SLICES * PHASES - 1)
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == SLICES * PHASES


def test_a_study_without_any_finding_is_still_an_object(cine, tmp_path):
    blank = [replace(image, mask=np.zeros((SIZE, SIZE), np.uint8)) for image in cine.images]
    write_seg(replace(cine, images=tuple(blank)), location(tmp_path))
    assert not pydicom.dcmread(tmp_path / f"{CASE}-seg.dcm").pixel_array.any()


def test_the_same_prediction_is_the_same_object(cine, written, tmp_path):
    write_seg(cine, location(tmp_path))
    other = change(cine, 0, mask=np.zeros((SIZE, SIZE), np.uint8))
    (tmp_path / "other").mkdir()
    write_seg(other, location(tmp_path / "other"))
    first, again, different = (
        pydicom.dcmread(folder / f"{CASE}-seg.dcm") for folder in (written, tmp_path, tmp_path / "other")
    )
    assert first.SOPInstanceUID == again.SOPInstanceUID != different.SOPInstanceUID


@pytest.mark.parametrize(
    ("change_header", "message"),
    [
        ({"StudyInstanceUID": "1.2.3"}, "StudyInstanceUID is not that of"),
        ({"FrameOfReferenceUID": ""}, "DICOM source without FrameOfReferenceUID"),
        ({"SOPInstanceUID": ""}, "DICOM source without SOPInstanceUID"),
        ({"SOPInstanceUID": "first"}, "has the SOPInstanceUID of"),
        ({"NumberOfFrames": 3}, "3 frames"),
    ],
)
def test_a_source_that_does_not_fit_is_named_without_its_ids(cine, tmp_path, change_header, message):
    header = pydicom.dcmread(cine.images[7].source)
    for keyword, value in change_header.items():
        setattr(header, keyword, pydicom.dcmread(cine.images[0].source)[keyword].value if value == "first" else value)
    header.save_as(tmp_path / "changed.dcm")
    with pytest.raises(SourceError) as caught:
        write_seg(change(cine, 7, source=str(tmp_path / "changed.dcm")), location(tmp_path))
    said = str(caught.value)
    assert message in said
    assert cine.images[7].name in said
    assert str(header.PatientID) not in said
    assert str(tmp_path) not in said


def test_a_source_that_is_gone_or_none(cine, tmp_path):
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        write_seg(change(cine, 3, source=str(tmp_path / "gone.dcm")), location(tmp_path))
    (tmp_path / "text.dcm").write_text("no DICOM")
    with pytest.raises(SourceError, match="not a DICOM file"):
        write_seg(change(cine, 3, source=str(tmp_path / "text.dcm")), location(tmp_path))
    with pytest.raises(SourceError, match="has no DICOM source"):
        write_seg(oblique_study(), location(tmp_path))


def test_dates_that_are_none_are_left_empty(cine, tmp_path):
    images = []
    for image in cine.images[:PHASES]:
        header = pydicom.dcmread(image.source)
        with disable_value_validation():
            header.StudyDate = "20120000"
            header.save_as(tmp_path / f"{image.name}.dcm")
        images.append(replace(image, source=str(tmp_path / f"{image.name}.dcm")))
    write_seg(replace(cine, images=tuple(images)), location(tmp_path))
    assert pydicom.dcmread(tmp_path / f"{CASE}-seg.dcm").StudyDate == ""


def test_frames_of_reference_that_differ_are_noted(cine, tmp_path):
    header = pydicom.dcmread(cine.images[2].source)
    header.FrameOfReferenceUID = "1.2.3"
    header.save_as(tmp_path / "changed.dcm")
    names = write_seg(change(cine, 2, source=str(tmp_path / "changed.dcm")), location(tmp_path))
    assert names == [f"{CASE}-seg.dcm", "note-seg.txt"]
    assert "2 frames of reference" in (tmp_path / "note-seg.txt").read_text()
