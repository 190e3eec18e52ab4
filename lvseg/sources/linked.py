"""The linked layout: ``link.csv``, DICOM images by patient, contour files by case.

::

    link.csv                                                              patient_id,original_id
    dicoms/SCD0000101/48.dcm                                              folder patient_id
    contourfiles/SC-HF-I-1/i-contours/IM-0001-0048-icontour-manual.txt    folder original_id, image number
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lvseg.sources.cases import canonical_case_id, pathology_group
from lvseg.sources.listing import Collector, Listing, Unit, walk
from lvseg.sources.patient import PatientSource, sorted_units
from lvseg.sources.table import read_table
from lvseg.sources.tree import case_folders
from lvseg.store import UPath

__all__ = ["LinkedSource", "find_linked"]

LINK_TABLE, IMAGES, CONTOURS = "link.csv", "dicoms", "contourfiles"
LEVELS = 3
"""Levels of folders that are looked at for a link.csv."""


def find_linked(folder: UPath) -> list[UPath]:
    """Every folder that holds link.csv, ``dicoms`` and ``contourfiles``, at this one or up to two below."""
    found = []
    for parent, folders, files in walk(folder, LEVELS):
        if LINK_TABLE in files and {IMAGES, CONTOURS} <= set(folders):
            found.append(parent)
            folders[:] = []
    return sorted(found, key=lambda path: path.as_posix())


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkedSource(PatientSource):
    """The linked layout."""

    @property
    def layout(self) -> Literal["linked"]:
        """The layout's name."""
        return "linked"

    def units(self) -> tuple[tuple[Unit, ...], Listing]:
        """Patients of link.csv that have images and contours; reads link.csv and names of folders.

        Raises:
            SourceError: link.csv cannot be used.
        """
        found = Collector(self.folder)
        images = case_folders([self.root / IMAGES], found, self.pseudonyms)
        contours = case_folders([self.root / CONTOURS], found, self.pseudonyms)
        units = []
        for patient_id, original_id in read_table(self.root / LINK_TABLE, ("patient_id", "original_id"), (), found):
            case_id, shown = canonical_case_id(original_id), self.pseudonyms.case_id(original_id)
            folder, labels = images.pop(patient_id, None), contours.pop(case_id, None)
            if folder and labels:
                units.append(self.unit(original_id, pathology_group(case_id), [folder], labels))
            elif folder:
                found.skip(folder, f"images without contours, no contour folder of {shown}", shown)
            else:
                missing = self.root / IMAGES / patient_id
                found.skip(missing, f"no such folder, but link.csv lists it for {shown}", shown)
                if labels:
                    found.skip(labels, f"contours without images, no image folder of {shown}", shown)
        for folder in (*images.values(), *contours.values()):
            found.skip(folder, "folder is not in link.csv", self.pseudonyms.case_id(folder.name))
        return sorted_units(units), found.finish()
