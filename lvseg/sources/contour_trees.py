"""Automatic contours beside manual ones and the DICOM images of both: three folders → frames to evaluate.

Any tree will do, in which a folder on the way to a file is named for its patient: the challenge's, the Cardiac Atlas
Project's, the linked one, or one's own.

::

    auto/SC-HF-I-1/IM-0001-0048-icontour-auto.txt
    manual/SC-HF-I-01/contours-manual/IRCCI-expert/IM-0001-0048-icontour-manual.txt
    dicom/SC-HF-I-1/IM-0004-0048.dcm          or dicom/SCD0000101/48.dcm, and link.csv or scd_patientdata.csv
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lvseg.errors import ContourError, SourceError
from lvseg.evaluation import STRUCTURES, Frame, Structure
from lvseg.findings import Decision, Skip
from lvseg.slices import Contours, Place
from lvseg.sources.cases import SAX_SERIES, canonical_case_id, is_public_case_id, pathology_group, slice_name
from lvseg.sources.contours import ContourFiles, read_contour
from lvseg.sources.dicom import Pair, Sextuple, Triple
from lvseg.sources.evidence import choose_series
from lvseg.sources.headers import DICOM_NAME, ImageHeader, read_headers
from lvseg.sources.linked import LINK_TABLE
from lvseg.sources.listing import Collector, natural_key, walk
from lvseg.sources.pseudonym import Pseudonyms
from lvseg.sources.series import Series, find_series
from lvseg.sources.table import read_table
from lvseg.sources.tree import PATIENT_TABLE
from lvseg.store import UPath, location

__all__ = ["ContourTrees", "read_contour_trees"]

CONTOUR_FILE = re.compile(r"IM-\d+-(?P<number>\d+)-(?P<kind>[io])contour-(?P<by>manual|auto)\.txt", re.IGNORECASE)
KINDS: dict[Structure, str] = {"endocardium": "i", "epicardium": "o"}
CONTOUR_FOLDERS = ("contours-manual", "contours-auto")
"""Below a patient's folder in the challenge's trees."""
ID_COLUMNS = {LINK_TABLE: ("patient_id", "original_id"), PATIENT_TABLE: ("PatientID", "OriginalID")}
"""Tables that say which patient's images and contours belong together, and the columns of their ids."""
LEVELS = 8
"""Levels of folders that are looked at."""

