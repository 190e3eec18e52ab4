"""Predicted studies for tests: a phantom's DICOM files with made masks, or arrays alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from scipy.spatial.transform import Rotation

from lvseg.outputs import PredictedImage, PredictedStudy
from lvseg.phantom import write_phantom

CASE = "P-0123456789abcdef"
SLICES, PHASES, SIZE, SEED = 3, 5, 64, 5
PIXELS_UP, PIXELS_LEFT = 3, 5


def heart_mask(slice_index: int, phase_index: int, shape: tuple[int, int] = (SIZE, SIZE)) -> np.ndarray:
    """A ring with a ragged edge, other on every image; beyond the last slice nothing."""
    rows, columns = np.indices(shape)
    distance = np.hypot(rows - shape[0] / 2 + PIXELS_UP, columns - shape[1] / 2 + PIXELS_LEFT)
    radius = 9.0 + 2.0 * np.cos(2 * np.pi * phase_index / PHASES) - slice_index
    mask = np.where(distance < radius, 1, np.where(distance < radius + 3, 2, 0)).astype(np.uint8)
    mask[int(shape[0] / 2) + phase_index, : slice_index + 2] = 1  # tells every image, and left from right
    return mask


def phantom_study(folder: Path, *, identifiers: bool = False) -> PredictedStudy:
    """One patient's cine, read with pydicom alone."""
    write_phantom(
        folder,
        patients=1,
        seed=SEED,
        size=SIZE,
        slices=SLICES,
        phases=PHASES,
        layout="segmentation",
        identifiers=identifiers,
    )
    headers = [(path, pydicom.dcmread(path)) for path in sorted(folder.rglob("SAX_*/*.dcm"))]
    along = {path: _along_mm(header) for path, header in headers}
    places = sorted(set(along.values()))
    images = []
    for path, header in headers:
        index = places.index(along[path])
        phase = round(float(header.TriggerTime) / (float(header.NominalInterval) / PHASES))
        images.append(
            PredictedImage(
                name=f"{CASE}-IM-0001-{int(header.InstanceNumber):04d}",
                instance_number=int(header.InstanceNumber),
                slice_index=index,
                phase_index=phase,
                trigger_time_ms=float(header.TriggerTime),
                image=header.pixel_array.astype(np.float32),
                mask=heart_mask(index, phase),
                probability=None,
                uncertainty=None,
                look=None,
                pixel_spacing=tuple(map(float, header.PixelSpacing)),
                image_position_patient=tuple(map(float, header.ImagePositionPatient)),
                image_orientation_patient=tuple(map(float, header.ImageOrientationPatient)),
                source=str(path),
            )
        )
    images.sort(key=lambda image: (image.slice_index, image.phase_index))
    return PredictedStudy(case_id=CASE, images=tuple(images), slice_spacing_mm=places[1] - places[0])


def _along_mm(header: pydicom.Dataset) -> float:
    row, column = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    return round(float(np.cross(row, column) @ np.array(header.ImagePositionPatient, float)), 3)


def oblique_study(*, shear_mm: float = 0.0, slices: int = 3, phases: int = 2) -> PredictedStudy:
    """Arrays without files, turned in space, with unequal pixels; every grey value is its own."""
    shape = (6, 9)
    row, column, normal = Rotation.from_euler("xyz", [0.4, -0.7, 1.1]).as_matrix().T
    step = 8.0 * normal + shear_mm * row
    images = [
        PredictedImage(
            name=f"{CASE}-{index}-{phase}",
            instance_number=1 + index * phases + phase,
            slice_index=index,
            phase_index=phase,
            trigger_time_ms=20.0 + 45.0 * phase,
            image=np.arange(54, dtype=np.float32).reshape(shape) + 100 * (index * phases + phase),
            mask=((np.arange(54) + index + phase) % 3).astype(np.uint8).reshape(shape),
            probability=None,
            uncertainty=None,
            look=None,
            pixel_spacing=(1.5, 1.25),
            image_position_patient=tuple((np.array([-30.0, 12.0, 55.0]) + index * step).tolist()),
            image_orientation_patient=(*row.tolist(), *column.tolist()),
            source=None,
        )
        for index in range(slices)
        for phase in range(phases)
    ]
    return PredictedStudy(case_id=CASE, images=tuple(images), slice_spacing_mm=8.0)


def change(study: PredictedStudy, number: int, **fields: object) -> PredictedStudy:
    """The study with one image changed."""
    images = list(study.images)
    images[number] = replace(images[number], **fields)
    return replace(study, images=tuple(images))
