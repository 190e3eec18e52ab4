"""What there is to predict on in a folder: studies with all their images, labelled or not.

A study is a patient's short-axis cine with every phase, or, of pairs and of the course's records, his labelled images.
In the layouts with contours a patient's series is the one that they lie on; patients without contours, and any other
folder of DICOM, are told apart by their headers, and the short-axis cine by its many slices and phases.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lvseg.config import ConvertConfig, SourceLayout
from lvseg.errors import SourceError
from lvseg.findings import Decision, Skip
from lvseg.slices import Place, Slice
from lvseg.sources.cases import SAX_SERIES, slice_name
from lvseg.sources.contours import find_contours
from lvseg.sources.dicom import parse_dicom
from lvseg.sources.evidence import choose_series
from lvseg.sources.headers import ImageHeader, read_headers
from lvseg.sources.heart import find_heart
from lvseg.sources.importer import load, open_source
from lvseg.sources.listing import Collector, Item, Source, Unit, natural_key, walk
from lvseg.sources.pseudonym import Pseudonyms
from lvseg.sources.segmentation import MaskedCollector, files_of, image_headers, peek_all
from lvseg.sources.series import Series, find_series
from lvseg.store import UPath, read_file

__all__ = [
    "DicomStudy",
    "ItemStudy",
    "LoadedImage",
    "StudyImages",
    "by_place",
    "choose_cine",
    "list_studies",
    "load_study",
]

DICOM_LAYOUTS = ("linked", "challenge", "cap")
"""Layouts whose units are a patient's image folders and, last, his contour folder."""
MIN_PHASES = 5
"""Images of a slice that make a cine."""
MIN_SLICES = 3
"""Parallel slices that make a stack; long-axis cines have one or two."""
PARALLEL = 0.999
"""Cosine of the angle between two slices' normals above which they are parallel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomStudy:
    """A patient's DICOM images, not yet read."""

    case_id: str
    """The study's pseudonym."""
    folders: tuple[str, ...] = ()
    """His image folders, relative to the source."""
    files: tuple[str, ...] = ()
    """Or his files, where headers tell whose they are."""
    contours: str | None = None
    """His contour folder, which tells the series."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemStudy:
    """A patient's labelled images of any other layout."""

    case_id: str
    """His pseudonym."""
    items: tuple[Item, ...]
    """His images."""


Study: TypeAlias = DicomStudy | ItemStudy


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedImage:
    """One image as it came from the scanner."""

    name: str
    """Pseudonymous, unique in its study."""
    pixels: NDArray[Any]
    """(rows, columns): native grid, native values."""
    place: Place
    """Where it lies; slice 0 is the first along the slice normal."""
    source: str | None
    """Path or URI of its DICOM file."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StudyImages:
    """The images of a study, all of one size."""

    case_id: str
    """The study's pseudonym."""
    images: tuple[LoadedImage, ...]
    """By slice, then phase."""
    heart_xy_px: tuple[float, float] | None = None
    """Where the heart is, 0-based (column, row), where it was looked for."""
    unreadable: int = 0
    """Images of the study that cannot be used; ``skipped`` has them, and files that may be no images."""
    skipped: tuple[Skip, ...] = ()
    """Files that were left out."""
    decisions: tuple[Decision, ...] = ()
    """Which series was chosen, and why."""


def list_studies(
    folder: UPath, layout: Literal["auto", "dicom"] | SourceLayout
) -> tuple[tuple[Study, ...], tuple[Skip, ...]]:
    """The studies in a folder, in natural order, and what was left out on the way.

    Args:
        folder: source folder.
        layout: of the files; auto takes any other folder of DICOM as dicom.

    Raises:
        SourceError: nothing to predict on; or as ``open_source``.
    """
    if layout == "dicom":
        studies, skipped = _by_headers(folder)
    else:
        studies, skipped = _by_layout(folder, layout)
    if not studies:
        reasons = "; ".join(f"{skip.file}: {skip.reason}" for skip in skipped[:3])
        raise SourceError(f"{folder}: no images to predict on" + (f" ({reasons})" if reasons else ""))
    return studies, skipped


