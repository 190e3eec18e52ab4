"""DICOM images with contour files, in the three trees that users have on disk.

::

    linked      link.csv, dicoms/PHANTOM0001/48.dcm, contourfiles/PH-N-1/i-contours/IM-0001-0048-icontour-manual.txt
    challenge   challenge_training/SC-HF-I-1/IM-0004-0048.dcm, every series in one folder
                Sunnybrook Cardiac MR Database ContoursPart3/TrainingDataContours/SC-HF-I-01/contours-manual/…
    cap         SCD_IMAGES_01/SCD0000101/CINESAX_300/IM-0003-0048.dcm, a folder for each series
                SCD_ManualContours/SC-HF-I-01/contours-manual/IRCCI-expert/…, scd_patientdata.csv
"""

from __future__ import annotations

import csv
import io
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from lvseg.phantom.dicom import SERIES_STEP
from lvseg.phantom.layout import PHANTOM_SERIES, Layout, official_case, phantom_identity, write_dicom
from lvseg.phantom.plan import ContourKind, Identity, PatientPlan, PlannedContour, PlannedImage, SeriesKind, Study
from lvseg.sources.cases import OFFICIAL_PARTS, SAX_SERIES

__all__ = ["CapTree", "ChallengeTree", "LinkedTree"]

_CONTOUR_PARTS = {"training": 3, "validation": 2, "online": 1}
"""Number of the download that holds a part's contours."""

_PATHOLOGIES = {
    "N": "Normal",
    "HYP": "Hypertrophy",
    "HF-NI": "Heart failure without infarct",
    "HF-I": "Heart failure with infarct",
}

OFFICIAL_CASES = sum(map(len, OFFICIAL_PARTS.values()))

_PATIENTS_A_FOLDER = 9
"""Patients in one SCD_IMAGES folder."""

_EXPERT_FOLDER = PurePosixPath("contours-manual/IRCCI-expert")


class _ContourTree(Layout):
    """DICOM images and contour files."""

    @abstractmethod
    def label_folder(self, study: Study, kind: ContourKind) -> PurePosixPath:
        """Where contours of a kind are."""

    def label_file(self, study: Study, contour: PlannedContour) -> PurePosixPath:
        """Where a contour is."""
        return self.label_folder(study, contour.kind) / (
            f"IM-0001-{contour.number:04d}-{contour.kind}contour-manual.txt"
        )

    def write(self, out: Path, plan: PatientPlan) -> int:
        """Write one patient; returns the number of image files."""
        write_dicom(out, plan, self)
        for kind in ("i", "o", "p1"):
            (out / self.label_folder(plan.study, kind)).mkdir(parents=True, exist_ok=True)
        for contour in plan.contours:
            lines = [f"{x:.2f} {y:.2f}\n" for x, y in contour.points.tolist()]
            (out / self.label_file(plan.study, contour)).write_text("".join(lines), encoding="ascii")
        return len(plan.images)


class LinkedTree(_ContourTree):
    """Layout ``linked``: the phantom's own."""

    def identity(self, number: int) -> Identity:
        """The phantom's own names."""
        return phantom_identity(number)

    def image_file(self, study: Study, image: PlannedImage) -> PurePosixPath:
        """By image number."""
        return PurePosixPath("dicoms", study.identity.patient_id, f"{image.number}.dcm")

    def label_folder(self, study: Study, kind: ContourKind) -> PurePosixPath:
        """A folder for each kind; both papillary muscles share one."""
        return PurePosixPath("contourfiles", study.identity.case_id, f"{kind[0]}-contours")

    def tables(self, studies: Sequence[Study]) -> dict[str, str]:
        """Which image folder belongs to which contour folder."""
        rows = [(study.identity.patient_id, study.identity.case_id) for study in studies]
        return {"link.csv": _csv(["patient_id", "original_id"], rows)}


class ChallengeTree(_ContourTree):
    """Layout ``challenge``: the original download, with the patients' official names and series numbers."""

    max_patients = OFFICIAL_CASES
    others: tuple[SeriesKind, ...] = ("localiser", "long-axis")

    def identity(self, number: int) -> Identity:
        """The official case ids."""
        _, case_id, group = official_case(number)
        return Identity(patient_id=case_id, case_id=case_id, group=group, series_number=SAX_SERIES[case_id][0])

    def image_file(self, study: Study, image: PlannedImage) -> PurePosixPath:
        """Every series in one folder."""
        series = study.identity.series_number + SERIES_STEP[image.series]
        case_id = study.identity.case_id
        return PurePosixPath(f"challenge_{_part(case_id)}", case_id, f"IM-{series:04d}-{image.number:04d}.dcm")

    def label_folder(self, study: Study, kind: ContourKind) -> PurePosixPath:
        """One folder a patient, the number padded to two digits."""
        part = _part(study.identity.case_id)
        download = f"Sunnybrook Cardiac MR Database ContoursPart{_CONTOUR_PARTS[part]}"
        return PurePosixPath(download, f"{part.title()}DataContours", _padded(study)) / _EXPERT_FOLDER


class CapTree(_ContourTree):
    """Layout ``cap``: the Cardiac Atlas Project's copy."""

    max_patients = OFFICIAL_CASES
    others: tuple[SeriesKind, ...] = ("long-axis",)

    def identity(self, number: int) -> Identity:
        """The project's numbers for the official case ids."""
        _, case_id, group = official_case(number)
        return Identity(patient_id=f"SCD{number:05d}01", case_id=case_id, group=group, series_number=PHANTOM_SERIES)

    def image_file(self, study: Study, image: PlannedImage) -> PurePosixPath:
        """A folder for each series."""
        download = f"SCD_IMAGES_{(study.anatomy.number - 1) // _PATIENTS_A_FOLDER + 1:02d}"
        step = SERIES_STEP[image.series]
        kind = "CINELAX" if image.series == "long-axis" else "CINESAX"
        folder = f"{kind}_{study.identity.series_number + step}"
        name = f"IM-{3 + step:04d}-{image.number:04d}.dcm"
        return PurePosixPath(download, study.identity.patient_id, folder, name)

    def label_folder(self, study: Study, kind: ContourKind) -> PurePosixPath:
        """One folder a patient, the number padded to two digits."""
        return PurePosixPath("SCD_ManualContours", _padded(study)) / _EXPERT_FOLDER

    def tables(self, studies: Sequence[Study]) -> dict[str, str]:
        """Names and pathology; sex and age are made up."""
        rows = [
            (
                study.identity.patient_id,
                study.identity.case_id,
                ("Female", "Male")[study.anatomy.number % 2],
                40 + study.anatomy.number % 40,
                _PATHOLOGIES[study.identity.group],
            )
            for study in studies
        ]
        return {"scd_patientdata.csv": _csv(["PatientID", "OriginalID", "Gender", "Age", "Pathology"], rows)}


def _part(case_id: str) -> str:
    return next(part for part, ids in OFFICIAL_PARTS.items() if case_id in ids)


def _padded(study: Study) -> str:
    group, _, number = study.identity.case_id.rpartition("-")
    return f"{group}-{int(number):02d}"


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    return text.getvalue()
