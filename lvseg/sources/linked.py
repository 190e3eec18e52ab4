"""The linked layout: ``link.csv``, DICOM images by patient, contour files by case.

::

    link.csv                                                              patient_id,original_id
    dicoms/SCD0000101/48.dcm                                              folder patient_id, image number
    contourfiles/SC-HF-I-1/i-contours/IM-0001-0048-icontour-manual.txt    folder original_id
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from lvseg.errors import SourceError
from lvseg.sources.cases import canonical_case_id, slice_name
from lvseg.sources.contours import CONTOUR_FILE
from lvseg.sources.listing import Collector, LinkedItem, Listing, visible

__all__ = ["find_linked", "list_linked"]

LINKED_PARTS = ("link.csv", "dicoms", "contourfiles")
COLUMNS = ("patient_id", "original_id")
DICOM_FILE = re.compile(r"(?:.*[-_])?(?P<number>\d+)\.dcm", re.IGNORECASE)


def find_linked(folder: Path) -> list[Path]:
    """The folder itself if it has this layout, else those of its subfolders that have it."""
    candidates = [folder] if _is_linked(folder) else visible(folder)
    return [candidate for candidate in candidates if _is_linked(candidate)]


def _is_linked(folder: Path) -> bool:
    return all((folder / part).exists() for part in LINKED_PARTS)


def list_linked(root: Path, folder: Path) -> Listing:
    """Match contours with images by their numbers; reads link.csv and file names only.

    Args:
        root: the folder that holds link.csv.
        folder: the source folder; skipped files are named relative to it.

    Raises:
        SourceError: link.csv cannot be used, there is no endocardium contour, or no contour has an image.
    """
    found = Collector(folder)
    contour_folders = _folders(root / "contourfiles", found)
    contours = {case_id: _contours(entry, found) for case_id, entry in contour_folders.items()}
    if not any(contours.values()):
        expected = "files named like IM-0001-0048-icontour-manual.txt"
        raise SourceError(f"{root / 'contourfiles'}: no endocardium contours, expected {expected}")
    image_folders = _folders(root / "dicoms", found)
    for case_id, patient_id in _read_links(root / "link.csv", found).items():
        if image_folder := image_folders.pop(patient_id, None):
            _match(case_id, _images(image_folder, found), contours.get(case_id, {}), found)
        else:
            found.skip(root / "dicoms" / patient_id, f"no such folder, but link.csv lists it for {case_id}")
        contours.pop(case_id, None)
    for entry in [contour_folders[case_id] for case_id in contours] + list(image_folders.values()):
        found.skip(entry, "folder is not in link.csv")
    return found.finish("linked")


def _folders(parent: Path, found: Collector) -> dict[str, Path]:
    """Subfolders by canonical id."""
    folders: dict[str, Path] = {}
    for entry in visible(parent):
        if not entry.is_dir():
            found.skip(entry, "expected a folder here")
        elif (other := folders.setdefault(canonical_case_id(entry.name), entry)) != entry:
            found.skip(entry, f"same case as {found.relative(other)}")
    return folders


def _read_links(path: Path, found: Collector) -> dict[str, str]:
    """Patient id of each case id."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header, rows = reader.fieldnames or [], list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read as CSV: {error}") from None
    if missing := [column for column in COLUMNS if column not in header]:
        raise SourceError(f"{path}: no column {' or '.join(missing)}, found {', '.join(header) or 'nothing'}")
    links: dict[str, str] = {}
    for row_number, row in enumerate(rows, start=1):
        patient_id, original_id = ((row[column] or "").strip() for column in COLUMNS)
        case_id = canonical_case_id(original_id)
        if not patient_id or not case_id:
            found.skip(path, f"row {row_number}: patient_id or original_id is empty")
        elif case_id in links or patient_id in links.values():
            found.skip(path, f"row {row_number}: {patient_id} or {case_id} is listed twice")
        else:
            links[case_id] = patient_id
    return links


def _images(folder: Path, found: Collector) -> dict[int, Path]:
    """DICOM files by image number."""
    images: dict[int, Path] = {}
    for path in visible(folder):
        match = DICOM_FILE.fullmatch(path.name)
        if not match:
            found.skip(path, "not a DICOM image named by its number, like 48.dcm")
        elif (other := images.setdefault(int(match["number"]), path)) != path:
            found.skip(path, f"same image number as {found.relative(other)}")
    return images


def _contours(folder: Path, found: Collector) -> dict[int, Path]:
    """Endocardium contours of a case by image number; other kinds are no business of ours."""
    contours: dict[int, Path] = {}
    for path in visible(folder):
        if path.is_dir():
            inner = _contours(path, found)
        elif match := CONTOUR_FILE.fullmatch(path.name):
            inner = {int(match["number"]): path} if match["kind"].lower() == "i" else {}
        else:
            inner = {}
            found.skip(path, "not a manual contour, expected a name like IM-0001-0048-icontour-manual.txt")
        for number, contour in inner.items():
            if (other := contours.setdefault(number, contour)) != contour:
                found.skip(contour, f"same image number as {found.relative(other)}")
    return contours


def _match(case_id: str, images: dict[int, Path], contours: dict[int, Path], found: Collector) -> None:
    for number, contour in contours.items():
        if number in images:
            name = slice_name(case_id, number)
            found.add(LinkedItem(name=name, case_id=case_id, dicom=images[number], contour=contour))
        else:
            found.skip(contour, f"contour without image, no file numbered {number} in the patient's image folder")
    found.unlabelled_images += len(images.keys() - contours.keys())