def _by_layout(folder: UPath, layout: Literal["auto"] | SourceLayout) -> tuple[tuple[Study, ...], tuple[Skip, ...]]:
    try:
        source = open_source(folder, ConvertConfig(source=layout))
        units, listing = source.units()
    except SourceError:
        studies, skipped = _by_headers(folder) if layout == "auto" and folder.is_dir() else ((), ())
        if not studies:
            raise
        return studies, skipped
    if source.layout == "segmentation":
        return _by_headers(folder)
    if source.layout not in DICOM_LAYOUTS:
        return _by_items(source, units, listing.skipped)
    labelled = [_labelled_study(unit) for unit in units]
    others = _unlabelled_studies(source, units)
    taken = {study.folders[0] for study in others}
    if not labelled and not others:
        return _by_headers(folder)
    skipped = tuple(skip for skip in listing.skipped if skip.file not in taken)
    return _sorted((*labelled, *others)), skipped


def _sorted(studies: Iterable[Study]) -> tuple[Study, ...]:
    return tuple(sorted(studies, key=lambda study: natural_key(study.case_id)))


def _labelled_study(unit: Unit) -> DicomStudy:
    *images, contours = unit.folders
    return DicomStudy(case_id=unit.case_id, folders=tuple(images), contours=contours)


def _unlabelled_studies(source: Source, units: Sequence[Unit]) -> list[DicomStudy]:
    """Patients' image folders beside those that have contours."""
    pseudonyms: Pseudonyms = source.pseudonyms  # type: ignore[attr-defined]
    images = {source.folder / _patient_folder(path) for unit in units for path in unit.folders[:-1]}
    contours = {source.folder / unit.folders[-1] for unit in units}
    known = {study.case_id for study in map(_labelled_study, units)}
    studies = []
    for parent in sorted({path.parent for path in images}, key=str):
        for name in next(iter(walk(parent, 1)), (parent, [], []))[1]:
            path, case_id = parent / name, pseudonyms.case_id(name)
            holds_contours = any(path == other or other.is_relative_to(path) for other in contours)
            if path not in images and not holds_contours and case_id not in known:
                studies.append(DicomStudy(case_id=case_id, folders=(path.relative_to(source.folder).as_posix(),)))
    return studies


def _patient_folder(path: str) -> str:
    """The Cardiac Atlas Project has a folder for each series below the patient's."""
    parent, _, name = path.rpartition("/")
    return parent if name.lower().startswith("cinesax") else path


def _by_items(
    source: Source, units: Sequence[Unit], skipped: Sequence[Skip]
) -> tuple[tuple[Study, ...], tuple[Skip, ...]]:
    """Labelled images by case; a case may be spread over units."""
    by_case: dict[str, dict[str, Item]] = {}
    left_out = list(skipped)
    for unit in units:
        listing = source.list_unit(unit)
        left_out += listing.skipped
        for item in listing.items:
            by_case.setdefault(item.case_id, {}).setdefault(item.name, item)
    return _sorted(ItemStudy(case_id=case, items=tuple(by_case[case].values())) for case in by_case), tuple(left_out)


def _by_headers(folder: UPath) -> tuple[tuple[Study, ...], tuple[Skip, ...]]:
    """Studies of any folder of DICOM; a patient's second study has a number after his pseudonym."""
    found, pseudonyms = MaskedCollector(folder), Pseudonyms()
    cases: dict[str, dict[str, list[str]]] = {}
    for peek in peek_all(files_of(folder)):
        if peek.problem:
            found.skip(peek.path, peek.problem)
        elif not peek.is_segmentation:
            studies = cases.setdefault(pseudonyms.case_id(peek.original_id), {})
            studies.setdefault(peek.study_uid, []).append(found.relative(peek.path))
    every = [
        DicomStudy(
            case_id=case_id if not index else f"{case_id}-{index + 1}", files=tuple(sorted(files, key=natural_key))
        )
        for case_id, studies in cases.items()
        for index, files in enumerate(studies.values())
    ]
    return _sorted(every), found.finish().skipped


