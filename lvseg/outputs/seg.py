"""The masks of a whole cine as one DICOM SEG object (PS3.3, A.51), each frame with its source image.

A SEG belongs into the study of its images, so it names them and the patient by the source's own UIDs, name and ids:
with the SR it is the one output that is not pseudonymous (its file name is).

highdicom lays out SEG objects of a single volume and refuses two frames of one plane. A cine has one of every phase,
so the frames are first laid out at stand-in positions, then get their own and a third dimension, the temporal position
(PS3.3, C.7.6.16.2.2 and C.7.6.17).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from copy import deepcopy
from io import BytesIO
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.valuerep import format_number_as_ds

from lvseg import __version__
from lvseg.errors import SourceError
from lvseg.outputs.drawing import COLOURS
from lvseg.outputs.geometry import check_same_plane
from lvseg.outputs.notes import write_note
from lvseg.outputs.source_headers import new_uid, read_source_headers, writing_dicom
from lvseg.outputs.study import PredictedImage, PredictedStudy
from lvseg.slices import CAVITY, MYOCARDIUM
from lvseg.store import UPath, write_bytes

__all__ = ["SEG_SERIES_NUMBER", "dicom_bytes", "write_seg"]

SEG_SERIES_NUMBER = 9001
"""Far above the numbers that scanners give."""
SEGMENTS = {
    CAVITY: ("Left ventricular cavity", codes.SCT.LeftVentricle, COLOURS["endocardium"]),
    MYOCARDIUM: ("Left ventricular myocardium", codes.SCT.LeftVentricleMyocardium, COLOURS["epicardium"]),
}
"""Label, SNOMED CT type and colour (RGB).

