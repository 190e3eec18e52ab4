"""The phantom's images as DICOM files: MR Image Storage, explicit VR little endian unless an image says otherwise."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scipy.spatial.transform import Rotation

from lvseg.phantom.anatomy import Anatomy
from lvseg.phantom.encodings import CUT_AT, encode_pixels
from lvseg.phantom.plan import PlannedImage, SeriesKind, Study

__all__ = ["SERIES_STEP", "StudyWriter", "file_bytes"]

_DATE, _TIME = "20240101", "120000"

_ORIENTATION = np.array([[0.702, 0.708, 0.070], [-0.263, 0.350, -0.899]])
"""Directions of the rows and columns of a usual short-axis plane (left, posterior, superior)."""

_LOCALISER_ORIENTATIONS = np.array(
    [[[1, 0, 0], [0, 1, 0]], [[0, 1, 0], [0, 0, -1]], [[1, 0, 0], [0, 0, -1]]], np.float64
)
"""Axial, sagittal, coronal."""

SERIES_STEP: dict[SeriesKind, int] = {"localiser": -2, "long-axis": -1, "sax": 0, "second-sax": 1}
"""SeriesNumber of a series less that of the short-axis cine."""

_DESCRIPTIONS: dict[SeriesKind, str] = {
    "sax": "Phantom cine SAX",
    "second-sax": "Phantom cine SAX",
    "long-axis": "Phantom cine LAX",
    "localiser": "Phantom localiser",
}


class StudyWriter:
    """Turns one patient's images into DICOM; the same study gives the same bytes."""

    def __init__(self, study: Study) -> None:
        self._study, self._anatomy = study, study.anatomy
        self._slices, self._phases, self._size = study.slices, study.phases, study.size
        self._entropy = f"lvseg phantom {study.seed} {study.anatomy.number} {study.slices} {study.phases} {study.size}"
        self._orientation = _orientation(study.anatomy)
        self._interval_ms = round(60_000 / study.anatomy.heart_rate)

    def encode(self, image: PlannedImage, pixels: NDArray[np.int16]) -> bytes:
        """The file's bytes."""
        dataset = self.dataset(image, pixels)
        encode_pixels(dataset, image.encoding)
        data = file_bytes(dataset)
        return data[: int(CUT_AT * len(data))] if image.encoding == "truncated" else data

    def dataset(self, image: PlannedImage, pixels: NDArray[np.int16]) -> Dataset:
        """The image with its header."""
        dataset = Dataset()
        self._describe_patient_and_study(dataset)
        self._describe_series(dataset, image.series)
        self._describe_acquisition(dataset, image)
        self._describe_plane(dataset, image)
        self._describe_pixels(dataset, pixels)
        if self._study.person:
            self._study.person.describe(dataset)
        dataset.InstanceNumber = image.number
        dataset.SOPClassUID = MRImageStorage
        dataset.SOPInstanceUID = self.uid(image.uid_of)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        return dataset

    def uid(self, what: str) -> str:
        """A UID of this study's own."""
        if self._study.person:
            return self._study.person.uid(f"{self._entropy} {what}")
        return generate_uid(entropy_srcs=[self._entropy, what])

    def settle(self, dataset: Dataset) -> None:
        """Replace the clock's and chance's part in an object made by a library: the same study, the same bytes."""
        date = self._study.person.study_date if self._study.person else _DATE
        settled = dict.fromkeys(("SeriesDate", "ContentDate", "InstanceCreationDate"), date)
        settled |= dict.fromkeys(("SeriesTime", "ContentTime", "InstanceCreationTime"), _TIME)
        settled |= {"ContributionDateTime": date + _TIME, "DimensionOrganizationUID": self.uid("dimensions")}

        def settle_element(_: Dataset, element: DataElement) -> None:
            if element.keyword in settled:
                element.value = settled[element.keyword]

        dataset.walk(settle_element)

    def _describe_patient_and_study(self, dataset: Dataset) -> None:
        number = f"{self._anatomy.number:04d}"
        dataset.PatientName = f"Phantom^{number}"
        dataset.PatientID = self._study.identity.patient_id
        dataset.PatientBirthDate = ""
        dataset.PatientSex = ""
        dataset.PatientComments = "Synthetic image, no patient"
        dataset.StudyInstanceUID = self.uid("study")
        dataset.StudyID = number
        dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = _DATE
        dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = _TIME
        dataset.ReferringPhysicianName = ""
        dataset.AccessionNumber = ""

    def _describe_series(self, dataset: Dataset, kind: SeriesKind) -> None:
        dataset.Modality = "MR"
        dataset.SeriesInstanceUID = self.uid("series" if kind == "sax" else f"{kind} series")
        dataset.SeriesNumber = self._study.identity.series_number + SERIES_STEP[kind]
        dataset.SeriesDescription = _DESCRIPTIONS[kind]
        dataset.BodyPartExamined = "HEART"
        dataset.PatientPosition = "HFS"
        dataset.FrameOfReferenceUID = self.uid("frame of reference")
        dataset.PositionReferenceIndicator = ""
        dataset.Manufacturer = "lvseg"
        dataset.ManufacturerModelName = "phantom"
        dataset.SoftwareVersions = "1"

    def _describe_acquisition(self, dataset: Dataset, image: PlannedImage) -> None:
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
        dataset.HeartRate = self._anatomy.heart_rate
        dataset.NominalInterval = self._interval_ms
        dataset.CardiacNumberOfImages = 1 if image.series == "localiser" else self._phases
        dataset.TriggerTime = f"{self.trigger_time_ms(image):.3f}"

    def corner_mm(self, image: PlannedImage) -> NDArray[np.float64]:
        """Centre of the first pixel, (3,) in patient coordinates."""
        row, column, normal = self._plane(image)
        short_axis = image.series in ("sax", "second-sax")
        along = (image.slice_index - (self._slices - 1) / 2) * self._anatomy.slice_spacing_mm if short_axis else 0.0
        half = self._study.pixel_spacing_mm * (self._size - 1) / 2
        return np.asarray(-half * (row + self._study.row_stretch * column) - along * normal)

    def location_mm(self, image: PlannedImage) -> float:
        """Position along the normal."""
        return float(self.corner_mm(image) @ self._plane(image)[2])

    def trigger_time_ms(self, image: PlannedImage) -> float:
        """Time after the R wave."""
        return image.phase / self._phases * self._interval_ms if image.series != "localiser" else 0.0

    def _describe_plane(self, dataset: Dataset, image: PlannedImage) -> None:
        a = self._anatomy
        row, column, _ = self._plane(image)
        spacing = self._study.pixel_spacing_mm * image.spacing_factor
        dataset.PixelSpacing = [f"{spacing * factor:.6f}" for factor in (self._study.row_stretch, 1.0)]
        dataset.SliceThickness = f"{a.slice_thickness_mm:.2f}"
        dataset.SpacingBetweenSlices = f"{a.slice_spacing_mm:.2f}"
        dataset.ImageOrientationPatient = [f"{value:.9f}" for value in (*row, *column)]
        dataset.ImagePositionPatient = [f"{value:.6f}" for value in self.corner_mm(image)]
        dataset.SliceLocation = f"{self.location_mm(image):.4f}"

    def _plane(self, image: PlannedImage) -> NDArray[np.float64]:
        """Directions of rows, columns and normal, (3, 3)."""
        row, column, normal = self._orientation
        if image.series == "long-axis":
            row, column = column, -normal
        elif image.series == "localiser":
            row, column = _LOCALISER_ORIENTATIONS[image.phase]
        else:
            return self._orientation
        return np.stack([row, column, np.cross(row, column)])

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


def file_bytes(dataset: Dataset) -> bytes:
    """A dataset as the bytes of a file."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _orientation(anatomy: Anatomy) -> NDArray[np.float64]:
    """Directions of rows, columns and normal (3, 3), right-handed; the normal points from apex to base."""
    row, column = Rotation.from_euler("xyz", np.array([*anatomy.tilt, anatomy.rotation_rad / 4])).apply(_ORIENTATION)
    row /= np.linalg.norm(row)
    column -= row * (row @ column)
    column /= np.linalg.norm(column)
    return np.stack([row, column, np.cross(row, column)])
