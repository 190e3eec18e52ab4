"""Small source folders, made in the test's own folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

SQUARE = ((4, 5), (9, 5), (9, 10), (4, 10))
"""Contour with corners on pixel centres, 1-based: 5 by 5 px."""


def write_dicom(path: Path, instance_number: int, shape: tuple[int, int] = (16, 20), **elements: Any) -> Path:
    """A valid single-frame MR image whose pixel values are their own positions; None drops an element."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    values = {
        "PatientName": "Secret^Name",
        "PatientID": "SECRET-ID",
        "StudyDate": "20010203",
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "InstanceNumber": instance_number,
        "Rows": shape[0],
        "Columns": shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "PixelSpacing": [1.25, 1.5],
        "SliceThickness": 8,
        "CardiacNumberOfImages": 20,
        "PixelData": np.arange(shape[0] * shape[1], dtype="<i2").tobytes(),
    }
    for keyword, value in (values | elements).items():
        if value is not None:
            setattr(dataset, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_contour(path: Path, points: Sequence[tuple[float, float]] = SQUARE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{x:.2f} {y:.2f}\n" for x, y in points))
    return path


def write_image(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def contour_path(root: Path, case_id: str, number: int, kind: str = "i") -> Path:
    return root / f"contourfiles/{case_id}/{kind}-contours/IM-0001-{number:04d}-{kind}contour-manual.txt"


@dataclass(frozen=True)
class Cine:
    """A beating disc in a stack of slices, and its contours."""

    slices: int = 4
    phases: int = 10
    centre: tuple[float, float] = (24, 22)
    """0-based column and row."""
    size: int = 48
    noise: int = 0

    def radius(self, index: int, phase: int) -> float:
        return 10 - 1.2 * index - 3 * np.sin(np.pi * phase / self.phases)

    def pixels(self, index: int, phase: int) -> np.ndarray:
        rows, columns = np.mgrid[: self.size, : self.size]
        distance = np.hypot(columns - self.centre[0], rows - self.centre[1])
        wall = np.where(distance <= self.radius(index, phase) + 4, 60, 150)
        image = np.where(distance <= self.radius(index, phase), 300, wall)
        noise = np.random.default_rng([self.noise, index, phase]).normal(0, 20, image.shape)
        return np.clip(image + noise, 0, 1000).astype("<i2")

    def outline(self, index: int, phase: int, margin: float = 0) -> list[tuple[float, float]]:
        """In a contour file's coordinates."""
        angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        points = self.centre + (self.radius(index, phase) + margin) * np.stack([np.cos(angles), np.sin(angles)], 1)
        return [tuple(point) for point in (np.round(2 * (points + 1)) / 2).tolist()]

    def number(self, index: int, phase: int) -> int:
        return index * self.phases + phase + 1

    def labelled(self) -> list[tuple[int, int]]:
        """Slice and phase of the images with contours: end-diastole and end-systole."""
        return [(index, phase) for index in range(self.slices) for phase in (0, self.phases // 2)]

    def write_images(
        self,
        folder: Path,
        series: int = 4,
        *,
        name: str = "IM-{series:04d}-{number:04d}.dcm",
        without: Collection[int] = (),
        renumber: bool = False,
        **elements: Any,
    ) -> None:
        """Write the DICOM files; numbers left out leave a gap, unless the others are numbered anew."""
        uid, number = generate_uid(), 0
        for index, phase in itertools.product(range(self.slices), range(self.phases)):
            if self.number(index, phase) in without:
                continue
            number = number + 1 if renumber else self.number(index, phase)
            place = {
                "SeriesInstanceUID": uid,
                "SeriesNumber": series,
                "CardiacNumberOfImages": self.phases,
                "NominalInterval": 800,
                "TriggerTime": 800 * phase / self.phases,
                "SpacingBetweenSlices": 8,
                "ImagePositionPatient": [0, 0, -8 * index],
                "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
                "PixelSpacing": [1.5, 1.5],
                "PixelData": self.pixels(index, phase).tobytes(),
            }
            path = folder / name.format(series=series, number=number)
            write_dicom(path, number, (self.size, self.size), **(place | elements))

    def write_contours(self, folder: Path, kinds: Sequence[str] = ("i", "o")) -> None:
        """Write the contour files of a patient; epicardium at end-diastole only."""
        for index, phase in self.labelled():
            for kind in kinds if phase == 0 else kinds[:1]:
                stem = f"IM-0001-{self.number(index, phase):04d}-{kind}contour-manual.txt"
                write_contour(folder / stem, self.outline(index, phase, 4 if kind == "o" else 0))


@pytest.fixture
def cine() -> type[Cine]:
    return Cine


@pytest.fixture
def dicom() -> Callable[..., Path]:
    return write_dicom


@pytest.fixture
def contour() -> Callable[..., Path]:
    return write_contour


@pytest.fixture
def image() -> Callable[..., Path]:
    return write_image


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Two patients, images 1 to 21, contours at 8 and 21; the contour folder of one is zero-padded."""
    root = tmp_path / "linked"
    for patient_id, case_id in (("SCD1", "SC-HF-I-01"), ("SCD2", "PH-N-2")):
        for number in (1, 8, 21):
            write_dicom(root / f"dicoms/{patient_id}/{number}.dcm", number)
        for number in (8, 21):
            write_contour(contour_path(root, case_id, number))
        write_contour(contour_path(root, case_id, 8, kind="o"))
    (root / "link.csv").write_text("patient_id,original_id\nSCD1,SC-HF-I-1\nSCD2,PH-N-2\n")
    return root


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two parts with two images of one patient each."""
    root = tmp_path / "pairs"
    grey = np.arange(320, dtype=np.uint16).reshape(16, 20)
    mask = np.zeros((16, 20), np.uint8)
    mask[4:9, 3:8] = 255
    for part, case_id in (("part1", "SC-N-02"), ("part2", "SC-N-03")):
        for number in (10, 9):
            name = f"{case_id}-IM-0001-{number:04d}.png"
            write_image(root / part / "images" / name, grey)
            write_image(root / part / "masks" / name, mask)
    return root
