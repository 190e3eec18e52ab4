"""The segmentation layout: DICOM images and the DICOM SEG objects that refer to them, in any tree of folders.

What a file is, which patient it is of and which image a frame belongs to is read from the headers; names of files and
folders mean nothing, and since they may hold names of persons, they are shown nowhere. An image is labelled when a
frame refers to it: writers leave empty frames out, so an image without frame may be empty or not drawn at all.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from typing import Literal

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import Tag

from lvseg.config import ConvertConfig
from lvseg.errors import SourceError
from lvseg.slices import CAVITY, MYOCARDIUM
from lvseg.sources.cases import pathology_group
from lvseg.sources.elements import text_of
from lvseg.sources.header_checks import check_headers
from lvseg.sources.headers import HEAD_BYTES, ImageHeader, parse_header
from lvseg.sources.heart import find_heart
from lvseg.sources.listing import Collector, Listing, SegmentationItem, Unit, natural_key, walk
from lvseg.sources.pseudonym import Pseudonyms, masked_path
from lvseg.sources.segmentation_item import reading_segmentation
from lvseg.sources.segments import LABELMAP_STORAGE, SEGMENTATION_STORAGE, Segments, read_segments
from lvseg.sources.series import Series, find_series
from lvseg.store import UPath

__all__ = [
    "MaskedCollector",
    "Peek",
    "SegmentationSource",
    "files_of",
    "find_segmentation",
    "image_headers",
    "peek_all",
]

MAX_PEEKED = 5000
"""Files that are opened to find out whether a folder has this layout; then ``source`` has to name it."""
LEVELS = 8
"""Levels of folders to look at."""
REQUESTS = 16
"""Files that are opened at a time; more than one for the sake of object stores."""
CHUNK = 64

CLASS_TAG, PATIENT_TAG, STUDY_TAG = (Tag(keyword) for keyword in ("SOPClassUID", "PatientID", "StudyInstanceUID"))
SEGMENTATIONS = (SEGMENTATION_STORAGE, LABELMAP_STORAGE)


@dataclass(frozen=True, slots=True)
class Peek:
    """What the first bytes of a file tell."""

    path: UPath
    """The file."""
    problem: str = ""
    """Why it is not of use."""
    original_id: str = ""
    """PatientID; the study's UID where there is none. Stays in memory."""
    is_segmentation: bool = False
    """Whether it is a SEG object."""
    study_uid: str = ""
    """StudyInstanceUID; stays in memory."""


def find_segmentation(folder: UPath) -> list[UPath]:
    """The folder itself, when there is a DICOM SEG object in it or below."""
    peeks = islice(peek_all(files_of(folder)), MAX_PEEKED)
    return [folder] if any(peek.is_segmentation for peek in peeks) else []


def files_of(folder: UPath) -> Iterator[UPath]:
    """Every file in a folder or below."""
    for path, _, names in walk(folder, LEVELS):
        yield from (path / name for name in names)


def peek_all(paths: Iterable[UPath]) -> Iterator[Peek]:
    """What the first bytes of files tell, in the order of the paths."""
    paths = iter(paths)
    with ThreadPoolExecutor(REQUESTS) as pool:
        while chunk := list(islice(paths, CHUNK)):
            yield from pool.map(_peek, chunk)


def _peek(path: UPath) -> Peek:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        return Peek(path, f"cannot be read: {error.strerror or type(error).__name__}")
    try:
        header = read_partial(
            BytesIO(head),
            stop_when=lambda tag, vr, length: tag > STUDY_TAG,
            specific_tags=[CLASS_TAG, PATIENT_TAG, STUDY_TAG],
        )
    except InvalidDicomError:
        return Peek(path, "not a DICOM file")
    except Exception as error:  # a damaged file can make pydicom raise nearly anything
        return Peek(path, f"damaged DICOM file: {type(error).__name__}")
    study_uid = text_of(header, "StudyInstanceUID")
    original_id = str(header.get("PatientID") or "").strip() or study_uid
    if not original_id:
        return Peek(path, "DICOM file without PatientID and StudyInstanceUID")
    return Peek(path, "", original_id, header.get("SOPClassUID") in SEGMENTATIONS, study_uid)


