"""Find folders of patients in a source tree by a few names, whatever lies above them.

Patients lie side by side, so of each folder only as many entries are looked at as it takes to recognise one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lvseg.sources.cases import canonical_case_id, is_public_case_id
from lvseg.sources.listing import Collector, walk
from lvseg.sources.pseudonym import Pseudonyms
from lvseg.store import UPath

__all__ = ["CONTOUR_FOLDER", "PatientTree", "case_folders", "scan"]

CONTOUR_FOLDER = "contours-manual"
"""Below a patient's folder of contours."""
CINE_FOLDERS = ("cinesax", "cinelax")
"""How the names of the Cardiac Atlas Project's series folders start."""
PATIENT_TABLE = "scd_patientdata.csv"
LEVELS = 7
"""Levels of folders from the source folder to a patient's own."""

Kind = Literal["images", "contours"]


@dataclass(slots=True)
class PatientTree:
    """Where patients are."""

    images: list[UPath] = field(default_factory=list)
    """Folders of patients' image folders."""
    contours: list[UPath] = field(default_factory=list)
    """Folders of patients' contour folders."""
    tables: list[UPath] = field(default_factory=list)
    """The Cardiac Atlas Project's tables of patients."""
    has_series_folders: bool = False
    """Whether a patient was found with a folder for each series."""

    @property
    def root(self) -> UPath:
        """The deepest folder that holds all of them."""
        every = [*self.images, *self.contours, *(table.parent for table in self.tables)]
        root = every[0]
        while not all(path == root or path.is_relative_to(root) for path in every):
            root = root.parent
        return root

    def shares_names(self) -> bool:
        """Whether an image folder and a contour folder are named for the same patient."""
        images, contours = (
            {canonical_case_id(name) for parent in parents for name in _folders(parent)}
            for parents in (self.images, self.contours)
        )
        return not images.isdisjoint(contours)


def scan(folder: UPath) -> PatientTree:
    """Look for patients at or below a folder; opens no file."""
    tree = PatientTree()
    _scan(folder, LEVELS, tree)
    return tree


def _scan(folder: UPath, levels: int, tree: PatientTree) -> Kind | None:
    """What a folder is to a patient; goes into the folders below until one is recognised."""
    _, folders, files = next(iter(walk(folder, 1)), (folder, [], []))
    if CONTOUR_FOLDER in folders:
        return "contours"
    if any(name.lower().endswith(".dcm") for name in files):
        return "images"
    tree.tables += [folder / name for name in files if name.lower() == PATIENT_TABLE]
    if any(name.lower().startswith(CINE_FOLDERS) for name in folders):
        tree.has_series_folders = True
        return "images"
    if levels == 1 or "link.csv" in files:
        return None
    for name in folders:
        kind = _scan(folder / name, levels - 1, tree)
        if kind == "contours":
            tree.contours.append(folder)
            return None
        if kind == "images":
            if is_public_case_id(folder.name):  # a folder more between the patient and his images
                return "images"
            tree.images.append(folder)
            return None
    return None


def _folders(parent: UPath) -> list[str]:
    return next(iter(walk(parent, 1)), (parent, [], []))[1]


def case_folders(parents: list[UPath], found: Collector, pseudonyms: Pseudonyms) -> dict[str, UPath]:
    """Patients' folders by canonical id; second ones of a patient and files beside them are left out."""
    cases: dict[str, UPath] = {}
    for parent in parents:
        _, folders, files = next(iter(walk(parent, 1)), (parent, [], []))
        for name in files:
            if name.lower() not in (PATIENT_TABLE, "link.csv"):
                found.skip(parent / name, "expected a folder here")
        for name in folders:
            if (other := cases.setdefault(canonical_case_id(name), parent / name)) != parent / name:
                case_id = pseudonyms.case_id(name)
                found.skip(parent / name, f"same case as {found.shown(other, case_id)}", case_id)
    return cases