def load_study(folder: UPath, study: Study, *, with_heart: bool = False) -> StudyImages:
    """Read all images of a study; one that cannot be read costs only itself.

    Args:
        folder: the source folder.
        study: of ``list_studies``.
        with_heart: find the heart, for a crop around it.

    Raises:
        SourceError: no image of the study can be used, or the heart cannot be found.
    """
    loaded = _load_items(folder, study) if isinstance(study, ItemStudy) else _load_dicom(folder, study, with_heart)
    if not loaded.images:
        reasons = "; ".join(f"{skip.file}: {skip.reason}" for skip in loaded.skipped[:2])
        raise SourceError(f"{study.case_id}: no usable image" + (f" ({reasons})" if reasons else ""))
    return _of_one_size(loaded)


def _of_one_size(study: StudyImages) -> StudyImages:
    """Leave out images of another size than most."""
    shapes = [image.pixels.shape for image in study.images]
    common = max(set(shapes), key=lambda shape: (shapes.count(shape), shape))
    odd = [image for image in study.images if image.pixels.shape != common]
    if not odd:
        return study
    sizes = {image.name: "x".join(map(str, image.pixels.shape)) for image in odd}
    reasons = [Skip(name, f"image is {size}, the others {'x'.join(map(str, common))}") for name, size in sizes.items()]
    return dataclasses.replace(
        study,
        images=tuple(image for image in study.images if image.pixels.shape == common),
        unreadable=study.unreadable + len(odd),
        skipped=(*study.skipped, *reasons),
    )


def _load_items(folder: UPath, study: ItemStudy) -> StudyImages:
    images, skipped = [], []
    for item in study.items:
        try:
            loaded = load(folder, item, ConvertConfig())
        except SourceError as error:
            skipped.append(Skip(item.label, str(error)))
            continue
        images.append(LoadedImage(name=item.name, pixels=loaded.image, place=loaded.place, source=None))
    return StudyImages(case_id=study.case_id, images=_in_order(images), unreadable=len(skipped), skipped=tuple(skipped))


def _in_order(images: Iterable[LoadedImage]) -> tuple[LoadedImage, ...]:
    return tuple(sorted(images, key=by_place))


def by_place(image: LoadedImage | Slice) -> tuple[Any, ...]:
    """Sorts a study's images by slice, then phase, then name; those that are not known come first."""
    known = (image.place.slice_index, image.place.phase_index)
    return (*(-1 if index is None else index for index in known), natural_key(image.name))


def _load_dicom(folder: UPath, study: DicomStudy, with_heart: bool) -> StudyImages:
    found = Collector(folder) if study.folders else MaskedCollector(folder)
    if study.folders:
        headers = read_headers([folder / path for path in study.folders], found, study.case_id)
    else:
        headers = list(image_headers([folder / path for path in study.files], found, study.case_id))
    series, decision = _choose(folder, study, headers, found)
    if series is None:
        return StudyImages(case_id=study.case_id, images=(), skipped=found.finish().skipped)
    heart = find_heart(series) if with_heart else None
    places, images, unreadable = _along_normal(series), [], 0
    for header in series.images:
        try:
            images.append(_load_image(folder, header, places[header.number], study.case_id, found))
        except SourceError as error:
            unreadable += 1
            shown = found.shown(header.path, study.case_id)
            found.skip(header.path, str(error).removeprefix(f"{shown}: "), study.case_id)
    return StudyImages(
        case_id=study.case_id,
        images=_in_order(images),
        heart_xy_px=heart,
        unreadable=unreadable,
        skipped=found.finish().skipped,
        decisions=(decision,) if decision else (),
    )


