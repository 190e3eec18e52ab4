"""Which of a patient's series is the one that was contoured: the one on which the contours lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from lvseg.errors import SourceError
from lvseg.findings import Decision
from lvseg.rasterize import rasterize
from lvseg.sources.contours import ContourFiles, read_contour
from lvseg.sources.dicom import parse_dicom
from lvseg.sources.headers import ImageHeader
from lvseg.sources.series import Series
from lvseg.store import UPath

__all__ = ["choose_series", "contour_contrast"]

SAMPLE = 12
"""Contours that are laid on each candidate."""
RING_PX = (1, 4)
"""The ring outside the contour from this to this many pixels, where the myocardium is."""
COVERAGE = 0.5
"""A candidate holds at least this fraction of the image numbers that the fullest series holds."""
TIE_CONTRAST = (0.1, 0.5)
"""Mean lead in contrast that is always a tie below the first and never from the second on; between, a lead below two
of its standard errors is one. On three Sunnybrook patients, images one pixel or one phase off lie 0 to 0.25 behind,
three pixels off 0.7 to 1.3, half a cycle off 0.8 to 1.2, another patient's 2.3 or more."""
FEW = 3
"""Contours below which a standard error means nothing."""
NOT_ON_IMAGE = 0.0
"""Contrast of a contour that is not on its image, or whose image cannot be read."""


def contour_contrast(pixels: NDArray[Any], contour_xy_px: NDArray[np.float64]) -> float:
    """How much brighter an image is inside an endocardium contour than just outside, where the myocardium is.

    Args:
        pixels: (rows, columns).
        contour_xy_px: (N, 2), 1-based.

    Returns:
        Difference of the means, in units of the pooled standard deviation: 1 to 3 on its own image, around 0 or
        below elsewhere; 0 where both are constant.

    Raises:
        ContourError: it is no contour, or not on the image.
    """
    mask = rasterize(contour_xy_px, (pixels.shape[0], pixels.shape[1]), "centre")
    inside = cv2.erode(mask, np.ones((3, 3), np.uint8)).astype(bool)
    if not inside.any():
        inside = mask.astype(bool)
    inner, outer = (cv2.dilate(mask, _disc(radius)).astype(bool) for radius in RING_PX)
    ring = outer & ~inner
    if not inside.any() or not ring.any():
        return NOT_ON_IMAGE
    bright, dark = pixels[inside].astype(np.float64), pixels[ring].astype(np.float64)
    pooled = np.sqrt((bright.var() + dark.var()) / 2)
    return float((bright.mean() - dark.mean()) / pooled) if pooled > 0 else NOT_ON_IMAGE


def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def choose_series(
    series: Sequence[Series], contours: dict[int, ContourFiles], listed: Sequence[int], case_id: str
) -> tuple[Series | None, Decision | None]:
    """Choose the series that the endocardium contours were drawn on.

    Candidates have images of the contours' numbers. Where there are several, up to a dozen contours are laid on
    each: the highest mean contrast wins. Where candidates are nearly equal in that, the series that the field's
    table lists wins, then the one with more of the images, then the higher contrast.

    Args:
        series: of one patient.
        contours: his contour files by image number.
        listed: series numbers that the table has for this patient, likeliest first; may be empty.
        case_id: the patient's.

    Returns:
        The series, None where no contour has an image; the decision where there was a choice, the table was
        contradicted, or images are missing.
    """
    wanted = {number for number, files in contours.items() if files.endocardium} or set(contours)
    covering = [each for each in series if wanted & each.numbers]
    if not covering:
        return None, None
    most = max(len(wanted & each.numbers) for each in covering)
    rivals = [each for each in covering if len(wanted & each.numbers) >= COVERAGE * most]
    if len(rivals) > 1:
        chosen, evidence = _weigh(rivals, contours, wanted, listed)
    else:
        chosen, evidence = rivals[0], f"the only one of {len(series)} series that has the contours' image numbers"
    reasons = [evidence] if len(covering) > 1 or _contradicts(chosen, listed) else []
    if _contradicts(chosen, listed):
        reasons.append(f"the table of short-axis series says {' or '.join(f'{number:04d}' for number in listed)}")
    if (count := len(wanted & chosen.numbers)) < len(wanted):
        reasons.append(f"it has the images of {count} of {len(wanted)} contours")
    if not reasons:
        return chosen, None
    return chosen, Decision(
        case_id=case_id, subject="short-axis series", decided=f"series {chosen.label}", reason="; ".join(reasons)
    )