class MaskedCollector(Collector):
    """Shows no name of any folder, and of file names only what can be no person's."""

    def shown(self, path: UPath | str, case_id: str = "") -> str:
        """A path as reports may name it."""
        return masked_path(path if isinstance(path, str) else self.relative(path), case_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentationSource:
    """DICOM images and the DICOM SEG objects that refer to them."""

    folder: UPath
    """The source folder."""
    root: UPath
    """Where to look for files: this folder or below."""
    config: ConvertConfig
    """Its structures and crop."""
    pseudonyms: Pseudonyms = field(default_factory=Pseudonyms)
    """Patient ids → case ids."""

    @property
    def layout(self) -> Literal["segmentation"]:
        """The layout's name."""
        return "segmentation"

    def units(self) -> tuple[tuple[Unit, ...], Listing]:
        """One unit a patient; reads the first bytes of every file, since only they tell whose it is."""
        found = MaskedCollector(self.folder)
        cases: dict[str, list[str]] = {}
        for peek in peek_all(files_of(self.root)):
            if peek.problem and peek.path.parent != self.root:  # beside the patients lie notes and tables
                found.skip(peek.path, peek.problem)
            elif not peek.problem:
                cases.setdefault(self.pseudonyms.case_id(peek.original_id), []).append(found.relative(peek.path))
        units = [
            Unit(case_id=case_id, group=pathology_group(case_id), folders=tuple(sorted(files, key=natural_key)))
            for case_id, files in cases.items()
        ]
        return tuple(sorted(units, key=lambda unit: natural_key(unit.case_id))), found.finish()

    def list_unit(self, unit: Unit) -> Listing:
        """Match a patient's SEG objects with his images; reads headers."""
        found = MaskedCollector(self.folder)
        peeks = list(peek_all(self.folder / file for file in unit.folders))
        headers = list(image_headers([peek.path for peek in peeks if not peek.is_segmentation], found, unit.case_id))
        series = find_series(headers, found, unit.case_id)
        images = _by_key(series)
        for path in [peek.path for peek in peeks if peek.is_segmentation]:
            try:
                segments = _read_header(path, found.shown(path, unit.case_id))
                self._add_items(path, segments, images, unit, found)
            except SourceError as error:
                found.skip(path, str(error).removeprefix(f"{found.shown(path, unit.case_id)}: "), unit.case_id)
        self._look_at_series(series, images, unit, found)
        found.unlabelled_images = len(headers) - len(found.items)
        return found.finish()

    def _add_items(
        self, path: UPath, segments: Segments, images: dict[str, _Placed], unit: Unit, found: Collector
    ) -> None:
        wanted = {CAVITY, MYOCARDIUM} if self.config.structures == "endo+myo" else {CAVITY}
        labelled = [key for key in segments.frames if segments.shown(key) & wanted]
        taken = 0
        for key in [key for key in labelled if key in images]:
            item = _item(images[key], path, unit, found)
            if item.name in found.items:
                taken += 1
            else:
                found.add(item)
        if missing := len(labelled) - sum(key in images for key in labelled):
            found.skip(path, f"{missing} of the {len(labelled)} images that it labels are not there", unit.case_id)
        if taken:
            found.skip(path, f"{taken} of its images have a label in another file, which is used", unit.case_id)

    def _look_at_series(
        self, series: Sequence[Series], images: dict[str, _Placed], unit: Unit, found: Collector
    ) -> None:
        """Check the headers of the series that are labelled, and find the heart where the crop needs it."""
        used = {found.relative(placed.image.path): placed.series for placed in images.values()}
        labelled = {id(used[item.image]) for item in found.items.values() if isinstance(item, SegmentationItem)}
        for each in series:
            if id(each) not in labelled:
                continue
            found.findings += check_headers(each.images, each, found, unit.case_id)
            if self.config.crop == "heart":
                _add_heart(each, found, unit.case_id)


@dataclass(frozen=True, slots=True)
class _Placed:
    """An image in its series."""

    image: ImageHeader
    series: Series
    series_name: str
    """The series' number, as names of slices have it."""


def image_headers(paths: Iterable[UPath], found: Collector, case_id: str) -> Iterator[ImageHeader]:
    """Headers of DICOM images; files that are none are skipped."""
    for path in paths:
        shown = found.shown(path, case_id)
        try:
            with reading_segmentation(shown), path.open("rb") as file:
                yield parse_header(file.read(HEAD_BYTES), path, shown)
        except SourceError as error:
            found.skip(path, str(error).removeprefix(f"{shown}: "), case_id)


def _by_key(series: Sequence[Series]) -> dict[str, _Placed]:
    """Images by ``instance_key``."""
    images: dict[str, _Placed] = {}
    seen: Counter[int] = Counter()
    for each in series:
        number = next((image.series_number for image in each.images if image.series_number is not None), 0)
        seen[number] += 1
        name = f"{number:04d}" + (f"x{seen[number]}" if seen[number] > 1 else "")
        for image in each.images:
            images.setdefault(image.instance_key, _Placed(image, each, name))
    return images


def _read_header(path: UPath, shown: str) -> Segments:
    with reading_segmentation(shown), path.open("rb") as file:
        return read_segments(pydicom.dcmread(file, stop_before_pixels=True), shown)


def _item(placed: _Placed, segmentation: UPath, unit: Unit, found: Collector) -> SegmentationItem:
    number = placed.image.number
    slice_index, phase_index = placed.series.places[number]
    return SegmentationItem(
        name=f"{unit.case_id}-IM-{placed.series_name}-{number:04d}",
        case_id=unit.case_id,
        group=unit.group,
        image=found.relative(placed.image.path),
        segmentation=found.relative(segmentation),
        instance_number=number,
        slice_index=slice_index,
        phase_index=phase_index,
    )


def _add_heart(series: Series, found: Collector, case_id: str) -> None:
    """Say in every item of a series where the heart is, or skip these items."""
    files = {found.relative(image.path) for image in series.images}
    own = [item for item in found.items.values() if isinstance(item, SegmentationItem) and item.image in files]
    try:
        centre = find_heart(series)
    except SourceError as error:
        for item in own:
            del found.items[item.name]
            found.skip(item.segmentation, str(error), case_id)
        return
    found.items.update({item.name: dataclasses.replace(item, heart_xy_px=centre) for item in own})
