"""One patient of a DICOM layout: folders of images and of contours → labelled images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lvseg.config import ConvertConfig
from lvseg.errors import SourceError
from lvseg.findings import Decision
from lvseg.sources.cases import slice_name
from lvseg.sources.contours import ContourFiles, find_contours
from lvseg.sources.evidence import choose_series
from lvseg.sources.header_checks import check_headers
from lvseg.sources.headers import read_headers
from lvseg.sources.heart import find_heart
from lvseg.sources.listing import Collector, DicomItem, Listing, Unit, natural_key
from lvseg.sources.pseudonym import Pseudonyms
from lvseg.sources.series import Series, find_series
from lvseg.store import UPath

__all__ = ["PatientSource", "list_patient", "sorted_units"]


def list_patient(
    folder: UPath,
    unit: Unit,
    images: Iterable[str],
    contours: str,
    config: ConvertConfig,
    listed_series: Sequence[int] = (),
) -> Listing:
    """Match a patient's contours with his images; reads headers, and pixels only where several series compete.

    Args:
        folder: the source folder.
        unit: the patient.
        images: his image folders, relative to the source folder.
        contours: his contour folder.
        config: of the conversion.
        listed_series: short-axis series that the field's table has for him.
    """
    found = Collector(folder)
    files = find_contours(folder / contours, found, unit.case_id)
    if not any(each.endocardium for each in files.values()):
        found.skip(contours, "no endocardium contour, expected IM-0001-0048-icontour-manual.txt", unit.case_id)
    headers = read_headers([folder / path for path in images], found, unit.case_id)
    found.unlabelled_images = len(headers)
    series, decision = choose_series(find_series(headers, found, unit.case_id), files, listed_series, unit.case_id)
    found.decisions += [decision] if decision else []
    _match(unit, files, series, found)
    if series:
        found.decisions += _place_decision(series, unit.case_id)
        found.findings += check_headers(headers, series, found, unit.case_id)
        if config.crop == "heart":
            _add_heart(series, found, unit.case_id)
    return found.finish()


def _match(unit: Unit, contours: dict[int, ContourFiles], series: Series | None, found: Collector) -> None:
    for number, files in contours.items():
        if files.endocardium is None:
            reason = "no endocardium contour of the same image"
            for path in files.by_kind.values():
                found.skip(path, reason, unit.case_id)
        elif series is None or number not in series.by_number:
            where = f"series {series.label}" if series else "the patient's image folder"
            reason = f"contour without image, no image numbered {number} in {where}"
            for path in files.by_kind.values():
                found.skip(path, reason, unit.case_id)
        else:
            found.add(_item(unit, number, files, files.endocardium, series, found))
            found.unlabelled_images -= 1


def _item(
    unit: Unit, number: int, files: ContourFiles, endocardium: UPath, series: Series, found: Collector
) -> DicomItem:
    slice_index, phase_index = series.places[number]
    return DicomItem(
        name=slice_name(unit.case_id, number),
        case_id=unit.case_id,
        group=unit.group,
        image=found.relative(series.by_number[number].path),
        endocardium=found.relative(endocardium),
        epicardium=found.relative(files.epicardium) if files.epicardium else None,
        papillaries=tuple(map(found.relative, files.papillaries)),
        instance_number=number,
        slice_index=slice_index,
        phase_index=phase_index,
    )


def _place_decision(series: Series, case_id: str) -> list[Decision]:
    """Say so where position and trigger time tell another slice or phase than the image number does."""
    if not series.miscounted:
        return []
    reason = (
        f"counting in slices of {series.phases} phases would be wrong for {series.miscounted} of the "
        f"{len(series.images)} images of series {series.label}"
    )
    decided = "by position and trigger time"
    return [Decision(case_id=case_id, subject="slice and phase", decided=decided, reason=reason)]


def _add_heart(series: Series, found: Collector, case_id: str) -> None:
    """Say in every item where the heart is, or skip them all."""
    items, found.items = found.items, {}
    try:
        centre = find_heart(series)
    except SourceError as error:
        for item in items.values():
            found.skip(item.label, str(error), case_id)
            found.unlabelled_images += 1
        return
    found.items = {name: dataclasses.replace(item, heart_xy_px=centre) for name, item in items.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class PatientSource:
    """What the DICOM layouts share: a unit is a patient, his image folders and, last, his contour folder."""

    folder: UPath
    """The source folder."""
    root: UPath
    """Where the layout starts: this folder or one below."""
    config: ConvertConfig
    """Of the conversion."""
    pseudonyms: Pseudonyms = field(default_factory=Pseudonyms)
    """Give patients their case ids."""

    def unit(self, original_id: str, group: str | None, images: Iterable[UPath], contours: UPath) -> Unit:
        """A patient."""
        folders = tuple(path.relative_to(self.folder).as_posix() for path in (*images, contours))
        return Unit(case_id=self.pseudonyms.case_id(original_id), group=group, folders=folders)

    def listed_series(self, unit: Unit) -> tuple[int, ...]:
        """Short-axis series of a patient in the field's table, where the layout's file names tell the series."""
        return ()

    def list_unit(self, unit: Unit) -> Listing:
        """List a patient."""
        *images, contours = unit.folders
        return list_patient(self.folder, unit, images, contours, self.config, self.listed_series(unit))


def sorted_units(units: Iterable[Unit]) -> tuple[Unit, ...]:
    """Units in natural order."""
    return tuple(sorted(units, key=lambda unit: natural_key(unit.case_id)))