def _contradicts(chosen: Series, listed: Sequence[int]) -> bool:
    return bool(listed) and _listing_rank(chosen, listed) == len(listed)


def _listing_rank(series: Series, listed: Sequence[int]) -> int:
    """Place in the table's list; its length where the series is not in it."""
    names = {image.name_series for image in series.images}
    return next((rank for rank, number in enumerate(listed) if names == {number}), len(listed))


def _weigh(
    rivals: Sequence[Series], contours: dict[int, ContourFiles], wanted: set[int], listed: Sequence[int]
) -> tuple[Series, str]:
    """The rival on which the contours lie best, and the evidence in words."""
    scores = _scores(rivals, contours, wanted)
    means = scores.mean(axis=1) if scores.shape[1] else np.zeros(len(rivals))
    best = int(means.argmax())
    near = [index for index in range(len(rivals)) if _nearly_equal(scores[best] - scores[index])]
    rank = [
        (_listing_rank(each, listed), -len(wanted & each.numbers), -mean)
        for each, mean in zip(rivals, means.tolist(), strict=True)
    ]
    chosen = min(near, key=lambda index: rank[index])
    others = ", ".join(
        f"{mean:.2f} in series {each.label}"
        for each, mean in zip(rivals, means, strict=True)
        if each is not rivals[chosen]
    )
    evidence = f"mean contrast of {scores.shape[1]} contours {means[chosen]:.2f}, {others}"
    if len(near) > 1:
        settled = (
            "the table decides"
            if _listing_rank(rivals[chosen], listed) < len(listed)
            else "the number of images, then the contrast decides"
        )
        evidence += f"; nearly equal, {settled}"
    return rivals[chosen], evidence


def _nearly_equal(differences: NDArray[np.float64]) -> bool:
    """Whether the best candidate's lead, one number a contour, may be chance."""
    if not len(differences):
        return True
    low, high = TIE_CONTRAST
    error = differences.std(ddof=1) / np.sqrt(len(differences)) if len(differences) >= FEW else np.inf
    return float(differences.mean()) < float(np.clip(2 * error, low, high))


def _scores(rivals: Sequence[Series], contours: dict[int, ContourFiles], wanted: set[int]) -> NDArray[np.float64]:
    """(rivals, contours) contrast of up to ``SAMPLE`` contours spread over the stack."""
    shared = wanted.intersection(*(each.numbers for each in rivals)) or wanted
    numbers = sorted(number for number in shared if contours[number].endocardium)
    picked = np.unique(np.linspace(0, len(numbers) - 1, min(SAMPLE, len(numbers))).round().astype(int))
    columns = []
    for number in (numbers[index] for index in picked.tolist()):
        try:
            contour = read_contour(cast(UPath, contours[number].endocardium))
        except SourceError:
            continue  # told when the listing is loaded
        columns.append([_score(each.by_number.get(number), contour) for each in rivals])
    return np.array(columns, np.float64).reshape(-1, len(rivals)).T


def _score(image: ImageHeader | None, contour: NDArray[np.float64]) -> float:
    if image is None:
        return NOT_ON_IMAGE
    try:
        return contour_contrast(parse_dicom(image.path.read_bytes(), image.path.name).pixels, contour)
    except (SourceError, OSError):
        return NOT_ON_IMAGE
