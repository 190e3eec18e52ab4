"""The phantom's images as DICOM files: MR Image Storage, explicit VR little endian."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scipy.spatial.transform import Rotation

from lvseg.phantom.anatomy import Anatomy

__all__ = ["StudyWriter"]

_DATE = "20240101"

_ORIENTATION = np.array([[0.702, 0.708, 0.070], [-0.263, 0.350, -0.899]])
"""Directions of the rows and columns of a usual short-axis plane (left, posterior, superior)."""


class StudyWriter:
    """Writes one patient's images; the same arguments give the same bytes.

    Args:
        anatomy: the patient.
        seed: the phantom's seed; UIDs are derived from it.
        shape: slices and phases of the series.
        size: rows and columns.
    """

    def __init__(self, anatomy: Anatomy, seed: int, shape: tuple[int, int], size: int) -> None:
        self._anatomy, self._size = anatomy, size
        self._slices, self._phases = shape
        self._entropy = f"lvseg phantom {seed} {anatomy.number} {self._slices} {self._phases} {size}"
        self._orientation = _orientation(anatomy)
        self._interval_ms = round(60_000 / anatomy.heart_rate)

    def write(self, path: Path, pixels: NDArray[np.int16], slice_index: int, phase: int) -> None:
        """Write one image; its number is slice_index * phases + phase + 1."""
        number = slice_index * self._phases + phase + 1
        dataset = Dataset()
        self._describe_patient_and_study(dataset)
        self._describe_series(dataset)
        self._describe_acquisition(dataset, phase)
        self._describe_plane(dataset, slice_index)
        self._describe_pixels(dataset, pixels)
        dataset.InstanceNumber = number
        dataset.SOPClassUID = MRImageStorage
        dataset.SOPInstanceUID = self._uid(f"image {number}")
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(path, enforce_file_format=True)

    def _uid(self, what: str) -> str:
        return generate_uid(entropy_srcs=[self._entropy, what])

    def _describe_patient_and_study(self, dataset: Dataset) -> None:
        number = f"{self._anatomy.number:04d}"
        dataset.PatientName = f"Phantom^{number}"
        dataset.PatientID = f"PHANTOM{number}"
        dataset.PatientBirthDate = ""
        dataset.PatientSex = ""
        dataset.PatientComments = "Synthetic image, no patient"
        dataset.StudyInstanceUID = self._uid("study")
        dataset.StudyID = number
        dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = _DATE
        dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "120000"
        dataset.ReferringPhysicianName = ""
        dataset.AccessionNumber = ""

    def _describe_series(self, dataset: Dataset) -> None:
        dataset.Modality = "MR"
        dataset.SeriesInstanceUID = self._uid("series")
        dataset.SeriesNumber = 300
        dataset.SeriesDescription = "Phantom cine SAX"
        dataset.BodyPartExamined = "HEART"
        dataset.PatientPosition = "HFS"
        dataset.FrameOfReferenceUID = self._uid("frame of reference")
        dataset.PositionReferenceIndicator = ""
        dataset.Manufacturer = "lvseg"
        dataset.ManufacturerModelName = "phantom"
        dataset.SoftwareVersions = "1"

    def _describe_acquisition(self, dataset: Dataset, phase: int) -> None:
        a = self._anatomy
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        dataset.AcquisitionNumber = 1
        dataset.ScanningSequence = "GR"
        dataset.SequenceVariant = "SS"
        dataset.ScanOptions = "CG"
        dataset.MRAcquisitionType = "2D"
        dataset.RepetitionTime = "3.4"
        dataset.EchoTime = "1.5"
        dataset.EchoTrainLength = 1
        dataset.FlipAngle = 45
        dataset.MagneticFieldStrength = "1.5"
        dataset.HeartRate = a.heart_rate
        dataset.NominalInterval = self._interval_ms
        dataset.CardiacNumberOfImages = self._phases
        dataset.TriggerTime = f"{phase / self._phases * self._interval_ms:.3f}"

    def _describe_plane(self, dataset: Dataset, slice_index: int) -> None:
        a = self._anatomy
        spacing = a.field_of_view_mm / self._size
        row, column, normal = self._orientation
        along = (slice_index - (self._slices - 1) / 2) * a.slice_spacing_mm
        corner = -spacing * (self._size - 1) / 2 * (row + column) - along * normal
        dataset.PixelSpacing = [f"{spacing:.6f}"] * 2
        dataset.SliceThickness = f"{a.slice_thickness_mm:.2f}"
        dataset.SpacingBetweenSlices = f"{a.slice_spacing_mm:.2f}"
        dataset.ImageOrientationPatient = [f"{value:.9f}" for value in (*row, *column)]
        dataset.ImagePositionPatient = [f"{value:.6f}" for value in corner]
        dataset.SliceLocation = f"{corner @ normal:.4f}"

    def _describe_pixels(self, dataset: Dataset, pixels: NDArray[np.int16]) -> None:
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit = 15
        dataset.PixelRepresentation = 1
        dataset.WindowCenter = round(self._anatomy.peak / 3)
        dataset.WindowWidth = round(self._anatomy.peak / 1.5)
        dataset.PixelData = pixels.astype("<i2").tobytes()


def _orientation(anatomy: Anatomy) -> NDArray[np.float64]:
    """Directions of rows, columns and normal (3, 3), right-handed; the normal points from apex to base."""
    row, column = Rotation.from_euler("xyz", np.array([*anatomy.tilt, anatomy.rotation_rad / 4])).apply(_ORIENTATION)
    row /= np.linalg.norm(row)
    column -= row * (row @ column)
    column /= np.linalg.norm(column)
    return np.stack([row, column, np.cross(row, column)])
