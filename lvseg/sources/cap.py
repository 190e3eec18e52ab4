"""The Cardiac Atlas Project's layout: a folder for each series, and a table of patients.

::

    SCD_IMAGES_01/SCD0000101/CINESAX_300/IM-0003-0048.dcm
    SCD_ManualContours/SC-HF-I-01/contours-manual/IRCCI-expert/IM-0001-0048-icontour-manual.txt
    scd_patientdata.csv                           PatientID,OriginalID,Gender,Age,Pathology

Gender and age are never kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lvseg.errors import SourceError
from lvseg.sources.cases import canonical_case_id, pathology_group
from lvseg.sources.listing import Collector, Listing, Unit, walk
from lvseg.sources.patient import PatientSource, sorted_units
from lvseg.sources.table import read_table
from lvseg.sources.tree import PATIENT_TABLE, PatientTree, case_folders, scan
from lvseg.store import UPath

__all__ = ["CapSource", "find_cap"]

SHORT_AXIS = "cinesax"
"""How the names of short-axis series folders start."""
PATHOLOGIES = {
    "normal": "N",
    "hypertrophy": "HYP",
    "heart failure without infarct": "HF-NI",
    "heart failure with infarct": "HF-I",
}
"""Pathology in the table → group."""


def find_cap(folder: UPath) -> list[UPath]:
    """The folder that holds images, contours and the table that joins them, or none."""
    tree = scan(folder)
    return [tree.root] if _is_cap(tree) else []


def _is_cap(tree: PatientTree) -> bool:
    recognised = bool(tree.tables) or tree.has_series_folders
    return recognised and bool(tree.images and tree.contours) and not tree.shares_names()


@dataclass(frozen=True, kw_only=True, slots=True)
class CapSource(PatientSource):
    """The Cardiac Atlas Project's layout."""

    @property
    def layout(self) -> Literal["cap"]:
        """The layout's name."""
        return "cap"

    def units(self) -> tuple[tuple[Unit, ...], Listing]:
        """Patients of the table that have images and contours; reads the table and names of folders.

        Raises:
            SourceError: no table, or not with the columns PatientID and OriginalID.
        """
        found, tree = Collector(self.folder), scan(self.root)
        if not tree.tables:
            raise SourceError(f"{self.root}: no {PATIENT_TABLE}, which says whose images and contours belong together")
        images = case_folders(tree.images, found, self.pseudonyms)
        contours = case_folders(tree.contours, found, self.pseudonyms)
        units = []
        for row in read_table(tree.tables[0], ("PatientID", "OriginalID"), ("Pathology",), found):
            patient_id, original_id, pathology = row
            case_id = canonical_case_id(original_id)
            shown = self.pseudonyms.case_id(original_id)
            folder, labels = images.pop(patient_id, None), contours.pop(case_id, None)
            if folder and labels:
                group = pathology_group(case_id) or PATHOLOGIES.get(pathology.lower())
                units.append(self.unit(original_id, group, _series_folders(folder), labels))
            elif folder:
                found.skip(folder, f"images without contours, no contour folder of {shown}", shown)
            elif labels:
                found.skip(labels, f"contours without images, no image folder of {shown}", shown)
        for folder in (*images.values(), *contours.values()):
            found.skip(folder, f"folder is not in {PATIENT_TABLE}", self.pseudonyms.case_id(folder.name))
        return sorted_units(units), found.finish()


def _series_folders(patient: UPath) -> list[UPath]:
    """The short-axis series of a patient; where no name tells them, all that he has."""
    _, folders, _ = next(iter(walk(patient, 1)), (patient, [], []))
    return [patient / name for name in folders if name.lower().startswith(SHORT_AXIS)] or [patient]
