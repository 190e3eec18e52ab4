"""Image–mask pairs: ``images/NAME.png`` and ``masks/NAME.png``, or TIFF, NumPy, NIfTI.

Pictures and NumPy files hold one image each, only those with a contour; masks are 0 and 255. NIfTI files hold the
whole stack at end-diastole and at end-systole, ``images/PH-N-1_01.nii.gz`` being the first phase; masks are 0,
1 (cavity) and 2 (myocardium), in planes without a cavity 0.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lvseg.phantom.anatomy import section
from lvseg.phantom.dicom import StudyWriter
from lvseg.phantom.layout import Layout, phantom_identity
from lvseg.phantom.painter import Painter
from lvseg.phantom.plan import Identity, PatientPlan, PlannedContour, PlannedImage, Study, contour_points
from lvseg.rasterize import rasterize
from lvseg.slices import CAVITY, MYOCARDIUM
from lvseg.sources.cases import slice_name

__all__ = ["PairFormat", "PairsLayout"]

PairFormat: TypeAlias = Literal["png", "tiff", "npy", "nifti"]

FOREGROUND = 255


def _picture(pixels: NDArray[Any], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()


def _npy(pixels: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return buffer.getvalue()


_ENCODERS: dict[str, Callable[[NDArray[Any]], bytes]] = {
    "png": lambda pixels: _picture(pixels, "PNG"),
    "tiff": lambda pixels: _picture(pixels, "TIFF"),
    "npy": _npy,
}


class PairsLayout(Layout):
    """Layout ``pairs``.

    Args:
        pair_format: kind of file.
    """

    def __init__(self, pair_format: PairFormat = "png") -> None:
        self._format: PairFormat = pair_format

    def identity(self, number: int) -> Identity:
        """The phantom's own names."""
        return phantom_identity(number)

    def image_file(self, study: Study, image: PlannedImage) -> PurePosixPath:
        """Where an image is."""
        return PurePosixPath("images", self._name(study, image))

    def label_file(self, study: Study, contour: PlannedContour) -> PurePosixPath:
        """Where the mask is."""
        return PurePosixPath("masks", self._name(study, contour))

    def _name(self, study: Study, file: PlannedImage | PlannedContour) -> str:
        case_id = study.identity.case_id
        if self._format == "nifti":
            return f"{case_id}_{file.phase + 1:02d}.nii.gz"
        return f"{slice_name(case_id, file.number)}.{self._format}"

    def write(self, out: Path, plan: PatientPlan) -> int:
        """Write one patient; returns the number of image files."""
        for folder in ("images", "masks"):
            (out / folder).mkdir(exist_ok=True)
        return self._write_volumes(out, plan) if self._format == "nifti" else self._write_pictures(out, plan)

    def _write_pictures(self, out: Path, plan: PatientPlan) -> int:
        study, encode, painter = plan.study, _ENCODERS[self._format], Painter()
        shape = (study.size, study.size)
        for contour in plan.contours_of("i"):
            mask = rasterize(contour.points, shape, "centre") * np.uint8(FOREGROUND)
            (out / self.label_file(study, contour)).write_bytes(encode(mask))
        labelled = {contour.number for contour in plan.contours_of("i")}
        images = [image for image in plan.images if image.number in labelled]
        for image in images:
            (out / self.image_file(study, image)).write_bytes(encode(painter.paint(image).astype(np.uint16)))
        return len(images)

    def _write_volumes(self, out: Path, plan: PatientPlan) -> int:
        import nibabel

        study, painter = plan.study, Painter()
        affine = _affine(study)
        phases = sorted({study.truth.ed_phase, study.truth.es_phase})
        for phase in phases:
            images = [
                PlannedImage(shows=study, slice_index=s, phase=phase, number=study.image_number(s, phase))
                for s in range(study.slices)
            ]
            stack = np.stack([painter.paint(image).T for image in images], axis=-1)
            labels = np.stack([_labels(study, s, phase).T for s in range(study.slices)], axis=-1)
            for folder, volume in (("images", stack), ("masks", labels)):
                path = out / folder / self._name(study, images[0])
                nibabel.Nifti1Image(volume, affine).to_filename(path)  # type: ignore[no-untyped-call]
        return len(phases)


def _labels(study: Study, slice_index: int, phase: int) -> NDArray[np.uint8]:
    """(rows, columns): both classes, also at end-systole, where the contour files have no epicardium."""
    state = section(study.anatomy, slice_index, phase / study.phases)
    shape = (study.size, study.size)
    labels = np.zeros(shape, np.uint8)
    if state.endocardium_mm is None:
        return labels
    for radius, value in ((state.epicardium_mm, MYOCARDIUM), (state.endocardium_mm, CAVITY)):
        outline = state.outline(np.asarray(radius))
        labels[rasterize(contour_points(outline, study.pixel_spacing_mm, study.size), shape, "centre") == 1] = value
    return labels


def _affine(study: Study) -> NDArray[np.float64]:
    """Voxel (column, row, slice) to mm, right-anterior-superior as NIfTI has it."""
    first, second = (
        StudyWriter(study).dataset(
            PlannedImage(shows=study, slice_index=s, phase=0, number=1), np.zeros((1, 1), np.int16)
        )
        for s in (0, 1)
    )
    affine = np.eye(4)
    row, column = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    origin = np.array(first.ImagePositionPatient, float)
    row_mm, column_mm = (float(value) for value in first.PixelSpacing)
    affine[:3] = np.stack(
        [row * column_mm, column * row_mm, np.array(second.ImagePositionPatient, float) - origin, origin], axis=1
    )
    return np.asarray(np.diag([-1, -1, 1, 1]) @ affine)
