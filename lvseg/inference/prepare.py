"""Source → studies with their images as the models see them; runs beside the models, without TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from lvseg.config import PreprocessConfig, SourceLayout
from lvseg.errors import LvsegError, RecordsError, SourceError
from lvseg.findings import Decision, Skip
from lvseg.preprocess import find_layout, lay_out_image, normalise, to_source
from lvseg.records import MANIFEST_NAME, Manifest, read_manifest, read_rows, table_to_slices
from lvseg.slices import Grid, Place, Slice
from lvseg.sources.listing import natural_key
from lvseg.sources.studies import (
    DicomStudy,
    ItemStudy,
    LoadedImage,
    Study,
    StudyImages,
    by_place,
    list_studies,
    load_study,
)
from lvseg.store import UPath

__all__ = ["Failure", "Pack", "PredictSource", "PreparedStudy", "open_predict_source", "prepare_pack"]

PACK_IMAGES = 128
"""Images of small studies that go through the models together, so that their batches are full."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordStudy:
    """A case of a record set."""

    case_id: str
    """Its pseudonym."""
    rows: tuple[tuple[str, int], ...]
    """Record file and row of each image, by file and row."""


AnyStudy: TypeAlias = Study | RecordStudy


@dataclass(frozen=True, kw_only=True, slots=True)
class Pack:
    """Studies that are read and predicted together: one cine, or several cases of few images."""

    studies: tuple[AnyStudy, ...]
    """At least one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictSource:
    """What is to be predicted on; small and picklable."""

    folder: UPath
    """A source folder or a record set."""
    manifest: Manifest | None
    """Of a record set."""
    studies: tuple[AnyStudy, ...]
    """Every study, in natural order; case ids are unique."""
    skipped: tuple[Skip, ...]
    """What was left out on the way."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreparedStudy:
    """A study's images, native and preprocessed."""

    case_id: str
    """Its pseudonym."""
    images: tuple[LoadedImage, ...]
    """Native, all of one size."""
    inputs: tuple[NDArray[np.float32], ...]
    """(images, rows, columns) for each kind of preprocessing; empty once they have been predicted."""
    grids: tuple[tuple[Grid | None, ...], ...]
    """For each kind of preprocessing where each image's pixels lie; None: on the native ones."""
    unreadable: int
    """Images of the study that cannot be used."""
    skipped: tuple[Skip, ...]
    """Files that were left out."""
    decisions: tuple[Decision, ...]
    """Which series was chosen, and why."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A study that has no result."""

    case_id: str
    """Its pseudonym."""
    reason: str
    """Why, in one line."""


def open_predict_source(
    folder: UPath, layout: Literal["auto", "dicom", "records"] | SourceLayout, kinds: Sequence[PreprocessConfig]
) -> PredictSource:
    """Find out what a source holds.

    Args:
        folder: source folder or record set.
        layout: as in ``PredictConfig.source``.
        kinds: preprocessing of the models; a record set must be raw or have just this.

    Raises:
        SourceError, RecordsError: nothing to predict on, or preprocessed in another way.
    """
    if layout == "records" or (layout == "auto" and (folder / MANIFEST_NAME).is_file()):
        manifest = read_manifest(folder)
        _check_preprocessing(manifest, kinds, folder)
        return PredictSource(folder=folder, manifest=manifest, studies=_record_studies(folder, manifest), skipped=())
    studies, skipped = list_studies(folder, layout)
    return PredictSource(folder=folder, manifest=None, studies=studies, skipped=skipped)


def _check_preprocessing(manifest: Manifest, kinds: Sequence[PreprocessConfig], folder: UPath) -> None:
    if manifest.preprocessing == PreprocessConfig():
        return
    for kind in kinds:
        if kind != manifest.preprocessing:
            raise RecordsError(
                f"{folder}: preprocessed as {_described(manifest.preprocessing)}, the model needs {_described(kind)}; "
                "predict on the source files, or on records that were not preprocessed"
            )


def _described(kind: PreprocessConfig) -> str:
    changed = {name: value for name, value in dataclasses.asdict(kind).items() if value not in (None, "none")}
    return " ".join(f"{name} {value}" for name, value in changed.items()) or "nothing"


def _record_studies(folder: UPath, manifest: Manifest) -> tuple[RecordStudy, ...]:
    rows: dict[str, list[tuple[str, int]]] = {}
    for name in manifest.splits:
        for file in manifest.part(name, folder).files:
            cases = read_rows(folder / file.file, manifest.format, columns=["case_id"])["case_id"].to_pylist()
            for row, case in enumerate(cases):
                rows.setdefault(case, []).append((file.file, row))
    return tuple(RecordStudy(case_id=case, rows=tuple(rows[case])) for case in sorted(rows, key=natural_key))


def make_packs(studies: Iterable[AnyStudy]) -> Iterator[Pack]:
    """Cines alone, cases of few images together."""
    together: list[AnyStudy] = []
    count = 0
    for study in studies:
        if isinstance(study, DicomStudy):
            yield Pack(studies=(study,))
            continue
        together.append(study)
        count += len(study.items if isinstance(study, ItemStudy) else study.rows)
        if count >= PACK_IMAGES:
            yield Pack(studies=tuple(together))
            together, count = [], 0
    if together:
        yield Pack(studies=tuple(together))


