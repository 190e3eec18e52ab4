"""Masks and images as NIfTI: one 4D file of each for a whole cine, else one 3D file of each for every phase."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import SourceError
from lvseg.outputs.cine import phase_step_ms
from lvseg.outputs.geometry import StackGeometry, stack_geometry
from lvseg.outputs.notes import write_note
from lvseg.outputs.study import PredictedImage, PredictedStudy
from lvseg.store import UPath, write_bytes

__all__ = ["write_nifti"]

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM's patient axes point left and posterior, NIfTI's right and anterior."""
COMPRESSION = 1
"""Higher levels take several times as long for files a few percent smaller."""
SCANNER = 1
"""NIFTI_XFORM_SCANNER_ANAT: the coordinates are the scanner's."""
SHEAR_TOLERANCE = 1e-3
"""Cosine of the angle between slice axis and image plane up to which a quaternion can say how the volume lies."""
SHOWN_GAPS = 3


def write_nifti(study: PredictedStudy, folder: UPath) -> list[str]:
    """Write ``CASE-mask.nii.gz`` and ``CASE-image.nii.gz``, or ``CASE-phase-00-mask.nii.gz`` and so on.

    Axes are (column, row, slice, phase) as NIfTI's users expect. Masks are uint8 (1 cavity, 2 myocardium), images
    int16 where that holds their grey values, else float32. A cine of which images are missing is written phase by
    phase; the planes that are missing are 0.

    Returns:
        Names relative to the folder, that of a note too where there is no 4D file.

    Raises:
        SourceError: an image has no place, lies off the stack, or shares its slice and phase with another.
    """
    _check_cells(study.images)
    stack = stack_geometry(study.images, study.slice_spacing_mm)
    phases = sorted({image.phase_index for image in study.images if image.phase_index is not None}) or [0]
    step_ms = phase_step_ms(study.images)
    if not (gaps := _gaps(study.images, stack, phases)):
        return _write_pair(folder, study.case_id, study.images, stack, phases, step_ms)
    names = []
    for phase in phases:
        images = [image for image in study.images if (image.phase_index or 0) == phase]
        names += _write_pair(folder, f"{study.case_id}-phase-{phase:02d}", images, stack, [phase], None)
    shown = ", ".join(gaps[:SHOWN_GAPS]) + (f" and {len(gaps) - SHOWN_GAPS} more" if len(gaps) > SHOWN_GAPS else "")
    text = f"no 4D file but one of every phase, missing planes are 0: no image of {shown}, counted from 0"
    return [*names, write_note(folder, "nifti", text)]


def _check_cells(images: Sequence[PredictedImage]) -> None:
    """Refuse two images of the same slice and phase, and phases that only some images have."""
    known = [image for image in images if image.phase_index is not None]
    cells = Counter((image.slice_index, image.phase_index) for image in images)
    for image in images:
        if known and image.phase_index is None:
            raise SourceError(f"{image.name}: its phase is not known, of {known[0].name} it is")
        if cells[image.slice_index, image.phase_index] > 1:
            what = "slice and phase" if known else "slice, and its phase is not known"
            raise SourceError(f"{image.name}: another image has the same {what}")


def _gaps(images: Sequence[PredictedImage], stack: StackGeometry, phases: Sequence[int]) -> list[str]:
    """Planes without an image, 0-based."""
    there = {(image.slice_index, image.phase_index or 0) for image in images}
    every = range(stack.first_slice, stack.first_slice + stack.slices)
    last = max(phases) if len(phases) > 1 else phases[0]
    first = 0 if len(phases) > 1 else last
    return [f"slice {s} phase {p}" for p in range(first, last + 1) for s in every if (s, p) not in there]


def _write_pair(
    folder: UPath,
    stem: str,
    images: Sequence[PredictedImage],
    stack: StackGeometry,
    phases: Sequence[int],
    step_ms: float | None,
) -> list[str]:
    shape = (*images[0].mask.shape[::-1], stack.slices, *([len(phases)] if len(phases) > 1 else []))
    masks, greys = np.zeros(shape, np.uint8, "F"), np.zeros(shape, _grey_type(images), "F")
    for image in images:
        at = (image.slice_index or 0) - stack.first_slice
        plane = (..., at, phases.index(image.phase_index or 0)) if len(phases) > 1 else (..., at)
        masks[plane], greys[plane] = image.mask.T, image.image.T
    files = {f"{stem}-mask.nii.gz": masks, f"{stem}-image.nii.gz": greys}
    for name, volume in files.items():
        write_bytes(folder / name, _encode(volume, stack, step_ms))
    return [*files]


def _grey_type(images: Sequence[PredictedImage]) -> type[np.generic]:
    limits = np.iinfo(np.int16)
    whole = all(
        limits.min <= image.image.min() and image.image.max() <= limits.max and not (image.image % 1).any()
        for image in images
    )
    return np.int16 if whole else np.float32


def _encode(volume: NDArray[np.generic], stack: StackGeometry, step_ms: float | None) -> bytes:
    import nibabel

    affine = RAS_FROM_LPS @ stack.affine
    file: Any = nibabel.Nifti1Image(volume, affine)  # type: ignore[no-untyped-call]
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    straight = bool(np.abs(axes[:, 2] @ axes[:, :2]).max() <= SHEAR_TOLERANCE)
    file.set_sform(affine, SCANNER)
    file.set_qform(affine, SCANNER if straight else 0)
    if volume.ndim == 4 and step_ms is not None:
        file.header.set_zooms((*file.header.get_zooms()[:3], step_ms / 1000))
    file.header.set_xyzt_units("mm", "sec" if volume.ndim == 4 and step_ms is not None else "unknown")
    return gzip.compress(file.to_bytes(), COMPRESSION, mtime=0)
