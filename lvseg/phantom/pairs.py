"""Image–mask pairs: ``images/NAME.png`` and ``masks/NAME.png``, or TIFF, NumPy, NIfTI.

Pictures and NumPy files hold one image each, only those with a contour; masks are 0 and 255. NIfTI files hold the
whole cine, ``images/PH-N-1.nii.gz``, or with labelled images only, ``PH-N-1_ED.nii.gz`` and ``PH-N-1_ES.nii.gz``;
masks are 0, 1 (cavity) and 2 (myocardium) in all planes at end-diastole and end-systole.
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
        labelled_only: of volumes, only end-diastole and end-systole.
    """

    def __init__(self, pair_format: PairFormat, *, labelled_only: bool) -> None:
        self._format, self._labelled_only = pair_format, labelled_only

    def identity(self, number: int) -> Identity:
        """The phantom's own names."""
        return phantom_identity(number)

    def image_file(self, study: Study, image: PlannedImage) -> PurePosixPath:
        """Where an image is."""
        return PurePosixPath("images", self._name(study, image))

    def label_file(self, study: Study, contour: PlannedContour) -> PurePosixPath:
        """Where the mask is."""
        return PurePosixPath("masks", self._name(study, contour))

    def slice_name(self, study: Study, file: PlannedImage | PlannedContour) -> str:
        """Of a volume, the plane's name."""
        if self._format != "nifti":
            return super().slice_name(study, file)
        phase = "" if self._labelled_only else f"-p{file.phase:02d}"
        return f"{self._volume(study, file.phase)}-s{file.slice_index:02d}{phase}"

    def _name(self, study: Study, file: PlannedImage | PlannedContour) -> str:
        if self._format == "nifti":
            return f"{self._volume(study, file.phase)}.nii.gz"
        return f"{slice_name(study.identity.case_id, file.number)}.{self._format}"

    def _volume(self, study: Study, phase: int) -> str:
        if not self._labelled_only:
            return study.identity.case_id
        return f"{study.identity.case_id}_{'ED' if phase == study.truth.ed_phase else 'ES'}"

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
        study = plan.study
        drawn = sorted({study.truth.ed_phase, study.truth.es_phase})
        volumes = [[phase] for phase in drawn] if self._labelled_only else [list(range(study.phases))]
        for phases in volumes:
            name = f"{self._volume(study, phases[0])}.nii.gz"
            labels = [[_labels(study, s, p if p in drawn else None) for p in phases] for s in range(study.slices)]
            _write_nifti(out / "images" / name, np.array(_cine(study, phases)), study)
            _write_nifti(out / "masks" / name, np.array(labels), study)
        return len(volumes)


def _cine(study: Study, phases: list[int]) -> list[list[NDArray[np.int16]]]:
    painter = Painter()
    return [
        [painter.paint(PlannedImage(shows=study, slice_index=s, phase=p, number=1)) for p in phases]
        for s in range(study.slices)
    ]


def _write_nifti(path: Path, planes: NDArray[Any], study: Study) -> None:
    """Write (slices, phases, rows, columns) as NIfTI's (columns, rows, slices[, phases])."""
    import nibabel

    volume = planes.transpose(3, 2, 0, 1)
    image = nibabel.Nifti1Image(volume[..., 0] if volume.shape[3] == 1 else volume, _affine(study))  # type: ignore[no-untyped-call]
    image.to_filename(path)


def _labels(study: Study, slice_index: int, phase: int | None) -> NDArray[np.uint8]:
    """(rows, columns): both classes, also at end-systole, where the contour files have no epicardium."""
    shape = (study.size, study.size)
    labels = np.zeros(shape, np.uint8)
    if phase is None:
        return labels
    state = section(study.anatomy, slice_index, phase / study.phases)
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