def prepare_pack(
    folder: UPath, manifest: Manifest | None, pack: Pack, kinds: Sequence[PreprocessConfig]
) -> tuple[list[PreparedStudy], list[Failure]]:
    """Read and preprocess studies; one that cannot be used costs only itself.

    Args:
        folder: the source.
        manifest: of a record set.
        pack: some of its studies.
        kinds: preprocessing of the models.
    """
    prepared, failures = [], []
    for study in pack.studies:
        try:
            prepared.append(_prepare(folder, manifest, study, kinds))
        except LvsegError as error:
            failures.append(Failure(study.case_id, str(error).replace(f"{folder}/", "")))
    return prepared, failures


def _prepare(
    folder: UPath, manifest: Manifest | None, study: AnyStudy, kinds: Sequence[PreprocessConfig]
) -> PreparedStudy:
    if isinstance(study, RecordStudy):
        assert manifest is not None
        return _prepare_records(folder, manifest, study, kinds)
    loaded = load_study(folder, study, with_heart=any(kind.crop == "heart" for kind in kinds))
    done = [_preprocess(loaded.images, kind, loaded.heart_xy_px) for kind in kinds]
    return _prepared(loaded, [inputs for inputs, _ in done], [grids for _, grids in done])


def _prepared(
    loaded: StudyImages, inputs: Sequence[NDArray[np.float32]], grids: Sequence[tuple[Grid | None, ...]]
) -> PreparedStudy:
    return PreparedStudy(
        case_id=loaded.case_id,
        images=loaded.images,
        inputs=tuple(inputs),
        grids=tuple(grids),
        unreadable=loaded.unreadable,
        skipped=loaded.skipped,
        decisions=loaded.decisions,
    )


def _preprocess(
    images: Sequence[LoadedImage], kind: PreprocessConfig, heart_xy_px: tuple[float, float] | None
) -> tuple[NDArray[np.float32], tuple[Grid | None, ...]]:
    """The images as a conversion would store them, and where their pixels lie."""
    inputs, grids = [], []
    for image in images:
        shape = (image.pixels.shape[0], image.pixels.shape[1])
        try:
            layout = find_layout(shape, image.place.pixel_spacing, kind, heart_xy_px)
        except SourceError as error:
            raise SourceError(f"{image.name}: {error}") from None
        pixels = image.pixels if layout.is_source else lay_out_image(image.pixels, layout)
        inputs.append(normalise(pixels, kind.normalise))
        grids.append(None if layout.is_source else layout.grid)
    if len(shapes := {values.shape for values in inputs}) > 1:
        raise SourceError(f"{images[0].name}: images of several pixel spacings, resampled to {_listed(shapes)}")
    return np.stack(inputs), tuple(grids)


def _listed(shapes: Iterable[tuple[int, ...]]) -> str:
    return ", ".join(sorted("x".join(map(str, shape)) for shape in shapes))


def _prepare_records(
    folder: UPath, manifest: Manifest, study: RecordStudy, kinds: Sequence[PreprocessConfig]
) -> PreparedStudy:
    items = sorted(_read_slices(folder, manifest, study), key=by_place)
    images = tuple(_native(item) for item in items)
    loaded = StudyImages(case_id=study.case_id, images=images)
    if len(shapes := {image.pixels.shape for image in images}) > 1:
        raise RecordsError(f"{study.case_id}: images of several sizes, found {_listed(shapes)}")
    if manifest.preprocessing == PreprocessConfig():
        done = [_preprocess(images, kind, None) for kind in kinds]
        return _prepared(loaded, [inputs for inputs, _ in done], [grids for _, grids in done])
    stored = np.stack([np.asarray(item.image, np.float32) for item in items])
    return _prepared(loaded, [stored] * len(kinds), [tuple(item.grid for item in items)] * len(kinds))


def _read_slices(folder: UPath, manifest: Manifest, study: RecordStudy) -> Iterator[Slice]:
    for file, rows in groupby(study.rows, key=lambda row: row[0]):
        for first, last in _spans([row for _, row in rows]):
            yield from table_to_slices(read_rows(folder / file, manifest.format, first, last))


def _spans(rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of neighbours in ascending rows, their ends exclusive."""
    start = previous = rows[0]
    for row in rows[1:]:
        if row != previous + 1:
            yield start, previous + 1
            start = row
        previous = row
    yield start, previous + 1


def _native(item: Slice) -> LoadedImage:
    """The image on the grid that it was made from; 0 where a crop has left it out."""
    pixels = item.image if item.grid is None else to_source(item.image, item.grid)
    return LoadedImage(name=item.name, pixels=pixels, place=_native_place(item.place, item.grid), source=None)


def _native_place(place: Place, grid: Grid | None) -> Place:
    if grid is None or place.pixel_spacing is None:
        return place
    spacing = (place.pixel_spacing[0] / grid.row_step, place.pixel_spacing[1] / grid.column_step)
    position, cosines = place.image_position_patient, place.image_orientation_patient
    moved = None
    if position is not None and cosines is not None:
        along_row = np.array(cosines[:3]) * grid.column0 * spacing[1]
        along_column = np.array(cosines[3:]) * grid.row0 * spacing[0]
        moved = cast(Any, tuple((np.array(position) - along_row - along_column).tolist()))
    return dataclasses.replace(place, pixel_spacing=spacing, image_position_patient=moved)