DICOM's lists have no code for the cavity alone: CID 7152 offers the ventricle (87878005), so the label says that the
cavity is meant. The myocardium's code (49848007) is in CID 12305.
"""


def write_seg(study: PredictedStudy, folder: UPath) -> list[str]:
    """Write ``CASE-seg.dcm``: binary, a segment for each structure, no frames for images on which nothing was found.

    Returns:
        Its name, and that of a note where the images are said to lie in several frames of reference: some tools give
        each image its own.

    Raises:
        SourceError: an image has no place or no DICOM source, or does not fit the others.
    """
    check_same_plane(study.images)
    headers = read_source_headers(study.images)
    for image, header in zip(study.images, headers, strict=True):
        if not header.get("FrameOfReferenceUID"):
            raise SourceError(f"{image.name}: DICOM source without FrameOfReferenceUID, positions have no meaning")
    with writing_dicom(study.case_id):
        data = dicom_bytes(_segmentation(study, headers))
    names = [f"{study.case_id}-seg.dcm"]
    write_bytes(folder / names[0], data)
    if (frames := len({header.FrameOfReferenceUID for header in headers})) > 1:
        names.append(write_note(folder, "seg", f"images name {frames} frames of reference, the SEG the first one's"))
    return names


def dicom_bytes(dataset: Dataset) -> bytes:
    """A data set as the bytes of a file."""
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _segmentation(study: PredictedStudy, headers: Sequence[Dataset]) -> Dataset:
    from highdicom.seg import Segmentation, SegmentationTypeValues

    masks = np.stack([image.mask for image in study.images])
    uids = [str(header.SOPInstanceUID) for header in headers]
    content = hashlib.sha256(masks.tobytes()).hexdigest()
    dataset: Dataset = Segmentation(
        source_images=_stand_ins(study, headers),
        pixel_array=masks,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_describe(number) for number in range(1, max(CAVITY, int(masks.max())) + 1)],
        series_instance_uid=new_uid("seg series", *uids, content),
        series_number=SEG_SERIES_NUMBER,
        sop_instance_uid=new_uid("seg", *uids, content),
        instance_number=1,
        manufacturer="lvseg",
        manufacturer_model_name="lvseg",
        software_versions=__version__,
        device_serial_number=__version__,
        content_label="LV",
        content_description="Left ventricle, drawn by lvseg",
        series_description="lvseg: left ventricle",
    )
    _put_in_place(dataset, dict(zip(uids, study.images, strict=True)))
    dataset.ReferencedSeriesSequence = _referenced_series(headers)
    return dataset


def _ranks(images: Sequence[PredictedImage]) -> list[int]:
    """Where each image comes in the order of slices and phases."""
    order = sorted(range(len(images)), key=lambda i: (_along_mm(images[i]), images[i].phase_index or 0, i))
    return [int(rank) for rank in np.argsort(order)]


def _stand_ins(study: PredictedStudy, headers: Sequence[Dataset]) -> list[Dataset]:
    """Headers, each at a place of its own, in one series: highdicom takes one series and one image a plane."""
    first, thickness = study.images[0], _thickness(study, headers[0])
    cosines = first.image_orientation_patient or ()
    normal, stand_ins = np.cross(cosines[:3], cosines[3:]), []
    for header, rank in zip(headers, _ranks(study.images), strict=True):
        stand_in = deepcopy(header)
        stand_in.SeriesInstanceUID = headers[0].SeriesInstanceUID
        stand_in.FrameOfReferenceUID = headers[0].FrameOfReferenceUID
        stand_in.PixelSpacing = _decimals(first.pixel_spacing or ())
        stand_in.SliceThickness = _decimals([thickness])[0]
        stand_in.SpacingBetweenSlices = _decimals([study.slice_spacing_mm or thickness])[0]
        stand_in.ImageOrientationPatient = _decimals(cosines)
        stand_in.ImagePositionPatient = _decimals(normal * rank)
        stand_ins.append(stand_in)
    return stand_ins


def _put_in_place(dataset: Dataset, images: dict[str, PredictedImage]) -> None:
    """Give every frame its own position, and its place in the cardiac cycle as a third dimension."""
    planes = _plane_numbers(list(images.values()))
    phases = _temporal_numbers(list(images.values()), planes)
    dimension = Dataset()
    dimension.DimensionOrganizationUID = dataset.DimensionIndexSequence[0].DimensionOrganizationUID
    dimension.DimensionIndexPointer = Tag("TemporalPositionIndex")
    dimension.FunctionalGroupPointer = Tag("FrameContentSequence")
    dimension.DimensionDescriptionLabel = "Temporal Position Index"
    dataset.DimensionIndexSequence.append(dimension)
    if "DimensionOrganizationType" in dataset:  # said of the stand-in positions
        del dataset.DimensionOrganizationType
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        image = images[frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        frame.PlanePositionSequence[0].ImagePositionPatient = _decimals(image.image_position_patient or ())
        content = frame.FrameContentSequence[0]
        segment, _ = content.DimensionIndexValues
        content.TemporalPositionIndex = phases[image.name]
        content.DimensionIndexValues = [segment, planes[image.name], phases[image.name]]


def _plane_numbers(images: Sequence[PredictedImage]) -> dict[str, int]:
    """1-based plane of each image, by position along the normal."""
    along = {image.name: _along_mm(image) for image in images}
    number_of = {value: number for number, value in enumerate(sorted(set(along.values())), start=1)}
    return {name: number_of[value] for name, value in along.items()}


def _temporal_numbers(images: Sequence[PredictedImage], planes: dict[str, int]) -> dict[str, int]:
    """1-based temporal position: the phase, else the order within the plane."""
    if all(image.phase_index is not None for image in images):
        return {image.name: 1 + (image.phase_index or 0) for image in images}
    seen: dict[int, int] = defaultdict(int)
    numbers = {}
    for image in images:
        seen[planes[image.name]] += 1
        numbers[image.name] = seen[planes[image.name]]
    return numbers


def _along_mm(image: PredictedImage) -> float:
    """Position along the normal, to a hundredth of a millimetre, so that one plane is one value."""
    cosines = image.image_orientation_patient or ()
    return round(float(np.cross(cosines[:3], cosines[3:]) @ np.array(image.image_position_patient)), 2)


def _referenced_series(headers: Sequence[Dataset]) -> list[Dataset]:
    """All images that were looked at, by their series."""
    series: dict[str, list[Dataset]] = defaultdict(list)
    for header in headers:
        reference = Dataset()
        reference.ReferencedSOPClassUID = header.SOPClassUID
        reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
        series[header.SeriesInstanceUID].append(reference)
    items = []
    for uid, references in series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedInstanceSequence = references
        items.append(item)
    return items


def _thickness(study: PredictedStudy, header: Dataset) -> float:
    thickness = header.get("SliceThickness") or study.slice_spacing_mm
    if not thickness:
        raise SourceError(f"{study.images[0].name}: neither SliceThickness nor a distance of slices is known")
    return float(thickness)


def _decimals(numbers: Iterable[float]) -> list[str]:
    """Decimal strings of at most 16 characters (PS3.5, 6.2)."""
    return [format_number_as_ds(float(number)) for number in numbers]


def _describe(number: int) -> Any:
    import highdicom
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription

    label, kind, colour = SEGMENTS[number]
    return SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=kind,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="lvseg", family=codes.DCM.ArtificialIntelligence, version=__version__
        ),
        display_color=highdicom.color.CIELabColor.from_rgb(*colour),
    )
