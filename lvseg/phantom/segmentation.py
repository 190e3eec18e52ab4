"""DICOM images with DICOM SEG objects: ``PH-N-1/SAX_300/0048.dcm``, ``PH-N-1/SEG_400/0001.dcm``.

Each labelled phase has a SEG of its own, since one SEG cannot hold the same plane twice. It holds the cavity wherever
the endocardium is drawn, and the myocardium where the epicardium is too. With personal data in the headers, the
patient's folder has the person's name.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from lvseg.config import Structures
from lvseg.phantom.dicom import StudyWriter, file_bytes
from lvseg.phantom.layout import Layout, phantom_identity, write_dicom
from lvseg.phantom.plan import Identity, PatientPlan, PlannedContour, PlannedImage, Study
from lvseg.rasterize import label_mask
from lvseg.slices import CAVITY, MYOCARDIUM, Contours

__all__ = ["SegmentationLayout"]

SERIES_STEP_SEG = 100

SEGMENTS = {
    CAVITY: ("Left ventricular cavity", codes.SCT.LeftVentricle),
    MYOCARDIUM: ("Left ventricular myocardium", codes.SCT.LeftVentricleMyocardium),
}
"""Label and SNOMED CT type of each class; DICOM has no code for the cavity alone (PS3.16, CID 7152)."""


class SegmentationLayout(Layout):
    """Layout ``segmentation``."""

    def identity(self, number: int) -> Identity:
        """The phantom's own names; PatientID is the case id."""
        identity = phantom_identity(number)
        return replace(identity, patient_id=identity.case_id)

    def image_file(self, study: Study, image: PlannedImage) -> PurePosixPath:
        """By image number, in the series' folder."""
        return _folder(study) / f"SAX_{study.identity.series_number}" / f"{image.number:04d}.dcm"

    def label_file(self, study: Study, contour: PlannedContour) -> PurePosixPath:
        """One file for each phase of a patient."""
        return _label_file(study, contour.phase)

    def slice_name(self, study: Study, file: PlannedImage | PlannedContour) -> str:
        """With the series' number, as the headers have it."""
        return f"{study.identity.case_id}-IM-{study.identity.series_number:04d}-{file.number:04d}"

    def write(self, out: Path, plan: PatientPlan) -> int:
        """Write one patient; returns the number of image files, the SEG not counted."""
        write_dicom(out, plan, self)
        for phase in sorted({contour.phase for contour in plan.contours_of("i")}):
            path = out / _label_file(plan.study, phase)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(_segmentation(plan, phase))
        return len(plan.images)


def _folder(study: Study) -> PurePosixPath:
    return PurePosixPath(study.person.folder if study.person else study.identity.case_id)


def _label_file(study: Study, phase: int) -> PurePosixPath:
    return _folder(study) / f"SEG_{_seg_series(study)}" / f"{phase + 1:04d}.dcm"


def _seg_series(study: Study) -> int:
    return study.identity.series_number + SERIES_STEP_SEG


def _segmentation(plan: PatientPlan, phase: int) -> bytes:
    study, writer = plan.study, StudyWriter(plan.study)
    drawn = [contour for contour in plan.contours_of("i") if contour.phase == phase]
    segmentation = highdicom.seg.Segmentation(
        source_images=_sources(plan, drawn, writer),
        pixel_array=_labels(plan, drawn),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_describe(value) for value in SEGMENTS],
        series_instance_uid=writer.uid("segmentation series"),
        series_number=_seg_series(study),
        sop_instance_uid=writer.uid(f"segmentation {phase}"),
        instance_number=phase + 1,
        manufacturer="lvseg",
        manufacturer_model_name="phantom",
        software_versions="1",
        device_serial_number="1",
    )
    writer.settle(segmentation)
    return file_bytes(segmentation)


def _sources(plan: PatientPlan, drawn: list[PlannedContour], writer: StudyWriter) -> list[Dataset]:
    """Headers of the labelled images as they left the scanner, whatever became of the files since."""
    study = plan.study
    uids = {image.number: image.own_uid for image in plan.series("sax")}
    blank = np.zeros((study.size, study.size), np.int16)
    return [
        writer.dataset(
            PlannedImage(
                shows=study,
                slice_index=contour.slice_index,
                phase=contour.phase,
                number=contour.number,
                uid_of=uids.get(contour.number, ""),
            ),
            blank,
        )
        for contour in drawn
    ]


def _labels(plan: PatientPlan, drawn: list[PlannedContour]) -> NDArray[np.uint8]:
    """(images, rows, columns) classes."""
    shape = (plan.study.size, plan.study.size)
    epicardia = {contour.number: contour.points for contour in plan.contours_of("o")}
    masks = []
    for contour in drawn:
        contours = Contours(endocardium=contour.points, epicardium=epicardia.get(contour.number))
        structures: Structures = "endo" if contours.epicardium is None else "endo+myo"
        masks.append(label_mask(contours, shape, "centre", structures))
    return np.stack(masks)


def _describe(value: int) -> highdicom.seg.SegmentDescription:
    label, kind = SEGMENTS[value]
    return highdicom.seg.SegmentDescription(
        segment_number=value,
        segment_label=label,
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=kind,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