Numbered = dict[int, ContourFiles]
ByPatient = dict[str, list[UPath]]
"""Files, or folders of images, of each patient by his folder's name, or by the id that a table gives it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContourTrees:
    """What was found in the three folders."""

    frames: tuple[Frame, ...]
    """Every image with a manual contour, of the patients who have automatic ones."""
    unscored: int
    """Automatic contours without a manual one of the same image."""
    without_auto: tuple[str, ...]
    """Patients with manual contours and not one automatic contour; they are left out."""
    skipped: tuple[Skip, ...]
    """Files that were left out."""
    decisions: tuple[Decision, ...]
    """Which of several series was drawn, and why."""


def read_contour_trees(
    auto: UPath | Path, manual: UPath | Path, dicom: UPath | Path, progress: Callable[[int, int], None] | None = None
) -> ContourTrees:
    """Find and read contours and the headers of their images.

    Slice, phase and spacings come from the headers of the series on which the manual contours lie.

    Args:
        auto: folder with automatic contours; a second expert's, named ``…-manual.txt``, where there are no others.
        manual: folder with manual contours; may be the same as ``dicom``.
        dicom: folder with the images, whole cines where slice and phase shall be known for sure.
        progress: told (patients done, patients in all).

    Raises:
        SourceError: a folder is missing or has none of these files, or no patient is in all three.
    """
    auto, manual, dicom = map(location, (auto, manual, dicom))
    tables = _read_tables(dicom, manual)
    drawn = _contours_in(auto, tables, ("auto",)) or _contours_in(auto, tables, ("manual",))
    reference, images = _contours_in(manual, tables, ("manual",)), _images_in(dicom, tables)
    for folder, found, what in (
        (auto, drawn, "automatic contours like IM-0001-0048-icontour-auto.txt"),
        (manual, reference, "manual contours like IM-0001-0048-icontour-manual.txt"),
        (dicom, images, "DICOM images"),
    ):
        if not found:
            raise SourceError(f"{folder}: no {what}" + ("" if folder.is_dir() else ", no such folder"))
    return _read(_as_named(drawn, reference), reference, _as_named(images, reference), dicom, progress)


def _as_named(files: ByPatient, manual: ByPatient) -> ByPatient:
    """Where there is one patient only, he is the manual contours', unless both names are patients' of the challenge."""
    if len(files) == len(manual) == 1:
        (own,), (wanted,) = files, manual
        if pathology_group(own) is None or pathology_group(wanted) is None:
            return {wanted: files[own]}
    return files


def _read(
    auto: ByPatient,
    manual: ByPatient,
    images: ByPatient,
    folder: UPath,
    progress: Callable[[int, int], None] | None,
) -> ContourTrees:
    found, pseudonyms = Collector(folder), Pseudonyms()
    # lvseg predict names folders by pseudonyms.
    auto = {next((key for key in manual if pseudonyms.case_id(key) == own), own): auto[own] for own in auto}
    frames: list[Frame] = []
    without = []
    unscored = sum(len(files) for key, files in auto.items() if key not in manual)
    for done, key in enumerate(sorted(manual, key=natural_key), start=1):
        case_id = pseudonyms.case_id(key)
        if key not in auto:
            without.append(case_id)
        elif key not in images:
            found.skipped.append(Skip(case_id, "contours without images: no image folder of this patient"))
        else:
            drawn, reference = (_by_number(files[key], case_id, found) for files in (auto, manual))
            frames += _frames(case_id, drawn, reference, images[key], found)
            unscored += sum(len(each.by_kind.keys() - _kinds(reference, number)) for number, each in drawn.items())
        if progress:
            progress(done, len(manual))
    if not frames:
        reasons = "; ".join(skip.reason for skip in found.skipped[:2])
        raise SourceError(
            f"{folder}: no patient has images, manual and automatic contours under one name"
            + (f" ({reasons})" if reasons else f"; link them with {LINK_TABLE} beside the images")
        )
    listing = found.finish()
    return ContourTrees(
        frames=tuple(frames),
        unscored=unscored,
        without_auto=tuple(without),
        skipped=listing.skipped,
        decisions=listing.decisions,
    )


def _kinds(contours: Numbered, number: int) -> set[str]:
    return set(contours[number].by_kind) if number in contours else set()


def _frames(case_id: str, auto: Numbered, manual: Numbered, folders: list[UPath], found: Collector) -> Iterator[Frame]:
    """One frame for each image with a manual contour."""
    beside = Collector(found.folder)
    headers = read_headers(folders, beside, case_id)
    # Contours may lie beside the images.
    found.skipped += [skip for skip in beside.skipped if not CONTOUR_FILE.fullmatch(skip.file.rpartition("/")[2])]
    # The field's table is about the challenge's file names; other copies count their series in other ways.
    named = {header.name_series for header in headers}
    listed = [number for number in SAX_SERIES.get(case_id, ()) if number in named]
    series, decision = choose_series(find_series(headers, found, case_id), manual, listed, case_id)
    found.decisions += [decision] if decision else []
    for number in sorted(manual):
        if series is None or number not in series.by_number:
            reason = f"{case_id}: contour without image, no image numbered {number}"
            found.skipped += [Skip(path.name, reason) for path in manual[number].by_kind.values()]
            continue
        reference = _read_contours(manual[number], case_id, found)
        yield Frame(
            name=slice_name(case_id, number),
            case_id=case_id,
            group=pathology_group(case_id),
            place=_place(series, series.by_number[number]),
            manual=reference,
            auto=_read_contours(auto.get(number, ContourFiles()), case_id, found),
        )


def _place(series: Series, image: ImageHeader) -> Place:
    slice_index, phase_index = series.places[image.number]
    return Place(
        instance_number=image.number,
        slice_index=slice_index,
        phase_index=phase_index,
        trigger_time_ms=image.trigger_time_ms,
        pixel_spacing=cast(Pair, image.pixel_spacing),
        spacing_between_slices_mm=image.spacing_between_slices_mm,
        image_position_patient=cast(Triple, image.position),
        image_orientation_patient=cast(Sextuple, image.orientation),
    )


def _read_contours(files: ContourFiles, case_id: str, found: Collector) -> Contours:
    """Both contours of an image; a file that holds none counts as missing and is listed."""
    read = {}
    for structure in STRUCTURES:
        path = files.by_kind.get(KINDS[structure])
        if path is None:
            continue
        try:
            read[structure] = read_contour(path)
        except (ContourError, SourceError) as error:
            found.skipped.append(Skip(path.name, f"{case_id}: {str(error).removeprefix(f'{path}: ')}"))
    return Contours(endocardium=read.get("endocardium"), epicardium=read.get("epicardium"))


def _by_number(paths: list[UPath], case_id: str, found: Collector) -> Numbered:
    """Contour files by image number; of two for the same contour the first by path."""
    contours: Numbered = {}
    for path in sorted(paths, key=lambda path: path.as_posix()):
        match = CONTOUR_FILE.fullmatch(path.name)
        assert match
        files = contours.setdefault(int(match["number"]), ContourFiles()).by_kind
        if files.setdefault(match["kind"].lower(), path) != path:
            found.skipped.append(Skip(path.name, f"{case_id}: a second contour of the same image, in another folder"))
    return contours


def _read_tables(*folders: UPath) -> dict[str, str]:
    """Image folder → contour folder, from tables in or just above these folders."""
    ids: dict[str, str] = {}
    for folder in {path for each in folders for path in (each, each.parent)}:
        for name, columns in ID_COLUMNS.items():
            if (table := folder / name).is_file():
                rows = read_table(table, columns, (), Collector(folder))
                ids |= {patient_id: canonical_case_id(original_id) for patient_id, original_id in rows}
    return ids


def _contours_in(folder: UPath, tables: Mapping[str, str], drawn_by: tuple[str, ...]) -> ByPatient:
    found: ByPatient = {}
    for parent, _, names in walk(folder, LEVELS):
        files = [
            parent / name
            for name in names
            if (match := CONTOUR_FILE.fullmatch(name)) and match["by"].lower() in drawn_by
        ]
        if files:
            found.setdefault(_patient(parent, folder, tables), []).extend(files)
    return found


def _images_in(folder: UPath, tables: Mapping[str, str]) -> ByPatient:
    """Patient → the folders that hold his images, none inside another."""
    found: ByPatient = {}
    for parent, _, names in walk(folder, LEVELS):
        if any(DICOM_NAME.fullmatch(name) for name in names):
            known = found.setdefault(_patient(parent, folder, tables), [])
            if not any(parent.is_relative_to(other) for other in known):
                known.append(parent)
    return found


def _patient(parent: UPath, top: UPath, tables: Mapping[str, str]) -> str:
    """The patient whose files a folder holds.

    A folder on the way that has a public id or is in a table, the innermost first; else the one above
    ``contours-manual``; else the first one below the top; else the top.
    """
    below = parent.relative_to(top).parts
    for name in reversed((*top.absolute().parts, *below)):
        if name in tables or is_public_case_id(name):
            return tables.get(name, canonical_case_id(name))
    for name, inner in itertools.pairwise(below):
        if inner in CONTOUR_FOLDERS:
            return name
    return below[0] if below and below[0] not in CONTOUR_FOLDERS else top.name
