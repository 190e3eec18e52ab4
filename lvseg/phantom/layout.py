"""What every layout of the phantom has to say: names, places, and how a patient is written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from lvseg.phantom.anatomy import Group
from lvseg.phantom.dicom import StudyWriter
from lvseg.phantom.painter import Painter
from lvseg.phantom.plan import Identity, PatientPlan, PlannedContour, PlannedImage, SeriesKind, Stray, Study
from lvseg.sources.cases import OFFICIAL_PARTS, pathology_group, slice_name

__all__ = ["Layout", "official_case", "phantom_identity", "write_dicom"]

PHANTOM_SERIES = 300

_ANATOMIES: dict[str, Group] = {"N": "N", "HYP": "HYP", "HF": "HF", "HF-NI": "HF", "HF-I": "HF"}
"""The heart that fits a pathology group."""


class Layout(ABC):
    """One way in which users keep images and labels; paths are relative to the phantom's folder."""

    max_patients = 9999
    others: tuple[SeriesKind, ...] = ()
    """Series that lie beside the short-axis cine."""

    @abstractmethod
    def identity(self, number: int) -> Identity:
        """What the layout calls patient ``number``, from 1."""

    @abstractmethod
    def image_file(self, study: Study, image: PlannedImage) -> PurePosixPath:
        """Where an image is."""

    @abstractmethod
    def label_file(self, study: Study, contour: PlannedContour) -> PurePosixPath:
        """Where a contour, or the mask made from it, is."""

    @abstractmethod
    def write(self, out: Path, plan: PatientPlan) -> int:
        """Write one patient; returns the number of image files."""

    def slice_name(self, study: Study, file: PlannedImage | PlannedContour) -> str:
        """Name of the slice that an image becomes."""
        return slice_name(study.identity.case_id, file.number)

    def stray_file(self, plan: PatientPlan, stray: Stray) -> PurePosixPath:
        """Where a stray file lies."""
        folders = {
            "root": PurePosixPath(),
            "images": self.image_file(plan.study, plan.images[0]).parent,
            "contours": self.label_file(plan.study, plan.contours[0]).parent,
        }
        return folders[stray.place] / stray.name

    def tables(self, studies: Sequence[Study]) -> dict[str, str]:
        """Text files of the whole tree, by path."""
        return {}

    def anatomy_group(self, number: int) -> Group:
        """The heart of patient ``number``."""
        return _ANATOMIES[self.identity(number).group]


def phantom_identity(number: int) -> Identity:
    """The phantom's own names: groups N, HYP and HF take turns."""
    group = ("N", "HYP", "HF")[(number - 1) % 3]
    return Identity(
        patient_id=f"PHANTOM{number:04d}", case_id=f"PH-{group}-{number}", group=group, series_number=PHANTOM_SERIES
    )


def official_case(number: int) -> tuple[str, str, str]:
    """Part, case id and pathology group of the challenge's patient ``number``, 1 to 45.

    Parts and pathology groups take turns, so that a few patients show some of each.
    """
    parts = list(OFFICIAL_PARTS)
    turn = (number - 1) % len(parts)
    ids = OFFICIAL_PARTS[parts[turn]]
    groups = [str(pathology_group(case_id)) for case_id in ids]
    # The first of each group, the second of each group …; every part starts with another group.
    order = sorted(range(len(ids)), key=lambda index: (groups[:index].count(groups[index]), index))
    index = order[((number - 1) // len(parts) + turn) % len(ids)]
    return parts[turn], ids[index], groups[index]


def write_dicom(out: Path, plan: PatientPlan, layout: Layout) -> None:
    """Write the DICOM files of one patient."""
    writer, painter = StudyWriter(plan.study), Painter()
    folders: set[Path] = set()
    for image in plan.images:
        path = out / layout.image_file(plan.study, image)
        if path.parent not in folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.add(path.parent)
        path.write_bytes(writer.encode(image, painter.paint(image)))
