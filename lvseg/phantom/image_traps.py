"""Traps in images and their headers."""

from __future__ import annotations

from dataclasses import replace

from lvseg.phantom.encodings import SIGNED_OFFSET, can_write
from lvseg.phantom.plan import Content, Encoding, PatientPlan
from lvseg.phantom.planting import NoRoomError, Planted, Roster, image_at, labelled, middle_first, take, whole
from lvseg.phantom.truth import Truth

__all__ = [
    "compressed",
    "constant_image",
    "copied_image",
    "duplicate_uid",
    "mixed_spacing",
    "monochrome1",
    "non_square_pixels",
    "rescaled",
    "saturated_image",
    "signed_negative",
    "truncated",
]

STRETCH = 1.25
"""Factor by which a spacing is wrong, or not square."""

_COMPRESSIONS: tuple[Encoding, ...] = ("rle", "jpeg-ls", "jpeg-2000")


def copied_image(plan: PatientPlan, roster: Roster) -> Planted:
    """An image has the pixels of another patient's; both have contours."""
    ed = plan.study.truth.ed_phase
    places = middle_first(labelled(plan, ed))
    for other in roster.others(plan):
        if shared := [place for place in places if place in labelled(other)]:
            (place,) = take(plan, shared)
            other.touched.add(place)
            copy, original = image_at(plan, place), image_at(other, place)
            copy.shows = original.shows
            return Planted(files=(copy,), note=f"pixels of {other.study.identity.case_id}, image {original.number}")
    raise NoRoomError


def duplicate_uid(plan: PatientPlan, _: Roster) -> Planted:
    """Two images share their SOPInstanceUID."""
    first, second = (image_at(plan, place) for place in take(plan, middle_first(labelled(plan)), 2))
    second.uid_of = first.uid_of
    return Planted(files=(first, second), note="same SOPInstanceUID")


def mixed_spacing(plan: PatientPlan, _: Roster) -> Planted:
    """One slice has another PixelSpacing than the rest of the series."""
    ((slice_index, _phase),) = take(plan, middle_first(labelled(plan, plan.study.truth.ed_phase)))
    images = [image for image in plan.series("sax") if image.slice_index == slice_index]
    for image in images:
        image.spacing_factor = STRETCH
    return Planted(files=tuple(images), note=f"PixelSpacing {STRETCH} times that of the series")


def non_square_pixels(plan: PatientPlan, _: Roster) -> Planted:
    """The patient's rows are farther apart than the columns; truth's areas count it."""
    whole(plan)
    truth = plan.study.truth
    stretched = Truth(
        endocardium_mm2=truth.endocardium_mm2 * STRETCH,
        epicardium_mm2=truth.epicardium_mm2 * STRETCH,
        slice_spacing_mm=truth.slice_spacing_mm,
    )
    plan.study = replace(plan.study, row_stretch=STRETCH, truth=stretched)
    return Planted(files=tuple(plan.series("sax")), note=f"row spacing {STRETCH} times the column spacing")


def constant_image(plan: PatientPlan, _: Roster) -> Planted:
    """Every pixel has the same value."""
    return _with_content(plan, "constant", "one value everywhere")


def saturated_image(plan: PatientPlan, _: Roster) -> Planted:
    """The brightest 15 % of the pixels are cut off at one value."""
    return _with_content(plan, "saturated", "cut off at the 85th percentile")


def monochrome1(plan: PatientPlan, _: Roster) -> Planted:
    """Low values are bright; inverted within the stored bits it is the plain image."""
    return _encoded(plan, "monochrome1", "inverted within BitsStored it equals the plain image")


def signed_negative(plan: PatientPlan, _: Roster) -> Planted:
    """Signed values, many of them negative."""
    return _encoded(plan, "signed-negative", f"the plain image {SIGNED_OFFSET:+d}")


def rescaled(plan: PatientPlan, _: Roster) -> Planted:
    """Stored values that RescaleSlope and RescaleIntercept turn into the plain image."""
    return _encoded(plan, "rescaled", "rescaled it equals the plain image")


def truncated(plan: PatientPlan, _: Roster) -> Planted:
    """A DICOM file that ends in the middle of its pixels."""
    return _encoded(plan, "truncated", "ends within PixelData", apical=True)


def compressed(plan: PatientPlan, _: Roster) -> Planted:
    """Lossless compression: RLE, JPEG-LS, JPEG 2000, as far as their encoders are installed."""
    encodings = [encoding for encoding in _COMPRESSIONS if can_write(encoding)]
    places = take(plan, middle_first(labelled(plan)), len(encodings))
    images = [image_at(plan, place) for place in places]
    for image, encoding in zip(images, encodings, strict=True):
        image.encoding = encoding
    return Planted(files=tuple(images), note=f"{', '.join(encodings)}; decoded they equal the plain images")


def _with_content(plan: PatientPlan, content: Content, note: str) -> Planted:
    (place,) = take(plan, labelled(plan, plan.study.truth.es_phase)[::-1])
    image = image_at(plan, place)
    image.content = content
    return Planted(files=(image,), note=note)


def _encoded(plan: PatientPlan, encoding: Encoding, note: str, *, apical: bool = False) -> Planted:
    places = labelled(plan, plan.study.truth.es_phase)[::-1] if apical else middle_first(labelled(plan))
    (place,) = take(plan, places)
    image = image_at(plan, place)
    image.encoding = encoding
    return Planted(files=(image,), note=note)