def _choose(
    folder: UPath, study: DicomStudy, headers: Sequence[ImageHeader], found: Collector
) -> tuple[Series | None, Decision | None]:
    """The short-axis series: by the contours, where there are some, else by the stack of slices."""
    every = find_series(headers, found, study.case_id)
    # The field's table is about the challenge's file names; other copies count their series in other ways.
    named = {header.name_series for header in headers}
    listed = [number for number in SAX_SERIES.get(study.case_id, ()) if number in named]
    if study.contours is not None:
        contours = find_contours(folder / study.contours, Collector(folder), study.case_id)
        chosen, decision = choose_series(every, contours, listed, study.case_id)
        if chosen is not None:
            return chosen, decision
    return choose_cine(every, listed, study.case_id)


def choose_cine(series: Sequence[Series], listed: Sequence[int], case_id: str) -> tuple[Series | None, Decision | None]:
    """Choose the short-axis cine of a patient without contours.

    The series that the field's table lists; else a cine before still images, parallel slices before others, then the
    one of most slices, of most images, the first.

    Args:
        series: of one patient.
        listed: numbers of short-axis series in the field's table, likeliest first; may be empty.
        case_id: the patient's.

    Returns:
        The series, None where there is none; the decision where there was a choice.
    """
    if not series:
        return None, None
    for number in listed:
        for each in series:
            if {image.name_series for image in each.images} == {number}:
                return each, _decision(each, series, case_id, "the table of short-axis series lists it")
    chosen = max(series, key=_merit)
    _, _, slices, images = _merit(chosen)
    return chosen, _decision(chosen, series, case_id, f"the cine of most parallel slices: {slices} and {images} images")


def _merit(series: Series) -> tuple[bool, bool, int, int]:
    """(cine, stack, parallel slices, images)."""
    normals = [image.normal for image in series.images]
    first = normals[0]
    parallel = first is not None and all(n is not None and abs(float(n @ first)) > PARALLEL for n in normals)
    counts = np.bincount(series.ranks) if parallel and series.ranks is not None else np.zeros(0, np.intp)
    cine = (series.phases or 0) >= MIN_PHASES and len(series.images) >= MIN_PHASES
    return cine, len(counts) >= MIN_SLICES, len(counts), len(series.images)


def _decision(chosen: Series, every: Sequence[Series], case_id: str, reason: str) -> Decision | None:
    if len(every) == 1:
        return None
    reason = f"no contours; of {len(every)} series {reason}"
    return Decision(case_id=case_id, subject="short-axis series", decided=f"series {chosen.label}", reason=reason)


def _along_normal(series: Series) -> dict[int, tuple[int | None, int | None]]:
    """Slice and phase of each image by its number; slices are counted along the normal, from 0."""
    places = series.places
    if series.along_mm is None:
        return places
    known = [
        (index, along)
        for image, along in zip(series.images, series.along_mm.tolist(), strict=True)
        if (index := places[image.number][0]) is not None
    ]
    indices = [index for index, _ in known]
    if not known or len(set(indices)) < 2:
        return places
    runs_down = float(np.cov(np.array(known, np.float64).T)[0, 1]) < 0
    last, first = max(indices), min(indices)
    return {
        number: (None if index is None else (last - index if runs_down else index - first), phase)
        for number, (index, phase) in places.items()
    }


def _load_image(
    folder: UPath, header: ImageHeader, where: tuple[int | None, int | None], case_id: str, found: Collector
) -> LoadedImage:
    shown = found.shown(header.path, case_id)
    try:
        data = read_file(folder, found.relative(header.path))
    except OSError as error:
        raise SourceError(f"{shown}: cannot be read: {error.strerror or type(error).__name__}") from None
    image = parse_dicom(data, shown)
    place = dataclasses.replace(image.place, instance_number=header.number, slice_index=where[0], phase_index=where[1])
    name = slice_name(case_id, header.number)
    return LoadedImage(name=name, pixels=image.pixels, place=place, source=str(header.path))
